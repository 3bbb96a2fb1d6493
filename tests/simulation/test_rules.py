"""Single rules of a run, each in a tree made for it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from nile.agent.link import BULK_WINDOW
from nile.agent.wire import CANCEL, CHUNK, Frame
from nile.cascade.machine import ORPHANED_S
from nile.cascade.orders import WINDOW
from nile.events import Code, HostOutput, HostResult, Notice, Verdict
from nile.options import ExecOptions, Leftover, Limits, Timeouts
from nile.topology.model import Plan
from tests.simulation.agent import SimAgent
from tests.simulation.checks import RELAY_BUFFER, violations
from tests.simulation.cluster import Cluster, Setup
from tests.simulation.commands import PIPE_SIZE, IgnoreTerm, Leave, Read, Script, Sleep, Write
from tests.simulation.faults import strike, strike_below
from tests.simulation.hosts import SimHost
from tests.simulation.pipes import Wire
from tests.simulation.root import RootTimes
from tests.simulation.trees import TIMES, square, tree, with_gateways, with_spare

# Two relays, each with three leaves: 1 -> 3, 5, 7; 2 -> 4, 6, 8.
TWO_RELAYS = [0, 0, 1, 2, 1, 2, 1, 2]
# A chain of relays, three deep, with two leaves at its end; and a brother of each.
CHAIN = [0, 1, 2, 3, 3, 0, 1, 2]


def sleeper(seconds: float) -> Callable[[str, random.Random], Script]:
    """A command that says its name, sleeps and says it again."""

    def script(name: str, _: random.Random) -> Script:
        yield Write("stdout", f"{name} begins\n".encode())
        yield Sleep(seconds)
        yield Write("stdout", f"{name} ends\n".encode())
        return 0

    return script


def stubborn(name: str, _: random.Random) -> Script:
    """Ignores SIGTERM, and so does what it leaves behind."""
    yield IgnoreTerm()
    yield Leave("daemon", ignores_term=True)
    yield Write("stdout", b"still here\n")
    yield Sleep(1e6)
    return 0


def chatty(name: str, _: random.Random) -> Script:
    """Prints four megabytes."""
    for serial in range(400):
        yield Write("stdout", f"{name} {serial}\n".encode().ljust(10_000, b"."))
    return 0


def quiet(name: str, _: random.Random) -> Script:
    """Ends well, at once."""
    yield Sleep(0.0)
    return 0


def cluster(
    plan: Plan,
    script: Callable[[str, random.Random], Script],
    *,
    fanout: int | None = None,
    leftover: Leftover = Leftover.KEEP,
    stdin: bytes | None = None,
    grace_s: float = 1.0,
    wire: Wire = Wire(),  # noqa: B008  (frozen)
    times: RootTimes | None = None,
    agents: dict[str, type[SimAgent]] | None = None,
) -> Cluster:
    options = ExecOptions("a command", fanout, leftover, stdin is not None, grace_s)
    return Cluster(Setup(plan, options, script, 1, wire, times or RootTimes(), stdin or b"", agents or {}))


def all_ok(run: Cluster) -> None:
    assert violations(run) == []
    assert set(run.verdicts().values()) == {Verdict.OK}


class TestBounds:
    def test_one_at_a_time_in_the_order_of_ranks(self) -> None:
        run = cluster(square(30), sleeper(1.0), fanout=1)
        for host in run.hosts.values():
            host.login.seconds = 0.1  # all are up before the first has ended
        run.run()
        all_ok(run)
        assert run.most_running == 1
        ranks = [run.root_rank(name) for name in run.starts]
        assert ranks[1:] == sorted(ranks[1:])

    @pytest.mark.parametrize("fanout", [1, 4, 100])
    def test_as_many_commands_at_a_time_as_allowed(self, fanout: int) -> None:
        run = cluster(square(40), sleeper(2.0), fanout=fanout)
        run.run()
        all_ok(run)
        assert run.most_running == min(fanout, 40)

    def test_logins_of_a_node_and_of_the_tree(self) -> None:
        limits = Limits(parallel=3, logins=5)
        run = cluster(square(64, limits), quiet)
        run.run()
        all_ok(run)
        assert run.dialer.most_parallel == 3
        assert run.dialer.most_logins == 5

    def test_a_lost_host_gives_its_place_to_the_next(self) -> None:
        run = cluster(tree([0] * 4), sleeper(1.0), fanout=1)

        def kill_whoever_runs() -> None:
            (running,) = [host for host in run.hosts.values() if host.alive()]
            strike(run, running)
            running.kill_agent()

        run.at(0.5, kill_whoever_runs)
        run.run()
        assert violations(run) == []
        assert sorted(run.verdicts().values()) == [Verdict.LOST, *[Verdict.OK] * 3]

    def test_a_host_whose_agent_died_while_it_waited_for_its_start_still_gets_one(self) -> None:
        run = cluster(tree([0] * 4), sleeper(1.0), fanout=1)
        waiting = run.hosts[4]
        run.at(0.5, waiting.kill_agent)
        run.run()
        all_ok(run)
        assert waiting.claims.agents == 2


class TestWhoRuns:
    def test_a_relay_that_was_not_asked_runs_nothing_and_has_no_verdict(self) -> None:
        run = cluster(tree(TWO_RELAYS, frozenset([1])), sleeper(0.5))
        run.run()
        all_ok(run)
        assert run.hosts[1].claims.starts == 0
        assert "h0001" not in run.verdicts()

    def test_each_command_once_with_all_that_it_printed(self) -> None:
        run = cluster(square(25), chatty)
        run.run()
        all_ok(run)
        assert {host.claims.starts for host in run.hosts.values()} == {1}
        assert {len(host.printed("stdout")) for host in run.hosts.values()} == {4_000_000}


class TestLogins:
    def test_refused_with_its_code(self) -> None:
        run = cluster(tree(TWO_RELAYS), quiet)
        run.hosts[3].login.code = "host-key-changed"
        strike(run, run.hosts[3])
        run.run()
        assert violations(run) == []
        result = run.results()["h0003"]
        assert (result.verdict, result.code) == (Verdict.UNREACHABLE, Code.HOST_KEY_CHANGED)
        assert list(run.verdicts().values()).count(Verdict.OK) == 7

    def test_start_ups_are_tried_again(self) -> None:
        run = cluster(tree(TWO_RELAYS), quiet)
        run.hosts[3].login.startups = 3
        run.run()
        all_ok(run)
        assert run.hosts[3].claims.attempts == 4

    def test_start_ups_without_end_are_given_up_at_the_deadline(self) -> None:
        run = cluster(tree(TWO_RELAYS), quiet)
        run.hosts[3].login.startups = 1000
        strike(run, run.hosts[3])
        run.run()
        assert violations(run) == []
        result = run.results()["h0003"]
        assert (result.verdict, result.code) == (Verdict.UNREACHABLE, Code.STARTUPS)
        assert result.t_end_s is not None
        assert result.t_end_s < 2 * TIMES.connect_s + 1.0
        attempts = run.dialer.callers(3)
        assert len(attempts) == 2  # by two ways, each until its deadline

    def test_no_answer_is_given_up_at_the_deadline(self) -> None:
        run = cluster(tree(TWO_RELAYS), quiet)
        run.hosts[2].login.silent = True
        strike(run, run.hosts[2])
        run.run()
        assert violations(run) == []
        result = run.results()["h0002"]
        assert (result.verdict, result.code) == (Verdict.UNREACHABLE, Code.CONNECT_TIMEOUT)
        assert result.t_end_s == pytest.approx(TIMES.connect_s, abs=1.0)
        for name in ("h0004", "h0006", "h0008"):  # they didn't wait for its time-out
            assert run.verdicts()[name] is Verdict.OK
            assert (run.results()[name].t_end_s or 0.0) < TIMES.connect_s

    def test_no_python(self) -> None:
        run = cluster(tree([0]), quiet)
        run.hosts[1].login.no_python = True
        strike(run, run.hosts[1])
        run.run()
        assert violations(run) == []
        assert run.results()["h0001"].code is Code.NO_PYTHON

    def test_noise_before_the_first_stage(self) -> None:
        run = cluster(tree(TWO_RELAYS), quiet)
        for host in run.hosts.values():
            host.login.noise = b"\xff\x00 nonce \n" * 50_000
        run.run()
        all_ok(run)


class TestTheEnd:
    @pytest.mark.parametrize("leftover", list(Leftover))
    def test_time_out_kills_all_of_it(self, leftover: Leftover) -> None:
        plan = tree(TWO_RELAYS, timeouts=Timeouts(5.0, 6.0, command_s=2.0))
        run = cluster(plan, stubborn, leftover=leftover)
        run.run()
        assert violations(run) == []
        assert set(run.verdicts().values()) == {Verdict.TIMEOUT}
        assert not any(host.alive() for host in run.hosts.values())
        ends = [result.t_end_s or 0.0 for result in run.results().values()]
        assert max(ends) < 2.0 + 1.0 + 1.0

    def test_cancelled_once_all_get_their_grace(self) -> None:
        run = cluster(square(30), stubborn, grace_s=3.0)
        run.interrupt_at(2.0, 3.0)
        run.run()
        assert violations(run) == []
        assert set(run.verdicts().values()) == {Verdict.CANCELLED}
        assert not any(host.alive() for host in run.hosts.values())
        ends = [result.t_end_s or 0.0 for result in run.results().values()]
        assert min(ends) >= 5.0
        assert max(ends) < 6.0
        assert all(host.printed("stdout") for host in run.hosts.values())

    def test_cancelled_twice_they_get_none(self) -> None:
        run = cluster(square(30), stubborn, grace_s=30.0)
        run.interrupt_at(2.0, 30.0)
        run.interrupt_at(3.0, 0.0)
        run.run()
        assert violations(run) == []
        assert set(run.verdicts().values()) == {Verdict.CANCELLED}
        assert max(result.t_end_s or 0.0 for result in run.results().values()) < 4.0

    @pytest.mark.parametrize("at", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5])
    @pytest.mark.parametrize("fanout", [None, 2])
    def test_cancelled_while_it_grows(self, at: float, fanout: int | None) -> None:
        run = cluster(square(30), sleeper(30.0), fanout=fanout)
        run.interrupt_at(at, 1.0)
        run.run()
        assert violations(run) == []
        assert set(run.verdicts().values()) == {Verdict.CANCELLED}

    def test_a_cancelled_host_that_is_silent_is_given_up(self) -> None:
        run = cluster(tree(TWO_RELAYS), sleeper(30.0))
        run.at(1.0, run.hosts[3].freeze)
        run.interrupt_at(2.0, 1.0)
        run.run()
        assert violations(run) == []
        result = run.results()["h0003"]
        assert (result.verdict, result.code) == (Verdict.LOST, Code.CANCELLED)
        assert (result.t_end_s or 0.0) < 2.0 + 1.0 + 5.0 + 1.5  # it might have been reached by another way

    def test_a_cancelled_host_that_goes_on_as_if_nothing_were_is_given_up(self) -> None:
        class Deaf(SimAgent):
            def _frame(self, frame: Frame) -> None:
                if frame.type != CANCEL:
                    super()._frame(frame)

        run = cluster(tree(TWO_RELAYS), sleeper(30.0), agents={"h0003": Deaf})
        run.interrupt_at(2.0, 1.0)
        run.run()
        assert violations(run) == []
        result = run.results()["h0003"]
        assert (result.verdict, result.code) == (Verdict.LOST, Code.CANCELLED)
        assert result.t_end_s == pytest.approx(2.0 + 1.0 + ORPHANED_S, abs=1.1)

    def test_what_success_leaves_behind_stays_and_is_named(self) -> None:
        def service(name: str, _: random.Random) -> Script:
            yield Leave("service")
            return 0

        run = cluster(tree(TWO_RELAYS), service)
        run.run()
        all_ok(run)
        assert all(len(host.alive()) == 1 for host in run.hosts.values())
        assert {result.leftover[0].name for result in run.results().values()} == {"service"}

    @pytest.mark.parametrize(("stdin", "lease_s"), [(None, TIMES.lease_s), (b"", 0.0)])
    def test_the_root_killed_leaves_nothing(self, stdin: bytes | None, lease_s: float) -> None:
        run = cluster(tree(CHAIN), stubborn, stdin=stdin)
        run.root.begin()
        run.clock.pass_until(2.0)
        assert all(host.alive() for host in run.hosts.values())
        run.root.die()
        run.clock.pass_until(1.0 + lease_s)  # whoever waits to be adopted goes on with its command
        assert all(bool(host.alive()) == (stdin is None) for host in run.hosts.values()) or not lease_s
        run.clock.pass_until(2.0 + lease_s + run.setup.exec.grace_s + 2.0)
        assert [host.name for host in run.hosts.values() if host.alive()] == []
        assert [host.name for host in run.hosts.values() if host.agent and host.agent.alive] == []

    def test_the_roots_cable_cut_leaves_nothing_after_the_lease(self) -> None:
        run = cluster(tree(CHAIN), stubborn)
        run.root.begin()
        run.clock.pass_until(2.0)
        run.root.branches.vanish()
        run.root.finished = True
        run.clock.pass_until(2.0 + TIMES.lease_s + run.setup.exec.grace_s + 2.0)
        assert [host.name for host in run.hosts.values() if host.alive()] == []
        assert [host.name for host in run.hosts.values() if host.agent and host.agent.alive] == []


FAULTS: dict[str, Callable[[Cluster, SimHost], object]] = {
    "crash": lambda _, host: host.crash(),
    "kill": lambda _, host: host.kill_agent(),
    "freeze": lambda _, host: host.freeze(),
    "cut": lambda run, host: run.cut(host),
}


class TestBrokenBranches:
    @pytest.mark.parametrize("fault", list(FAULTS))
    @pytest.mark.parametrize("fanout", [None, 2])
    def test_a_relay_dies_at_any_moment(self, fault: str, fanout: int | None) -> None:
        for step in range(30):
            run = cluster(tree(CHAIN), sleeper(1.0), fanout=fanout)
            struck = run.hosts[2]
            strike(run, struck)
            run.at(step * 0.1, FAULTS[fault], run, struck)
            run.run()
            assert violations(run) == [], f"{fault} at {step * 0.1}"

    @pytest.mark.parametrize("fault", list(FAULTS))
    def test_what_is_below_a_relay_that_dies_is_adopted_and_ends_well(self, fault: str) -> None:
        run = cluster(tree(CHAIN), sleeper(5.0))
        strike(run, run.hosts[2])
        run.at(2.0, FAULTS[fault], run, run.hosts[2])
        run.run()
        assert violations(run) == []
        for name in ("h0003", "h0004", "h0005", "h0008"):
            result = run.results()[name]
            assert result.verdict is Verdict.OK
            assert (result.t_end_s or 0.0) < 2.0 + 5.0 + 3.0  # it went on meanwhile
        assert run.hosts[4].claims.agents == 1  # it hangs below a relay that was adopted with it
        link_only = fault == "cut"  # then it is adopted itself, and keeps what is below it
        assert run.hosts[3].claims.agents == (1 if link_only else 2)
        assert run.verdicts()["h0002"] is (Verdict.OK if link_only else Verdict.LOST)

    def test_behind_the_only_gateway_nobody_is_reached_once_it_is_gone(self) -> None:
        plan = with_gateways(tree(CHAIN), {3: (2,), 4: (2,), 5: (2,)})
        run = cluster(plan, sleeper(30.0))
        for host in (2, 3, 4, 5):
            strike(run, run.hosts[host])
        run.hosts[5].login.seconds = 4.0
        run.at(2.0, run.hosts[2].crash)
        run.run()
        assert violations(run) == []
        results = run.results()
        told = {name: (results[name].verdict, results[name].code) for name in ("h0003", "h0004", "h0005")}
        assert told["h0003"] == told["h0004"] == (Verdict.LOST, Code.PARENT)
        assert "h0002" in results["h0003"].reason
        assert "h0002" in results["h0004"].reason
        assert told["h0005"][0] is Verdict.UNREACHABLE
        assert run.verdicts()["h0008"] is Verdict.OK  # it was below it, but needs no gateway

    def test_output_that_was_lost_though_the_end_is_known_is_named(self) -> None:
        def script(name: str, _: random.Random) -> Script:
            yield Write("stdout", b"." * (0 if name == "h0001" else 200_000))
            return 0

        run = cluster(tree([0, 1, 1, 1, 1]), script, wire=Wire(0.001, 100_000.0))
        strike(run, run.hosts[2])
        run.at(3.0, run.hosts[2].kill_agent)
        run.run()
        assert violations(run) == []
        assert run.verdicts()["h0002"] is Verdict.OK
        published = sum(
            len(event.data) for event in run.events if isinstance(event, HostOutput) and event.host == "h0002"
        )
        assert 0 < published < 200_000
        (notice,) = [event for event in run.events if isinstance(event, Notice)]
        assert notice.host == "h0002"
        assert f"the last {200_000 - published} bytes" in notice.text

    def test_below_a_relay_that_was_never_up_everybody_is_reached_by_another_way(self) -> None:
        run = cluster(tree(CHAIN), sleeper(5.0))
        run.hosts[2].login.code = "refused"
        strike(run, run.hosts[2])
        run.run()
        assert violations(run) == []
        verdicts = run.verdicts()
        assert verdicts.pop("h0002") is Verdict.UNREACHABLE
        assert set(verdicts.values()) == {Verdict.OK}
        assert all("h0002" not in result.path for result in run.results().values() if result.host in verdicts)

    def test_silence_ends_in_a_verdict_and_the_lease_ends_the_command(self) -> None:
        run = cluster(tree(TWO_RELAYS), sleeper(300.0))
        struck = run.hosts[3]
        strike(run, struck)
        run.at(2.0, run.network.isolate, struck.id)
        run.root.begin()
        run.clock.pass_until(2.0 + TIMES.lease_s - 1.0)
        assert struck.alive()
        given_up_at = 2.0 + TIMES.silence_s + TIMES.lease_s + run.setup.exec.grace_s + 2.0
        run.clock.pass_until(2.0 + TIMES.lease_s + run.setup.exec.grace_s + 1.0)
        assert not struck.alive()
        assert "h0003" not in run.results()  # as long as it may live, it may come back
        run.clock.pass_until(given_up_at)
        result = run.results()["h0003"]
        assert (result.verdict, result.code) == (Verdict.LOST, Code.CONNECT_TIMEOUT)
        assert result.t_end_s is not None
        assert 2.0 + TIMES.lease_s + run.setup.exec.grace_s < result.t_end_s < given_up_at

    def test_who_thaws_too_late_starts_nothing(self) -> None:
        run = cluster(tree([0, 0]), sleeper(2.0), fanout=1)
        late = run.hosts[2]
        late.login.seconds = 0.5
        strike(run, late)
        run.at(1.0, late.freeze)  # its start is queued while it is frozen
        run.at(40.0, late.thaw)
        run.run()
        run.clock.pass_until(60.0)
        assert run.verdicts()["h0002"] is Verdict.LOST
        assert late.claims.starts == 0
        assert violations(run) == []

    def test_who_thaws_in_time_goes_on(self) -> None:
        run = cluster(tree(TWO_RELAYS), sleeper(6.0))
        run.at(2.0, run.hosts[1].freeze)
        run.at(5.0, run.hosts[1].thaw)
        run.run()
        all_ok(run)


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


def test_an_empty_plan_ends_at_once() -> None:
    run = cluster(tree([]), quiet)
    run.run(10.0)
    assert violations(run) == []
    assert not [event for event in run.events if isinstance(event, HostResult)]


class TestSpareGateways:
    """1 is the gateway of 3, 4, 5 and 6; another one has no place in the tree."""

    def zone(self) -> Cluster:
        plan = tree([0, 0, 1, 1, 1, 3], frozenset([1]))
        behind = (3, 4, 5, 6)
        plan = with_spare(with_gateways(plan, dict.fromkeys(behind, (1,))), behind)
        return cluster(plan, sleeper(6.0))

    def test_nobody_calls_for_it_while_the_other_serves(self) -> None:
        run = self.zone()
        run.run()
        all_ok(run)
        assert run.host("spare").claims.attempts == 0

    def test_it_takes_over_from_one_that_is_dead_from_the_start(self) -> None:
        run = self.zone()
        run.hosts[1].login.code = "refused"
        strike(run, run.hosts[1])
        run.run()
        all_ok(run)
        assert run.results()["h0004"].path == ("root", "spare", "h0004")
        assert run.host("spare").claims.starts == 0

    def test_it_takes_over_from_one_that_dies(self) -> None:
        run = self.zone()
        strike(run, run.hosts[1])
        run.at(3.0, run.hosts[1].crash)
        run.run()
        all_ok(run)
        assert run.results()["h0003"].path == ("root", "spare", "h0003")

    def test_without_any_gateway_they_are_given_up(self) -> None:
        run = self.zone()
        for host in (run.hosts[1], run.host("spare")):
            host.login.code = "refused"
        for host in run.hosts.values():
            strike(run, host)
        run.run()
        assert violations(run) == []
        assert {run.verdicts()[f"h000{each}"] for each in (3, 4, 5, 6)} == {Verdict.UNREACHABLE}
        assert run.verdicts()["h0002"] is Verdict.OK


class TestWorkMoves:
    """1 has forty hosts below it, of which two can be logged in to at a time; 2 has two."""

    PARENTS = (0, 0, *[1] * 40, *[2] * 2)

    def test_idle_relays_take_hosts_that_nobody_began_with(self) -> None:
        run = cluster(tree(list(self.PARENTS), limits=Limits(branches=50, parallel=2)), sleeper(30.0))
        for host in run.hosts.values():
            host.login.seconds = 1.0
        run.run()
        all_ok(run)
        paths = [result.path[1] for result in run.results().values() if len(result.path) == 3]
        assert paths.count("h0002") >= 8
        ready = [result.t_ready_s or 0.0 for result in run.results().values()]
        assert max(ready) < 14.0  # alone, the first relay takes twenty rounds
        assert sum(host.claims.attempts for host in run.hosts.values()) <= 44 + 4  # hardly any begins in vain

    def test_who_cannot_log_in_to_what_it_took_gives_it_back(self) -> None:
        run = cluster(tree(list(self.PARENTS), limits=Limits(branches=50, parallel=2)), sleeper(30.0))
        for host in run.hosts.values():
            host.login.seconds = 1.0
            if host.node.parent == 1:
                host.login.barred = {0: "refused", 2: "refused"}
        run.run()
        all_ok(run)
        assert {result.path[:2] for result in run.results().values() if result.host > "h0002"} == {
            ("root", "h0001"),
            ("root", "h0002"),
        }

    def test_nobody_takes_what_waits_for_a_permit(self) -> None:
        limits = Limits(branches=50, parallel=16, logins=2)
        run = cluster(tree(list(self.PARENTS), limits=limits), quiet)
        for host in run.hosts.values():
            host.login.seconds = 1.0
        run.run()
        all_ok(run)
        assert all(
            result.path[1] == "h0001"
            for result in run.results().values()
            if result.host in ("h0010", "h0040")
        )


class TestDeadHosts:
    """A tenth of all hosts is dead from the start, silently: nobody waits for them for long."""

    @staticmethod
    def wall_s(run: Cluster) -> float:
        run.run()
        return max(result.t_end_s or 0.0 for result in run.results().values())

    @pytest.mark.parametrize("seed", [1, 2])
    def test_they_cost_no_more_than_two_connect_time_outs(self, seed: int) -> None:
        plan = square(300, timeouts=Timeouts(connect_s=10.0, lease_s=30.0))
        without = self.wall_s(cluster(plan, sleeper(0.5)))
        run = cluster(plan, sleeper(0.5))
        for number in random.Random(seed).sample(sorted(run.hosts), 30):
            run.hosts[number].login.silent = True
            strike(run, run.hosts[number])
        assert self.wall_s(run) <= 1.3 * without + 2 * 10.0
        assert violations(run) == []
        verdicts = list(run.verdicts().values())
        assert (verdicts.count(Verdict.OK), verdicts.count(Verdict.UNREACHABLE)) == (270, 30)
        assert {
            result.code for result in run.results().values() if result.verdict is Verdict.UNREACHABLE
        } == {Code.CONNECT_TIMEOUT}


def test_cancelled_while_a_branch_heals_they_are_told_all_the_same() -> None:
    run = cluster(tree([0, 0, 1, 1, 1, 2]), sleeper(60.0))
    run.at(6.0, run.hang_up, run.hosts[1])
    run.interrupt_at(6.01, 1.0)
    run.run()
    assert violations(run) == []
    assert set(run.verdicts().values()) == {Verdict.CANCELLED}
    assert max(result.t_end_s or 0.0 for result in run.results().values()) < 6.01 + 1.0 + 2.0
