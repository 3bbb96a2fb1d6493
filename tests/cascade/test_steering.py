"""What a user may still change of a run under way, and who hears of it."""

from __future__ import annotations

from nile.agent import wire
from nile.cascade.actions import Action, Send
from nile.cascade.inputs import Committed, Interrupted
from nile.options import Limits, Pacing, Timeouts
from tests.cascade.driven import Driven
from tests.simulation.trees import tree

PAUSE, RESUME, FIVE = Pacing(paused=True), Pacing(paused=False), Pacing(parallel=5)


def adopted(actions: list[Action]) -> list[tuple[int, dict[str, object]]]:
    """(relay, entry) for each host that a relay is told to log in to."""
    frames = [each.frame for each in actions if isinstance(each, Send) and each.frame.type == wire.ADOPT]
    return [(frame.path[-1], entry) for frame in frames for entry in frame.fields()["entries"]]


def test_a_host_that_becomes_a_relay_hears_of_the_pace_with_its_first_child() -> None:
    """2 and 3 were leaves when it changed, which hear of no pace."""
    limits = Limits(branches=3)
    run = Driven(tree([0, 0, 0, 1, 1], limits=limits, timeouts=Timeouts(lease_s=30.0)))
    for node_id in range(1, 6):
        run.up(node_id)
        run.runs(node_id)
    before = len(run.actions)
    run.steer(FIVE)
    run.broke(0, 1)
    run.pass_time(6.0)
    placed = {entry["id"]: entry["pace"] for relay, entry in adopted(run.actions[before:]) if relay != 1}
    assert placed.keys() >= {4, 5}
    assert all(pace == {"parallel": 5, "paused": False} for pace in placed.values())


def test_a_pace_that_never_changed_is_told_to_nobody() -> None:
    run = Driven(tree([0, 0, 1], limits=Limits(branches=2)))
    for node_id in (1, 2, 3):
        run.up(node_id)
        run.runs(node_id)
    run.broke(0, 1)
    assert [entry["pace"] for _, entry in adopted(run.pass_time(6.0))] == [{}]


class TestWhatIsRefused:
    def test_nothing_of_a_run_that_goes_on(self) -> None:
        run = Driven(tree([0, 0]), fanout=1).cascade
        assert [run.refuses(each) for each in (PAUSE, RESUME, FIVE, Pacing(fanout=3))] == [""] * 4

    def test_a_fanout_where_hosts_wait_for_no_word(self) -> None:
        assert "it has no -f" in Driven(tree([0, 0])).cascade.refuses(Pacing(fanout=3))

    def test_all_of_it_where_the_run_is_ending(self) -> None:
        run = Driven(tree([0, 0]), fanout=1)
        run.up(1)
        run.cascade.apply(Interrupted(5.0), 1.0)
        for pacing in (PAUSE, RESUME, FIVE):
            assert "it is ending" in run.cascade.refuses(pacing)

    def test_all_of_it_where_the_run_is_over(self) -> None:
        run = Driven(tree([0]))
        run.failed(0, 1, 1, "host-key-unknown")
        run.cascade.apply(Committed(1, 0, 0, True), 1.0)
        assert "ended" in run.cascade.refuses(PAUSE)

    def test_a_pause_where_nobody_starts_any_more(self) -> None:
        run = Driven(tree([0, 0, 0]), fanout=1, max_failures=0)
        for node_id in (1, 2, 3):
            run.up(node_id)
        run.runs(1)
        run.say(wire.RESULT, 1, 1, {"rc": 1, "stdout": 0, "stderr": 0, "left": []})
        assert "nobody starts any more: 1 host isn't ok" in run.cascade.refuses(PAUSE)
        assert run.cascade.refuses(RESUME) == run.cascade.refuses(FIVE) == ""
