"""The node's own part: every state meets every input, and only the drawn transitions happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nile.agent import core, wire
from nile.agent.core import DRAINING, ENDED, HELD, IDLE, KILL, RUNNING, STOPPING, TERM, Core
from nile.agent.stopping import KILLED, MOST_SEEN, STUCK_S, SURVIVED
from nile.agent.wire import Frame
from nile.cascade.inputs import frame_name
from tests.support.plans import make_plan

Effects = list[tuple[Any, ...]]
Step = Callable[[Core, float], Effects]

LEASE_S, GRACE_S, WINDOW = 30.0, 5.0, 1000
STOP: Effects = [("census",), ("kill", TERM)]
STATES = (IDLE, HELD, RUNNING, STOPPING, DRAINING, ENDED)
ALLOWED = {
    (IDLE, HELD),
    (IDLE, RUNNING),
    (HELD, RUNNING),
    (HELD, ENDED),
    (RUNNING, STOPPING),
    (RUNNING, DRAINING),
    (RUNNING, ENDED),
    (STOPPING, DRAINING),
    (STOPPING, ENDED),
    (DRAINING, ENDED),
}


def plan(**how: Any) -> Frame:
    """A plan for node 7 in its attachment 2."""
    values: dict[str, Any] = {"lease": LEASE_S, "grace": GRACE_S, "window": WINDOW, "stdin": True}
    return make_plan(**{**values, "id": 7, "epoch": 2, **how})


def frame(kind: int, value: object = None, epoch: int = 2) -> Frame:
    return Frame(kind, 0, epoch, (), wire.dumps(value))


def tell(message: Frame, trace: str = "none") -> Step:
    """The step that hands the frame over; where it has the agent look for another one, it finds `trace`."""

    def step(it: Core, now: float) -> Effects:
        effects = it.frame(message, now)
        return effects + it.claimed(trace, now) if effects == [("claim",)] else effects

    return step


START, CANCEL, END = frame(wire.START, {}), frame(wire.CANCEL, {"grace": 1.0}, 0), frame(wire.END, {})
BEAT = frame(wire.BEAT, 1, 0)

INPUTS: dict[str, Step] = {
    "plan": tell(plan()),
    "plan to hold": tell(plan(hold=True)),
    "plan of a relay": tell(plan(asked=False)),
    "plan where one ran before": tell(plan(), "dead"),
    "plan of one that is known": tell(plan(again=True, have={"stdout": 5, "stderr": 0})),
    "plan of a new attachment": tell(plan(epoch=3)),
    "resume": tell(frame(wire.RESUME, {"stdout": 0, "stderr": 0})),
    "start": tell(START),
    "cancel": tell(CANCEL),
    "end": tell(END),
    "beat": tell(BEAT),
    "ack": tell(frame(wire.ACK, {"stdout": 1, "stderr": 2**40})),
    "input": tell(Frame(wire.STDIN, body=b"x")),
    "end of input": tell(Frame(wire.STDIN)),
    "a frame for relays": tell(frame(wire.PERMIT, {"child": 1, "epoch": 1})),
    "a frame of an old epoch": tell(frame(wire.START, {}, epoch=1)),
    "exited well": lambda it, now: it.exited(0, None),
    "exited badly": lambda it, now: it.exited(3, None),
    "killed": lambda it, now: it.exited(None, 9),
    "nobody lives": lambda it, now: it.census([], now),
    "somebody lives": lambda it, now: it.census([(5, "sleep")], now),
    "stdout drained": lambda it, now: it.drained("stdout"),
    "stderr drained": lambda it, now: it.drained("stderr"),
    "input taken": lambda it, now: it.input_taken(5),
    "parent lost": lambda it, now: it.parent_lost(now),
    "tick": lambda it, now: it.tick(now),
}


def at(state: str, **how: Any) -> Core:
    """A core in that state, at second 0."""
    it = Core(0.0, LEASE_S)
    if state == IDLE:
        return it
    tell(plan(hold=state == HELD, **how))(it, 0.0)
    if state in (RUNNING, HELD):
        return it
    if state == STOPPING:
        it.frame(CANCEL, 0.0)
        return it
    it.exited(0, None)
    it.census([], 0.0)
    if state == ENDED:
        it.drained("stdout")
        it.drained("stderr")
    return it


def kinds(effects: Effects) -> list[Any]:
    """The effects by name; frames by their type's name."""
    return [frame_name(each[1].type) if each[0] == "up" else each[0] for each in effects]


