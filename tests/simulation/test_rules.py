"""Single rules of a run, each in a tree made for it."""

from __future__ import annotations

import random

import pytest

from nile.agent.wire import CANCEL, Frame
from nile.cascade.machine import ORPHANED_S
from nile.events import Code, HostResult, Verdict
from nile.options import Leftover, Limits, Timeouts
from nile.simulation.agent import SimAgent
from nile.simulation.commands import Leave, Script
from nile.simulation.faults import strike
from tests.simulation.checks import violations
from tests.simulation.runs import (
    CHAIN,
    TWO_RELAYS,
    all_ok,
    chatty,
    cluster,
    quiet,
    sleeper,
    stubborn,
)
from tests.simulation.trees import TIMES, square, tree


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

    @pytest.mark.parametrize("fanout", [1, 4, 39])
    def test_as_many_commands_at_a_time_as_allowed(self, fanout: int) -> None:
        run = cluster(square(40), sleeper(2.0), fanout=fanout)
        run.run()
        all_ok(run)
        assert run.most_running == fanout

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


def test_an_empty_plan_ends_at_once() -> None:
    run = cluster(tree([]), quiet)
    run.run(10.0)
    assert violations(run) == []
    assert not [event for event in run.events if isinstance(event, HostResult)]
