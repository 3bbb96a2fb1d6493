"""A user who pauses a run, lets it go on, and sets how much goes on at one time."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from nile.events import HostUp, Paced, Verdict
from nile.options import ExecOptions, Limits, Pacing
from nile.simulation.cluster import Cluster, Setup
from nile.simulation.commands import Script
from nile.simulation.faults import strike
from tests.simulation.checks import violations
from tests.simulation.runs import CHAIN, TWO_RELAYS, all_ok, cluster, quiet, sleeper
from tests.simulation.scenario import any_run, any_steering
from tests.simulation.test_attach import disturbed
from tests.simulation.trees import tree, with_gateways

PAUSE, RESUME = Pacing(paused=True), Pacing(paused=False)
SLOW = Limits(parallel=1)


OTHER_WAY = "h0034"


def behind_two_gateways(
    script: Callable[[str, random.Random], Script], limits: Limits, not_asked: frozenset[int] = frozenset()
) -> Cluster:
    """Hosts 2 and 3 are reachable through 1, below which they hang, or 34, the last of the root's."""
    plan = with_gateways(tree([0, 1, 1, *[0] * 31], not_asked, limits), {2: (1, 34), 3: (1, 34)})
    run = cluster(plan, script)
    strike(run, run.host("h0001"))
    return run


def without_its_gateway_in_a_pause(limits: Limits, not_asked: frozenset[int] = frozenset()) -> Cluster:
    """Host 1 dies in it, while commands run below; nobody else is lost by that."""
    run = behind_two_gateways(sleeper(60.0), limits, not_asked)
    run.steer_at(2.0, PAUSE)
    run.at(3.0, run.host("h0001").crash)
    run.steer_at(100.0, RESUME)
    run.run()
    assert violations(run) == []
    verdicts = run.verdicts()
    assert verdicts.pop("h0001") is Verdict.LOST
    assert set(verdicts.values()) == {Verdict.OK}
    return run


def ups(run: Cluster) -> list[float]:
    return sorted(event.t_ready_s for event in run.events if isinstance(event, HostUp))


