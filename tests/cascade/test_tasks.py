"""What hosts run, each its own: with the plan, or apart, so that no frame and no link grows too large."""

from __future__ import annotations

import random

import pytest

from nile.agent import wire
from nile.cascade import tasks
from nile.cascade.actions import Action, Adopt, Send
from nile.cascade.tasks import ANY_NUMBER, EXEC, MOST_UNDER_WAY, MOST_WITH_PLAN, Tasks
from nile.options import ExecOptions, Limits, Script
from tests.cascade.driven import Driven
from tests.simulation.checks import violations
from tests.simulation.scenario import any_run
from tests.simulation.trees import tree

KIB_100 = 100 << 10
HOSTS = 700


def largest(actions: list[Action]) -> int:
    """Bytes of the largest body, or of the root's own children."""
    sizes = [len(each.frame.body) for each in actions if isinstance(each, Send)]
    entries = [entry for each in actions if isinstance(each, Adopt) for entry in each.entries]
    return max([*sizes, *(len(wire.dumps(entry)) for entry in entries)])


def permits(actions: list[Action]) -> list[dict[str, object]]:
    frames = [each.frame for each in actions if isinstance(each, Send)]
    return [frame.fields() for frame in frames if frame.type == wire.PERMIT]


class TestLongLinesOfManyHosts:
    """700 hosts below one relay, each with 100 KiB of its own."""

    @pytest.fixture
    def run(self) -> Driven:
        plan = tree([0, *[1] * (HOSTS - 1)], limits=Limits(branches=HOSTS))
        own = {node.host: f"{node.host} ".ljust(KIB_100, "x") for node in plan.nodes}
        return Driven(plan, per_host=own)

    def test_no_frame_is_large(self, run: Driven) -> None:
        run.up(1)
        assert largest(run.actions) < 1 << 20

    def test_each_comes_with_its_own_permit_and_not_all_at_one_time(self, run: Driven) -> None:
        run.up(1)
        first = permits(run.actions)
        most = MOST_UNDER_WAY // KIB_100
        assert len(first) == 1 + most  # the relay's own, and then as many as may be under way
        for permit in first:
            own = permit["own"]
            assert isinstance(own, dict)
            assert own["line"].startswith(f"h{permit['child']:04} ")
        assert len(permits(run.up(2) + run.up(3))) == 2

    def test_who_is_placed_anew_gets_it_anew(self, run: Driven) -> None:
        run.up(1)
        run.up(2)
        run.broke(1, 2)
        later = run.pass_time(2.0) + run.up(3)
        assert [permit["child"] for permit in permits(later)] == [2]
        assert largest(later) < 2 * KIB_100


def test_a_signature_waits_behind_little() -> None:
    """What a link at 1 Mbit/s carries in less than 5 s."""
    assert MOST_UNDER_WAY <= 5 * 125_000


class TestOneLongAmongShort:
    """60 hosts below one relay with 80 KiB each, but for one with 1 MiB."""

    @pytest.fixture
    def run(self) -> Driven:
        plan = tree([0, *[1] * 60], limits=Limits(branches=60))
        own = {node.host: "x" * (80 << 10) for node in plan.nodes}
        return Driven(plan, per_host={**own, "h0009": "x" * (1 << 20)})

    def test_the_short_ones_dont_wait_for_one_another(self, run: Driven) -> None:
        run.up(1)
        assert [permit["child"] for permit in permits(run.actions)] == [1, 2, 3, 4, 5, 6, 7]

    def test_the_long_one_goes_alone(self, run: Driven) -> None:
        run.up(1)
        later = [[permit["child"] for permit in permits(run.up(child))] for child in range(2, 10)]
        assert later == [[8], [], [], [], [], [], [9], [10, 11, 12, 13, 14, 15]]


def test_short_ones_go_with_the_plan() -> None:
    run = Driven(tree([0, 1]), per_host={"h0001": "one", "h0002": "two"}, scripts={})
    (top,) = next(each.entries for each in run.actions if isinstance(each, Adopt))
    assert (top["line"], top["children"][0]["line"]) == ("one", "two")
    assert permits(run.actions) == []


def test_the_bounds() -> None:
    lines = {"a": "x" * (MOST_WITH_PLAN // 2), "b": "x" * (MOST_WITH_PLAN // 2)}
    assert not Tasks(ExecOptions("c", per_host=lines)).apart
    lines["c"] = "x"
    apart = Tasks(ExecOptions("c", per_host=lines))
    assert apart.apart
    assert (apart.logins(None), apart.logins(3)) == (ANY_NUMBER, 3)
    assert apart.with_plan("c", permitted=False) == {"line": "", "script": None}
    assert apart.with_plan("c", permitted=True) == {"line": "x", "script": None}  # the root logs in itself


def test_a_script_of_its_own() -> None:
    script = Script.of("s", b"true", ["x"])
    own = {"per_host": {"a": script.called, "b": "uptime"}, "scripts": {"a": script}}
    it = Tasks(ExecOptions("c", **own))  # type: ignore[arg-type]
    found = it.with_plan("a", permitted=False)
    assert (found["line"], found["script"]["name"], found["script"]["args"]) == ("", "s", ["x"])
    assert it.with_plan("b", permitted=False) == {"line": "uptime", "script": None}
    cuts_off = Tasks(ExecOptions("c", disruptive=True, **own))  # type: ignore[arg-type]
    assert cuts_off.with_plan("a", permitted=False)["line"] == EXEC
    many = {f"h{n}": Script.of("s", random.Random(n).randbytes(1 << 20)) for n in range(5)}
    assert Tasks(ExecOptions("c", per_host=dict.fromkeys(many, "s"), scripts=many)).apart


@pytest.mark.parametrize("first", range(1, 81, 40))
def test_with_faults_each_runs_its_own(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MOST_WITH_PLAN", 0)
    monkeypatch.setattr(tasks, "MOST_UNDER_WAY", 100)  # of lines with 13 bytes
    found = {}
    for seed in range(first, first + 40, 2):
        run = any_run(seed, 16, 4)
        run.run()
        if broken := violations(run):
            found[seed] = broken[:3]
    assert found == {}
