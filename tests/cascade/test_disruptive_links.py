"""What a lost link says of a host whose command may have cut it: its end says much, silence says nothing."""

from __future__ import annotations

from nile.agent import wire
from nile.cascade.actions import Action
from nile.cascade.departing import Wakes
from nile.cascade.healing import UNHEARD_OF
from nile.events import Code, Verdict
from nile.options import Timeouts
from nile.topology.model import Plan
from tests.cascade.driven import Driven, placed, results
from tests.simulation.trees import tree, with_gateways

TIMES = Timeouts(connect_s=5.0, lease_s=15.0)
SILENT = f"{UNHEARD_OF} for 3.0 s"
ENDS: dict[str, object] = {"signal": None, "cause": None, "error": None, "left": [], "stdout": 0, "stderr": 0}


def running(plan: Plan, *ids: int, wait_back_s: float | None = None) -> Driven:
    """All are up, and the command runs on some."""
    run = Driven(plan, disruptive=True, wait_back_s=wait_back_s)
    for node in plan.nodes:
        run.up(node.id)
    for node_id in ids:
        run.runs(node_id)
    return run


def one(wait_back_s: float | None = None) -> Driven:
    """A host below the root, whose command runs."""
    return running(tree([0], timeouts=TIMES), 1, wait_back_s=wait_back_s)


def found(actions: list[Action]) -> tuple[Verdict, Code | None] | None:
    """The verdict on the first host."""
    result = results(actions).get("h0001")
    return None if result is None else (result.verdict, result.code)


def ended(run: Driven, epoch: int, rc: int | None, signum: int | None = None) -> list[Action]:
    """The agent says how its command ended."""
    return run.say(wire.RESULT, 1, epoch, {**ENDS, "rc": rc, "signal": signum})


GONE = (Verdict.OK, Code.GONE_AWAY)


class TestWithoutWaiting:
    def test_a_link_that_ended(self) -> None:
        assert found(one().broke(0, 1)) == GONE

    def test_a_link_that_fell_silent_says_nothing_yet(self) -> None:
        run = one()
        actions = run.broke(0, 1, reason=SILENT)
        assert (found(actions), placed(actions)) == (None, [(0, 1, 2)])

    def test_then_a_login_that_fails_does(self) -> None:
        run = one()
        run.broke(0, 1, reason=SILENT)
        assert found(run.failed(0, 1, 2, "refused")) == GONE

    def test_but_none_that_fails_by_chance(self) -> None:
        run = one()
        run.broke(0, 1, reason=SILENT)
        assert found(run.failed(0, 1, 2, "startups")) is None
        assert found(run.pass_time(60.0)) == (Verdict.LOST, Code.STARTUPS)

    def test_and_an_agent_that_answers_goes_on(self) -> None:
        run = one()
        run.broke(0, 1, reason=SILENT)
        run.up(1, 2)
        assert found(run.stands(1, 2, {}) + run.pass_time(60.0)) is None
        assert found(ended(run, 2, 3)) == (Verdict.FAILED, Code.EXIT)

    def test_and_one_that_knows_nothing_of_the_start_is_another(self) -> None:
        run = one()
        run.broke(0, 1, reason=SILENT)
        run.up(1, 2)
        state: dict[str, object] = {"trace": "dead", "held": True, "children": []}
        assert found(run.say(wire.STATE, 1, 2, state)) == GONE

    def test_the_silence_of_a_relay_is_not_that_of_a_host(self) -> None:
        run = running(tree([0, 1], timeouts=TIMES), 2)
        run.broke(1, 2, reason=SILENT)
        run.say(wire.LOGIN, 1, 1, {"child": 2, "epoch": 2})
        assert "h0002" not in results(run.pass_time(12.0))

    def test_a_link_that_ended_while_the_root_slept(self) -> None:
        """Its agent hung up on the root."""
        run = one()
        run.pass_time(3.0)
        run.now += 60.0
        actions = run.broke(0, 1)
        assert (found(actions), placed(actions)) == (None, [(0, 1, 2)])

    def test_a_gateway_that_dies_says_nothing_of_those_behind_it(self) -> None:
        plan = with_gateways(tree([0, 1], frozenset([1]), timeouts=TIMES), {2: (1,)})
        run = running(plan, 2)
        run.broke(0, 1, reason=SILENT)
        assert "h0002" not in results(run.failed(0, 1, 2, "refused"))
        result = results(run.pass_time(60.0))["h0002"]
        assert (result.verdict, result.code) == (Verdict.LOST, Code.PARENT)
        assert "its relay h0001 is gone" in result.reason


class TestWaiting:
    def test_one_that_runs_on_is_not_waited_for(self) -> None:
        run = one(wait_back_s=20.0)
        run.broke(0, 1, reason=SILENT)
        run.pass_time(2.0)
        run.up(1, 2)
        run.stands(1, 2, {})
        assert found(run.pass_time(100.0)) is None

    def test_but_anew_from_the_end_of_its_command(self) -> None:
        run = one(wait_back_s=20.0)
        run.broke(0, 1)
        run.pass_time(2.0)
        run.up(1, 2)
        run.stands(1, 2, {})
        run.pass_time(50.0)
        assert found(ended(run, 2, 0)) is None
        assert found(run.pass_time(19.0)) is None
        assert found(run.pass_time(2.0)) == (Verdict.FAILED, Code.NOT_REBOOTED)

    def test_what_the_shutdown_kills_is_waited_for(self) -> None:
        for rc, signum in ((None, 15), (None, 9), (None, 1), (143, None), (137, None), (129, None)):
            run = one(wait_back_s=20.0)
            assert found(ended(run, 1, rc, signum)) is None
            run.broke(0, 1)
            run.pass_time(10.0)
            run.say(wire.HELLO, 1, 2, {"uptime": 5.0})
            state: dict[str, object] = {"trace": "none", "held": True, "children": [], "uptime": 5.0}
            assert found(run.actions) is None
            assert found(run.say(wire.STATE, 1, 2, state)) == (Verdict.OK, Code.REBOOTED)

    def test_and_where_there_was_no_shutdown_it_is_said_what_it_died_of(self) -> None:
        run = one(wait_back_s=20.0)
        ended(run, 1, None, 15)
        result = results(run.pass_time(21.0))["h0001"]
        assert (result.verdict, result.code) == (Verdict.FAILED, Code.NOT_REBOOTED)
        assert result.reason == "killed by signal 15, and it was not booted anew within 20 s"

    def test_what_is_never_back_after_it_was_killed(self) -> None:
        run = one(wait_back_s=20.0)
        ended(run, 1, 143)
        run.broke(0, 1)
        assert found(run.pass_time(21.0)) == (Verdict.TIMEOUT, Code.NOT_BACK)

    def test_other_failures_are_its_own(self) -> None:
        for rc, signum in ((1, None), (130, None), (None, 11)):
            assert found(ended(one(wait_back_s=20.0), 1, rc, signum)) is not None


class TestSleep:
    def test_while_it_lasts_and_shortly_after(self) -> None:
        wakes = Wakes(3.0)
        wakes.tick(1.0)
        assert not wakes.lately(2.5)
        assert wakes.lately(60.0)
        wakes.tick(60.0)
        assert wakes.lately(61.0)
        wakes.tick(62.0)
        wakes.tick(64.0)
        assert not wakes.lately(64.5)

    def test_a_root_that_takes_over_has_not_slept(self) -> None:
        wakes = Wakes(3.0)
        wakes.since(100.0)
        assert not wakes.lately(101.0)
