"""Output upward and standard input downward: bounded, in order, and nobody held up."""

from __future__ import annotations

import random

from nile.agent.link import BULK_WINDOW
from nile.agent.wire import CHUNK
from nile.cascade.orders import WINDOW
from nile.events import Verdict
from nile.simulation.commands import PIPE_SIZE, Read, Script, Sleep, Write
from nile.simulation.faults import strike_below
from nile.simulation.pipes import Wire
from nile.simulation.root import RootTimes
from tests.simulation.checks import RELAY_BUFFER, violations
from tests.simulation.runs import (
    TWO_RELAYS,
    all_ok,
    chatty,
    cluster,
)
from tests.simulation.trees import TIMES, square, tree


class TestFlow:
    def test_a_store_that_stands_still_stops_the_hosts(self) -> None:
        run = cluster(square(16), chatty, times=RootTimes(store_s=None))
        run.root.begin()
        run.clock.pass_until(30.0)
        for host in run.hosts.values():
            assert len(host.printed("stdout")) <= WINDOW + PIPE_SIZE
        children = len(run.root.branches.relay.children)
        assert run.root.most_unshown <= children * (BULK_WINDOW + 2 * CHUNK)
        assert not run.results()

        run.root.resume(RootTimes())
        run.finish()
        all_ok(run)

    def test_a_display_that_stands_still_fills_no_memory_and_ends_no_lease(self) -> None:
        run = cluster(square(36), chatty, times=RootTimes(show_s=None))
        run.root.begin()
        run.clock.pass_until(5 * TIMES.lease_s)
        children = len(run.root.branches.relay.children)
        assert run.root.most_unshown <= children * (BULK_WINDOW + 2 * CHUNK)
        assert not any(result.verdict is Verdict.LOST for result in run.results().values())

        run.root.resume(RootTimes())
        run.finish()
        all_ok(run)

    def test_links_and_relays_hold_no_more_than_their_windows(self) -> None:
        run = cluster(square(36), chatty, wire=Wire(0.01, 1e6))
        run.run()
        all_ok(run)
        for host in run.hosts.values():
            assert host.agent is not None
            assert host.agent.most_sent_ahead <= BULK_WINDOW + 2 * CHUNK
            if host.agent.branches is not None:
                assert 0 < host.agent.branches.most_buffered <= RELAY_BUFFER

    def test_a_flood_on_a_slow_link_delays_no_heartbeat(self) -> None:
        run = cluster(tree([0, 1, 1, 1]), chatty, wire=Wire(0.01, 300_000.0))
        run.run()
        all_ok(run)
        assert run.root.events[-1][0] > 2 * TIMES.lease_s  # the link was the bottleneck for that long

    def test_one_host_starves_no_other(self) -> None:
        def script(name: str, _: random.Random) -> Script:
            if name == "h0002":
                yield from chatty(name, _)
            else:
                yield Sleep(3.0)
                yield Write("stdout", b"a word\n")
            return 0

        run = cluster(tree([0, 1, 1, 1]), script, wire=Wire(0.001, 300_000.0))
        run.run()
        all_ok(run)
        ends = {name: result.t_end_s or 0.0 for name, result in run.results().items()}
        assert ends["h0003"] < 5.0 < ends["h0002"]


class TestStandardInput:
    def test_all_bytes_to_all_hosts_in_order(self) -> None:
        data = bytes(random.Random(5).randbytes(700_000))

        def reader(name: str, rng: random.Random) -> Script:
            while (yield Read(rng.randrange(1, 60_000))):
                yield Sleep(0.01 * rng.random())
            return 0

        run = cluster(square(16), reader, stdin=data)
        run.run()
        all_ok(run)
        assert all(host.command and bytes(host.command.consumed) == data for host in run.hosts.values())

    def test_at_the_pace_of_the_slowest(self) -> None:
        data = b"line\n" * 300_000

        def reader(name: str, _: random.Random) -> Script:
            while (yield Read(10_000)):
                if name == "h0004":
                    yield Sleep(0.5)
            return 0

        run = cluster(tree(TWO_RELAYS), reader, stdin=data)
        run.root.begin()
        run.clock.pass_until(20.0)
        slow, fast = run.hosts[4].command, run.hosts[3].command
        assert slow is not None
        assert fast is not None
        assert 300_000 < len(slow.consumed) < 500_000
        assert len(fast.consumed) - len(slow.consumed) <= 256 * 1024 + PIPE_SIZE
        run.finish()
        all_ok(run)
        assert bytes(slow.consumed) == bytes(fast.consumed) == data

    def test_who_does_not_read_holds_nobody_up(self) -> None:
        def script(name: str, _: random.Random) -> Script:
            if name != "h0004":
                while (yield Read(50_000)):
                    pass
            return 0

        run = cluster(tree(TWO_RELAYS), script, stdin=b"." * 2_000_000)
        run.run()
        all_ok(run)

    def test_a_host_that_dies_holds_nobody_up(self) -> None:
        def reader(name: str, _: random.Random) -> Script:
            while (yield Read(10_000)):
                yield Sleep(0.1)
            return 0

        run = cluster(tree(TWO_RELAYS), reader, stdin=b"." * 2_000_000)
        strike_below(run, run.hosts[1])  # input can't be sent twice, so nobody there is adopted
        run.at(3.0, run.hosts[1].crash)
        run.run()
        assert violations(run) == []
        assert [run.verdicts()[name] for name in ("h0002", "h0004", "h0006")] == [Verdict.OK] * 3
