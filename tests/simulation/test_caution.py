"""Canaries, waves and a bound on failures: who starts when, and who doesn't any more."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nile.events import Asked, Code, HostUp, Notice, Verdict
from nile.options import ExecOptions, Limits
from nile.simulation.cluster import Cluster, Setup
from nile.simulation.commands import Script, Sleep
from nile.simulation.faults import strike
from nile.topology.model import Plan
from tests.simulation.checks import violations
from tests.simulation.runs import CHAIN, TWO_RELAYS, sleeper
from tests.simulation.scenario import any_run
from tests.simulation.test_attach import disturbed
from tests.simulation.trees import tree

NAMES = [f"h{number:04}" for number in range(1, 9)]


def failing(*names: str) -> Any:
    """A command that takes a second, and fails on these hosts."""

    def script(name: str, _: random.Random) -> Script:
        yield Sleep(1.0)
        return int(name in names)

    return script


def cautious(plan: Plan, script: Any, *, answer: bool = True, **options: Any) -> Cluster:
    return Cluster(Setup(plan, ExecOptions("a command", **options), script, 1, answer=answer))


def ran(run: Cluster) -> Cluster:
    run.run()
    assert violations(run) == []
    return run


def cancelled(run: Cluster) -> set[str]:
    """Who never started, and was cancelled for that."""
    found = {name for name, verdict in run.verdicts().items() if verdict is Verdict.CANCELLED}
    for name in found:
        assert run.results()[name].code is Code.CANCELLED
        assert not run.host(name).claims.starts
    return found


def notices(run: Cluster) -> list[str]:
    return [event.text for event in run.events if isinstance(event, Notice)]


class TestABoundOnFailures:
    def test_is_no_bound_until_it_is_passed(self) -> None:
        run = ran(cautious(tree(TWO_RELAYS), failing("h0001", "h0002"), fanout=1, max_failures=2))
        assert cancelled(run) == set()
        assert len(run.starts) == 8

    def test_lets_nobody_start_once_it_is_passed(self) -> None:
        run = ran(cautious(tree(TWO_RELAYS), failing("h0001", "h0002"), fanout=1, max_failures=1))
        assert cancelled(run) == set(NAMES[2:])
        reasons = {run.results()[name].reason for name in NAMES[2:]}
        assert reasons == {"2 hosts aren't ok, and no more than 1 may fail"}
        assert notices(run) == ["no further starts: 2 hosts aren't ok, and no more than 1 may fail"]

    def test_lets_those_end_that_run(self) -> None:
        def script(name: str, _: random.Random) -> Script:
            yield Sleep(1.0 if name == "h0001" else 20.0)
            return int(name == "h0001")

        run = ran(cautious(tree(TWO_RELAYS), script, fanout=3, max_failures=0))
        verdicts = run.verdicts()
        assert verdicts["h0001"] is Verdict.FAILED
        running = set(run.starts) - {"h0001"}
        assert len(running) == 2
        assert {name for name, verdict in verdicts.items() if verdict is Verdict.OK} == running
        assert cancelled(run) == set(NAMES) - set(run.starts)

    def test_counts_hosts_that_cant_be_reached(self) -> None:
        run = cautious(tree([0] * 8, limits=Limits(parallel=2)), failing(), max_failures=0)
        strike(run, run.host("h0001"))
        run.host("h0001").login.code = "refused"
        ran(run)
        assert run.verdicts()["h0001"] is Verdict.UNREACHABLE
        assert cancelled(run)

    def test_of_which_nobody_has_to_be_logged_in_to_any_more(self) -> None:
        run = ran(cautious(tree([0] * 100, limits=Limits(parallel=1)), failing("h0001"), max_failures=0))
        assert len({event.host for event in run.events if isinstance(event, HostUp)}) < 50

    def test_holds_for_whoever_was_told_and_didnt_hear_it(self) -> None:
        """The branch is cut just when the canary is done: the starts of those in it are lost."""
        run = cautious(tree([0, 0, 0, *[2] * 6]), failing("h0003"), canary=1, yes=True, max_failures=0)
        strike(run, run.host("h0002"))
        run.disturbed = True
        run.at(1.0, run.cut, run.host("h0002"))
        ran(run)
        assert run.verdicts()["h0003"] is Verdict.FAILED
        assert cancelled(run) == {"h0002", *NAMES[3:], "h0009"}

    def test_is_known_to_the_next_root(self) -> None:
        run = cautious(tree(CHAIN), failing("h0001"), fanout=1, max_failures=0)
        ran(disturbed(run, (1.6, 2.0)))
        assert run.verdicts()["h0001"] is Verdict.FAILED
        assert len(run.starts) <= 2
        assert cancelled(run) == set(NAMES) - set(run.starts)


class TestCanaries:
    def test_are_the_first_that_were_asked(self) -> None:
        run = ran(cautious(tree(TWO_RELAYS), failing(), canary=3, yes=True))
        assert set(run.starts[:3]) == set(NAMES[:3])
        assert len(run.starts) == 8
        assert notices(run) == ["canaries h[0001-0003] (3) are ok: on with the other 5 hosts"]

    def test_are_asked_about(self) -> None:
        run = ran(cautious(tree(TWO_RELAYS), failing("h0002"), canary=2))
        (asked,) = [event for event in run.events if isinstance(event, Asked)]
        said = "canaries h[0001-0002] (2): 1 ok, h0002 (1) failed (exit status 1). The other 6 hosts wait"
        assert asked == Asked(said, 1)
        assert len(run.starts) == 8

    def test_whose_user_says_no(self) -> None:
        run = ran(cautious(tree(TWO_RELAYS), failing(), canary=2, answer=False))
        assert cancelled(run) == set(NAMES[2:])
        assert not run.events[-1].interrupted  # type: ignore[union-attr]

    def test_that_fail_end_a_run_that_asks_nobody(self) -> None:
        run = ran(cautious(tree(TWO_RELAYS), failing("h0002"), canary=2, yes=True))
        assert cancelled(run) == set(NAMES[2:])

    def test_that_cant_be_reached_havent_done_well(self) -> None:
        run = cautious(tree([0] * 8), failing(), canary=1, yes=True)
        strike(run, run.host("h0001"))
        run.host("h0001").login.code = "refused"
        ran(run)
        assert cancelled(run) == set(NAMES[1:])

    def test_of_a_run_that_has_no_others(self) -> None:
        run = ran(cautious(tree(TWO_RELAYS), failing("h0001"), canary=8))
        assert not [event for event in run.events if isinstance(event, Asked)]

    def test_lead_to_nobody_where_the_command_cuts_hosts_off(self) -> None:
        run = ran(cautious(tree(CHAIN), failing(), canary=2, yes=True, disruptive=True))
        assert set(run.starts[:2]) == {"h0004", "h0005"}
        assert len(run.starts) == 8

    def test_get_nobody_hung_below_them_then(self) -> None:
        """It would have to go before them, and waits for them: nothing would ever happen again."""
        run = cautious(tree([0, 0, 1, 1, 1, 2, 2]), sleeper(20.0), canary=1, yes=True, disruptive=True)
        strike(run, run.host("h0001"))
        run.at(5.0, run.host("h0001").crash)
        ran(run)
        assert len(run.starts) == 6

    def test_of_a_root_that_died_are_asked_about_by_the_next(self) -> None:
        run = cautious(tree(CHAIN), failing(), canary=2)
        ran(disturbed(run, (3.0, 2.0)))
        assert len([event for event in run.events if isinstance(event, Asked)]) == 2
        assert sorted(run.starts) == NAMES

    def test_are_over_once_others_have_started(self) -> None:
        run = cautious(tree(CHAIN), sleeper(10.0), canary=2)
        ran(disturbed(run, (20.0, 2.0)))
        assert len([event for event in run.events if isinstance(event, Asked)]) == 1


class TestWaves:
    def test_wait_for_the_one_before(self) -> None:
        def script(name: str, _: random.Random) -> Script:
            yield Sleep(10.0 if name == "h0001" else 1.0)
            return 0

        run = ran(cautious(tree(TWO_RELAYS), script, batch=3))
        ends = {name: result.t_end_s or 0.0 for name, result in run.results().items()}
        assert sorted(ends.values())[2] > 10.0
        assert max(ends.values()) < 14.0

    def test_dont_wait_for_who_cant_be_reached(self) -> None:
        run = cautious(tree([0] * 8), failing(), batch=2)
        for name in NAMES[:2]:
            strike(run, run.host(name))
            run.host(name).login.silent = True
        ran(run)
        assert max(run.results()[name].t_end_s or 0.0 for name in NAMES[2:]) < 8.0

    def test_have_a_bound_of_their_own(self) -> None:
        run = ran(cautious(tree(TWO_RELAYS), sleeper(2.0), batch=4, fanout=2))
        assert run.most_running == 2

    def test_go_bottom_up_where_the_command_cuts_hosts_off(self) -> None:
        run = ran(cautious(tree(CHAIN), failing(), batch=3, disruptive=True))
        assert sorted(run.starts) == NAMES
        assert run.starts.index("h0003") > max(run.starts.index(name) for name in ("h0004", "h0005"))

    def test_go_on_below_the_next_root(self) -> None:
        run = cautious(tree(TWO_RELAYS), sleeper(4.0), batch=3)
        ran(disturbed(run, (2.0, 2.0), (9.0, 1.0)))
        assert sorted(run.starts) == NAMES
        assert run.most_running <= 3


class TestFailingFast:
    def test_ends_all_others(self) -> None:
        def script(name: str, _: random.Random) -> Script:
            yield Sleep(1.0 if name == "h0003" else 500.0)
            return int(name == "h0003")

        run = cautious(tree(TWO_RELAYS), script, fail_fast=True)
        run.interrupted = True  # by itself
        ran(run)
        verdicts = run.verdicts()
        assert verdicts.pop("h0003") is Verdict.FAILED
        assert set(verdicts.values()) == {Verdict.CANCELLED}
        assert notices(run) == ["h0003 failed (exit status 1): all others are ended (fail fast)"]
        assert not run.events[-1].interrupted  # type: ignore[union-attr]


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_with_faults_too(first: int) -> None:
    """Every invariant holds, and all that is said above, whatever the seed."""
    found = {}
    for seed in range(first, first + 30):
        run = any_run(seed, 24, 6, cautious=True)
        run.run()
        if broken := violations(run):
            found[seed] = broken[:3]
    assert found == {}