def result(effects: Effects) -> dict[str, Any]:
    (found,) = [each[1] for each in effects if each[0] == "up" and each[1].type == wire.RESULT]
    value: dict[str, Any] = found.fields()
    return value


@pytest.mark.parametrize("state", STATES)
def test_the_states_are_reached(state: str) -> None:
    assert at(state).state == state


@pytest.mark.parametrize("name", list(INPUTS))
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("now", [1.0, LEASE_S + 1.0])
def test_every_input_in_every_state(state: str, name: str, now: float) -> None:
    it = at(state)
    effects = INPUTS[name](it, now)
    assert state == it.state or (state, it.state) in ALLOWED
    assert {each[0] for each in effects} <= {
        "up", "claim", "state", "spawn", "reading", "drain", "input", "kill", "census", "leave",
    }  # fmt: skip
    assert it.next_tick_s(now) > 0
    if it.state == ENDED and state != ENDED:
        assert kinds(effects).count("RESULT") == 1
    assert kinds(effects).count("spawn") <= ((state, it.state) in {(IDLE, RUNNING), (HELD, RUNNING)})


class TestTheCommand:
    def test_from_plan_to_result(self) -> None:
        it = Core(0.0)
        assert it.frame(plan(), 0.0) == [("claim",)]
        assert kinds(it.claimed("none", 0.0)) == ["spawn"]
        assert kinds(it.spawned(42)) == ["STARTED"]
        assert kinds(it.output("stdout", b"hello")) == ["OUTPUT"]
        assert kinds(it.exited(0, None)) == ["census"]
        assert kinds(it.census([], 1.0)) == ["drain"]
        it.drained("stderr")
        said = result(it.drained("stdout"))
        assert (said["rc"], said["signal"], said["stdout"], said["stderr"]) == (0, None, 5, 0)
        assert it.frame(END, 2.0) == [("leave", True, True)]

    def test_held_until_the_start(self) -> None:
        it = at(HELD)
        assert it.tick(10.0) == []
        assert kinds(it.frame(START, 10.0)) == ["spawn"]
        assert it.frame(START, 11.0) == []

    def test_a_start_for_an_old_attachment_is_ignored(self) -> None:
        it = at(HELD)
        assert it.frame(frame(wire.START, {}, epoch=1), 1.0) == []
        assert it.state == HELD

    def test_a_relay_that_was_not_asked_stays_idle(self) -> None:
        it = Core(0.0)
        tell(plan(asked=False))(it, 0.0)
        assert it.frame(START, 1.0) == []
        assert it.state == IDLE
        assert it.frame(END, 2.0) == [("leave", False, True)]

    def test_it_could_not_be_started(self) -> None:
        it = at(RUNNING)
        said = result(it.spawn_failed("/bin/nosh: not found"))
        assert said["error"] == "/bin/nosh: not found"

    def test_a_time_out_kills_from_its_start_on(self) -> None:
        it = at(HELD, timeout=10.0)
        it.frame(BEAT, 5.0)
        it.frame(START, 5.0)
        assert it.next_tick_s(14.9) == pytest.approx(0.1)
        assert it.tick(15.0) == []
        assert it.tick(15.1) == STOP
        it.exited(None, TERM)
        it.census([], 15.2)
        it.drained("stdout")
        assert result(it.drained("stderr"))["cause"] == "timeout"