class TestAPause:
    def test_keeps_back_who_wasnt_begun_with(self) -> None:
        """Two relays with thirty hosts each, which are logged in to one after another."""
        run = cluster(tree([0, 0, *[1, 2] * 30], limits=SLOW), sleeper(5.0))
        run.steer_at(2.0, PAUSE)
        run.steer_at(50.0, RESUME)
        run.run()
        all_ok(run)
        assert [t for t in ups(run) if 3.0 < t < 50.0] == []
        assert min(len([t for t in ups(run) if t < 3.0]), len([t for t in ups(run) if t > 50.0])) > 10

    def test_keeps_back_who_waits_for_a_turn(self) -> None:
        run = cluster(tree(TWO_RELAYS), sleeper(2.0), fanout=2)
        run.steer_at(3.0, PAUSE)
        run.steer_at(30.0, RESUME)
        run.run()
        all_ok(run)
        ends = [result.t_end_s or 0.0 for result in run.results().values()]
        assert len([end for end in ends if end < 6.0]) == 4
        assert len([end for end in ends if end > 30.0]) == 4

    def test_keeps_back_who_was_told_and_didnt_hear_it(self) -> None:
        """The branch is cut just when the canary is done: the starts of those in it are lost."""
        options = ExecOptions("a command", canary=1, yes=True)
        run = Cluster(Setup(tree([0, 0, 0, *[2] * 6]), options, sleeper(1.0), 1))
        strike(run, run.host("h0002"))
        run.disturbed = True
        run.at(1.0, run.cut, run.host("h0002"))
        run.steer_at(2.0, PAUSE)
        run.steer_at(60.0, RESUME)
        run.run()
        all_ok(run)
        assert len([end for end in run.results().values() if (end.t_end_s or 0.0) > 60.0]) == 7

    def test_keeps_back_logins_that_wait_for_a_permit(self) -> None:
        run = cluster(tree([0] * 30, limits=Limits(logins=1)), quiet)
        run.steer_at(1.0, PAUSE)
        run.steer_at(20.0, RESUME)
        run.run()
        all_ok(run)
        assert [t for t in ups(run) if 2.0 < t < 20.0] == []

    @pytest.mark.parametrize("limits", [Limits(), Limits(logins=2)])
    def test_leaves_nobody_alone_who_lost_its_parent(self, limits: Limits) -> None:
        """Longer than a lease: who isn't adopted in a pause would be dead."""
        run = cluster(tree(CHAIN, limits=limits), sleeper(60.0))
        strike(run, run.host("h0002"))
        run.steer_at(5.0, PAUSE)
        run.at(6.0, run.host("h0002").crash)
        run.steer_at(55.0, RESUME)
        run.run()
        assert violations(run) == []
        verdicts = run.verdicts()
        assert verdicts.pop("h0002") is Verdict.LOST
        assert set(verdicts.values()) == {Verdict.OK}

    def test_holds_for_whoever_becomes_a_relay_in_it(self) -> None:
        """The relay of many dies in it: those that it hadn't begun with wait, wherever they hang then."""
        run = cluster(tree([0, 0, *[1] * 20], limits=SLOW), sleeper(1.0))
        strike(run, run.host("h0001"))
        run.steer_at(2.0, PAUSE)
        run.at(2.5, run.host("h0001").crash)
        run.steer_at(40.0, RESUME)
        run.run()
        assert violations(run) == []
        assert [t for t in ups(run) if 3.5 < t < 40.0] == []

    @pytest.mark.parametrize("limits", [SLOW, Limits(parallel=1, logins=2)])
    def test_leaves_no_gateway_out_that_running_commands_need(self, limits: Limits) -> None:
        """The other way to two hosts is one that was asked for, and whose turn has not come."""
        run = without_its_gateway_in_a_pause(limits)
        assert (run.results()[OTHER_WAY].t_end_s or 0.0) > 160.0  # its own command waited
        assert [t for t in ups(run) if 4.0 < t < 100.0] == [run.results()[OTHER_WAY].t_ready_s]

    def test_keeps_back_no_gateway_that_runs_nothing(self) -> None:
        """The other way to two hosts waits for its permit behind thirty that the pause keeps back."""
        without_its_gateway_in_a_pause(Limits(parallel=1, logins=2), frozenset({34}))

    def test_calls_no_gateway_that_nobody_needs(self) -> None:
        run = behind_two_gateways(sleeper(10.0), SLOW)
        run.steer_at(2.0, PAUSE)
        run.steer_at(40.0, RESUME)
        run.run()
        all_ok(run)
        assert [t for t in ups(run) if 3.0 < t < 40.0] == []

    def test_is_left_out_of_the_time_in_which_hosts_are_looked_for(self) -> None:
        """Longer than that lasts: behind a gateway that refuses wait two whose other way is kept back."""
        run = behind_two_gateways(quiet, SLOW)
        strike(run, run.host("h0001"))
        run.host("h0001").login.code = "host-key-unknown"
        run.steer_at(1.0, PAUSE)
        run.steer_at(100.0, RESUME)
        run.run()
        assert violations(run) == []
        verdicts = run.verdicts()
        assert verdicts.pop("h0001") is Verdict.UNREACHABLE
        assert set(verdicts.values()) == {Verdict.OK}

    def test_holds_below_the_next_root_too(self) -> None:
        """One of a run whose hosts wait for no word: what that root finds waiting has to wait for one."""
        run = disturbed(cluster(tree([0, *[1] * 20], limits=SLOW), sleeper(2.0)), (1.0, 2.0))
        run.steer_at(3.05, PAUSE)
        run.steer_at(30.0, RESUME)
        run.run()
        all_ok(run)
        ends = [result.t_end_s or 0.0 for result in run.results().values()]
        assert [end for end in ends if 7.0 < end < 31.0] == []
        assert len([end for end in ends if end > 31.0]) > 5

    def test_is_over_when_the_run_is_ended(self) -> None:
        run = cluster(tree(TWO_RELAYS, limits=SLOW), sleeper(5.0))
        run.steer_at(0.3, PAUSE)
        run.interrupt_at(3.0, 1.0)
        run.run()
        assert violations(run) == []
        assert run.results()["h0008"].t_end_s == pytest.approx(3.0, abs=1.0)

    def test_is_over_when_too_many_failed(self) -> None:
        def failing(name: str, _: random.Random):  # type: ignore[no-untyped-def]
            yield from ()
            return 1

        options = ExecOptions("a command", fanout=1, max_failures=0)
        run = Cluster(Setup(tree([0, 1, 1, 1], limits=SLOW), options, failing, 1))
        run.steer_at(0.25, PAUSE)
        run.steer_at(30.0, RESUME)
        run.run()
        assert violations(run) == []

    def test_is_the_next_roots_too(self) -> None:
        run = disturbed(cluster(tree(TWO_RELAYS), sleeper(2.0), fanout=2), (6.0, 2.0))
        run.steer_at(3.0, PAUSE)
        run.steer_at(30.0, RESUME)
        run.run()
        all_ok(run)
        ends = [result.t_end_s or 0.0 for result in run.results().values()]
        assert len([end for end in ends if end > 30.0]) == 4

    def test_is_the_next_roots_too_where_nobody_waits_for_a_turn(self) -> None:
        """Nobody knows what the root before told whom: all are looked at, and nobody starts."""
        run = disturbed(cluster(tree([0, *[1] * 20], limits=SLOW), sleeper(2.0)), (6.0, 2.0))
        run.steer_at(1.0, PAUSE)
        run.steer_at(30.0, RESUME)
        run.run()
        all_ok(run)
        ends = [result.t_end_s or 0.0 for result in run.results().values()]
        assert [end for end in ends if 5.0 < end < 31.0] == []
        assert len([end for end in ends if end > 31.0]) > 5