class TestStopping:
    def stopping(self, grace_s: float = 5.0) -> Core:
        it = at(RUNNING)
        assert it.frame(frame(wire.CANCEL, {"grace": grace_s}, 0), 0.0) == STOP
        return it

    def test_term_then_grace_then_kill_again_and_again(self) -> None:
        it = self.stopping()
        alive = [(5, "sleep")]
        assert it.tick(1.0) == [("census",)]
        assert it.census(alive, 4.9) == []
        assert it.census(alive, 5.0) == [("kill", KILL)]
        assert it.census(alive, 5.1) == [("kill", KILL)]

    def test_survivors_are_named_and_given_up(self) -> None:
        it = self.stopping()
        it.exited(None, 9)
        late = 60.0  # the host slept: it is killed at least once
        assert it.census([(5, "sudo")], late) == [("kill", KILL)]
        assert it.census([(5, "sudo")], late + STUCK_S) == [("drain",)]
        it.drained("stdout")
        said = result(it.drained("stderr"))
        assert said["left"] == [[5, "sudo", SURVIVED]]
        assert said["cause"] == "cancelled"

    def test_whoever_was_there_is_named_with_what_became_of_it(self) -> None:
        it = self.stopping(grace_s=1.0)
        assert it.census([(9, "sh"), (5, "sudo")], 0.0) == []
        assert it.census([(5, "sudo"), (12, "late")], 1.0) == [("kill", KILL)]
        it.exited(None, TERM)
        assert it.census([(5, "sudo")], 1.0 + STUCK_S) == [("drain",)]
        it.drained("stdout")
        left = result(it.drained("stderr"))["left"]
        assert left == [[5, "sudo", SURVIVED], [9, "sh", KILLED], [12, "late", KILLED]]

    def test_a_storm_of_forks_is_not_remembered(self) -> None:
        it = self.stopping()
        for second in range(4):
            it.census([(pid, "fork") for pid in range(second * 1000, second * 1000 + 999)], float(second))
        it.exited(None, TERM)
        it.census([], 4.0)
        it.drained("stdout")
        left = result(it.drained("stderr"))["left"]
        assert len(left) == MOST_SEEN
        assert {became for _, _, became in left} == {KILLED}

    def test_its_own_end_is_waited_for(self) -> None:
        it = self.stopping()
        assert it.census([], 1.0) == []
        assert it.state == STOPPING
        it.exited(None, TERM)
        assert it.census([], 1.1) == [("drain",)]

    def test_a_second_cancel_shortens_the_grace_and_none_prolongs_it(self) -> None:
        it = self.stopping(grace_s=5.0)
        it.frame(frame(wire.CANCEL, {"grace": 60.0}, 0), 1.0)
        assert it.census([(5, "x")], 5.0) == [("kill", KILL)]
        it = self.stopping(grace_s=60.0)
        it.frame(frame(wire.CANCEL, {"grace": 0.0}, 0), 1.0)
        assert it.census([(5, "x")], 1.0) == [("kill", KILL)]

    def test_held_and_cancelled_never_ran(self) -> None:
        it = at(HELD)
        said = result(it.frame(CANCEL, 1.0))
        assert (said["rc"], said["cause"]) == (None, "cancelled")
        assert it.frame(START, 2.0) == []


class TestLeftovers:
    ALIVE = [(9, "daemon")]

    def ended(self, rc: int, leftover: str) -> tuple[Core, Effects]:
        it = at(RUNNING, leftover=leftover)
        it.exited(rc, None)
        return it, it.census(self.ALIVE, 1.0)

    @pytest.mark.parametrize("policy", ["keep", "fail"])
    def test_what_success_leaves_stays(self, policy: str) -> None:
        it, effects = self.ended(0, policy)
        assert kinds(effects) == ["drain"]
        it.drained("stdout")
        assert result(it.drained("stderr"))["left"] == [[9, "daemon", False]]
        assert it.frame(END, 2.0) == [("leave", True, True)]

    @pytest.mark.parametrize(("rc", "policy"), [(1, "keep"), (0, "kill"), (1, "fail")])
    def test_all_else_is_killed_and_named(self, rc: int, policy: str) -> None:
        it, effects = self.ended(rc, policy)
        assert effects == STOP
        it.census([], 1.1)
        it.drained("stdout")
        said = result(it.drained("stderr"))
        assert said["left"] == [[9, "daemon", KILLED]]
        assert (said["rc"], said["cause"]) == (rc, None)

    def test_a_result_names_no_more_than_a_hundred(self) -> None:
        it = at(RUNNING)
        it.exited(0, None)
        it.census([(pid, "fork") for pid in range(5000)], 1.0)
        it.drained("stdout")
        assert len(result(it.drained("stderr"))["left"]) == core.MOST_LEFT


class TestWindow:
    def test_reading_stops_when_it_is_full_and_goes_on_when_acknowledged(self) -> None:
        it = at(RUNNING)
        assert it.room() == WINDOW
        assert kinds(it.output("stdout", b"." * 600)) == ["OUTPUT"]
        effects = it.output("stderr", b"." * it.room())
        assert effects[1:] == [("reading", False)]  # what one stream holds back the other doesn't overtake
        assert it.frame(frame(wire.ACK, {"stdout": 300}), 1.0) == [("reading", True)]
        assert it.room() == 300
        assert it.frame(frame(wire.ACK, {"stdout": 600, "stderr": 400}), 1.0) == []
        assert it.room() == WINDOW

    def test_offsets_are_absolute(self) -> None:
        it = at(RUNNING)
        it.output("stderr", b"abc")
        effects = it.output("stderr", b"de")
        assert wire.unpack_output(effects[0][1].body) == (1, 3, b"de")

    @pytest.mark.parametrize("offset", [0, -5, 601, 2**40])
    def test_acknowledgements_of_what_was_never_sent_are_ignored(self, offset: int) -> None:
        it = at(RUNNING)
        it.output("stdout", b"." * 600)
        assert it.frame(frame(wire.ACK, {"stdout": offset}), 1.0) == []
        assert it.room() == 400

    def test_the_result_waits_for_a_full_window(self) -> None:
        it = at(RUNNING)
        it.output("stdout", b"." * WINDOW)
        it.exited(0, None)
        it.census([], 1.0)
        it.drained("stderr")
        assert it.state == DRAINING
        assert it.frame(frame(wire.ACK, {"stdout": WINDOW}), 2.0) == [("reading", True)]


class TestLease:
    def test_only_new_heartbeats_renew_it(self) -> None:
        it = at(RUNNING)
        it.frame(frame(wire.BEAT, 5, 0), 20.0)
        it.frame(frame(wire.BEAT, 5, 0), 40.0)
        it.frame(frame(wire.BEAT, 4, 0), 45.0)
        it.frame(frame(wire.BEAT, "x", 0), 45.0)
        assert it.tick(50.0) == []
        assert it.tick(50.1) == STOP

    @pytest.mark.parametrize("state", [IDLE, HELD, DRAINING, ENDED])
    def test_when_it_is_over_the_agent_leaves(self, state: str) -> None:
        it = at(state)
        assert it.tick(LEASE_S) == []
        assert kinds(it.tick(LEASE_S + 0.1)) == ["leave"]

    def test_a_running_command_gets_its_grace_first(self) -> None:
        it = at(RUNNING)
        assert it.tick(LEASE_S + 0.1) == STOP
        it.exited(None, TERM)
        assert it.census([], LEASE_S + 0.2) == [("leave", False, False)]

    @pytest.mark.parametrize("queued", [BEAT, START, plan()])
    def test_who_thaws_too_late_obeys_nothing_that_was_queued(self, queued: Frame) -> None:
        it = at(HELD)
        assert kinds(it.frame(queued, LEASE_S + 0.1)) == ["leave"]
        assert it.state == HELD

    def test_success_that_lost_its_parent_keeps_what_it_left(self) -> None:
        it = at(DRAINING, orphan="kill")
        assert it.parent_lost(1.0) == [("leave", True, False)]
        it = at(RUNNING, orphan="kill")
        assert it.parent_lost(1.0) == STOP
        it.exited(0, None)
        assert it.census([], 1.1) == [("leave", False, False)]

    @pytest.mark.parametrize("orphan", ["adopt", "finish"])
    @pytest.mark.parametrize("state", [HELD, RUNNING, STOPPING, DRAINING, ENDED])
    def test_who_lost_its_parent_goes_on_until_it_is_over(self, state: str, orphan: str) -> None:
        it = at(state, orphan=orphan)
        assert it.parent_lost(1.0) == []
        assert it.state == state
        if state not in (RUNNING, STOPPING):
            assert it.tick(LEASE_S) == []
            assert kinds(it.tick(LEASE_S + 0.1)) == ["leave"]

    def test_an_orphan_that_is_to_finish_has_no_lease_while_its_command_runs(self) -> None:
        it = at(RUNNING, orphan="finish")
        it.parent_lost(1.0)
        assert it.tick(100 * LEASE_S) == []
        it.exited(0, None)
        assert it.census([], 100 * LEASE_S) == [("drain",)]
        assert it.tick(100 * LEASE_S) == [("leave", True, False)]

    def test_before_the_plan_is_that_of_the_parents_last_bytes(self) -> None:
        it = Core(0.0, LEASE_S)
        for now in (LEASE_S - 1.0, 2 * LEASE_S - 2.0):
            assert not it.deaf(LEASE_S - 1.0, now)
            assert it.tick(now) == []
        assert not it.deaf(LEASE_S - 1.0, 2 * LEASE_S)
        assert kinds(it.tick(2 * LEASE_S)) == ["leave"]

    def test_before_the_plan_is_over_for_who_thaws_too_late(self) -> None:
        it = Core(0.0, LEASE_S)
        assert not it.deaf(LEASE_S + 1.0, LEASE_S + 1.0)
        assert kinds(it.tick(LEASE_S + 1.0)) == ["leave"]