class TestHowMuchGoesOn:
    def test_is_told_to_every_node(self) -> None:
        limits = Limits(parallel=16)
        run = cluster(tree([0, 0, *[1, 2] * 60], limits=limits), quiet)
        run.hosts[1].login.seconds = run.hosts[2].login.seconds = 0.5
        run.steer_at(0.3, Pacing(parallel=1))
        run.run()
        all_ok(run)
        assert run.dialer.most_parallel <= 2  # what had begun before

    def test_is_more_at_once(self) -> None:
        run = cluster(tree([0] * 40, limits=SLOW), quiet)
        run.steer_at(1.0, Pacing(parallel=30))
        run.run()
        all_ok(run)
        assert run.dialer.most_parallel > 20
        assert ups(run)[-1] < 2.0

    def test_of_commands(self) -> None:
        run = cluster(tree(TWO_RELAYS), sleeper(5.0), fanout=1)
        run.steer_at(1.0, Pacing(fanout=7))
        run.run()
        all_ok(run)
        assert run.most_running == 7

    def test_of_commands_that_wait_for_no_word_stays(self) -> None:
        run = cluster(tree(TWO_RELAYS), sleeper(5.0))
        run.steer_at(1.0, Pacing(fanout=1))
        run.run()
        all_ok(run)
        assert [event for event in run.events if isinstance(event, Paced)] == []

    def test_is_as_it_was_below_the_next_root(self) -> None:
        run = disturbed(cluster(tree(TWO_RELAYS), sleeper(5.0), fanout=8), (2.0, 1.0))
        run.steer_at(0.1, Pacing(fanout=1))
        run.run()
        all_ok(run)
        assert max(result.t_end_s or 0.0 for result in run.results().values()) > 20.0


@pytest.mark.parametrize("first", range(0, 160, 40))
def test_with_faults_and_bounds_too(first: int) -> None:
    """Every invariant holds, whatever the seed."""
    found = {}
    for seed in range(first, first + 40):
        run = any_run(seed, 24, 6, cautious=seed % 2 == 0)
        any_steering(random.Random(f"steering {seed}"), run)
        run.run()
        if broken := violations(run):
            found[seed] = broken[:3]
    assert found == {}