class TestAnew:
    """Another attachment: what it says, and what it never does."""

    HAVE = {"stdout": 3, "stderr": 0}

    @pytest.mark.parametrize("trace", ["none", "dead"])
    def test_one_that_may_have_been_started_before_waits_for_the_root(self, trace: str) -> None:
        it = Core(0.0)
        claim, *effects = tell(plan(again=trace == "none", have=self.HAVE), trace)(it, 0.0)
        assert claim == ("claim",)
        assert effects == [("state", {"trace": trace, "held": True, "ask": 0})]
        assert kinds(it.frame(START, 1.0)) == ["spawn"]
        assert wire.unpack_output(it.output("stdout", b"x")[0][1].body)[1] == 3

    def test_what_the_root_lacks_comes_again_in_the_new_name(self) -> None:
        it = at(RUNNING)
        it.spawned(42)
        it.output("stdout", b"abcdef")
        it.output("stderr", b"xyz")
        it.frame(frame(wire.ACK, {"stdout": 2}), 1.0)
        state, *rest = tell(plan(epoch=3, have=self.HAVE))(it, 1.0)
        assert state == ("state", {"trace": "alive", "held": False, "ask": 0})
        frames = [each[1] for each in rest]
        assert [(each.type, each.origin, each.epoch) for each in frames] == [
            (wire.STARTED, 7, 3), (wire.OUTPUT, 7, 3), (wire.OUTPUT, 7, 3),
        ]  # fmt: skip
        assert [wire.unpack_output(each.body) for each in frames[1:]] == [(0, 3, b"def"), (1, 0, b"xyz")]
        assert it.output("stdout", b"g")[0][1].epoch == 3

    def test_a_result_comes_again_until_the_agent_is_told_to_end(self) -> None:
        it = at(ENDED)
        assert kinds(tell(plan(epoch=3, have=self.HAVE))(it, 1.0)) == ["state", "RESULT"]
        assert kinds(it.frame(frame(wire.RESUME, {"stdout": 0, "stderr": 0}, epoch=3), 1.0)) == [
            "state",
            "RESULT",
        ]

    @pytest.mark.parametrize("epoch", [1, 2])
    @pytest.mark.parametrize("state", [HELD, RUNNING, STOPPING, DRAINING, ENDED])
    def test_an_old_attachment_has_nothing_to_say(self, state: str, epoch: int) -> None:
        it = at(state)
        assert it.frame(plan(epoch=epoch), 1.0) == []
        assert it.epoch == 2

    def test_an_adoption_renews_the_lease(self) -> None:
        it = at(RUNNING)
        it.frame(plan(epoch=3, have=self.HAVE), LEASE_S)
        assert it.tick(2 * LEASE_S) == []
        assert it.tick(2 * LEASE_S + 0.1) == STOP

    def test_nobody_adopts_one_whose_lease_is_over(self) -> None:
        it = at(HELD)
        assert it.frame(plan(epoch=3, have=self.HAVE), LEASE_S + 0.1) == [("leave", False, False)]


class TestInput:
    def test_it_is_passed_to_a_command_that_runs(self) -> None:
        it = at(RUNNING)
        assert it.frame(Frame(wire.STDIN, body=b"abc"), 1.0) == [("input", b"abc")]
        assert it.frame(Frame(wire.STDIN), 1.0) == [("input", b"")]
        (effect,) = it.input_taken(3)
        assert (effect[1].type, effect[1].value()) == (wire.TAKEN, 3)

    @pytest.mark.parametrize("state", [IDLE, STOPPING, DRAINING, ENDED])
    def test_and_to_nobody_else(self, state: str) -> None:
        assert at(state).frame(Frame(wire.STDIN, body=b"abc"), 1.0) == []
