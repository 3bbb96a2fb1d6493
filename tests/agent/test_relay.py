"""What a relay does for its children, one at a time: slots, queues, and children that don't read."""

from __future__ import annotations

from typing import Any

import pytest

from nile.agent import wire
from nile.agent.child import GONE, LOGIN, UP, WAITING
from nile.agent.handshake import Bundle
from nile.agent.relay import MOST_CONTROL, Relay
from nile.agent.wire import Frame
from tests.support.plans import children, plan_body

Effects = list[tuple[Any, ...]]


def relay(parallel: int = 4) -> Relay:
    """Node 1, with nobody below it yet."""
    shared = plan_body(parallel=parallel)["shared"]
    return Relay((1, 1), shared, Bundle([("nile", b"pass\n")], [], "00"), lambda: 0.5, lambda: "nonce")


def up(it: Relay, child: int) -> None:
    """This child's login succeeds, and its agent says hello."""
    it.data(child, b"\nnonce py 00 3.11.2\n", 1.0)
    it.data(child, Frame(wire.HELLO, body=wire.dumps({})).encode(), 1.0)
    assert it.children[child].state == UP


def of(effects: Effects, kind: str) -> list[int]:
    return [each[1] for each in effects if each[0] == kind]


def states(it: Relay) -> list[str]:
    return [child.state for child in it.children.values()]


class TestSlots:
    def test_as_many_logins_as_there_are_slots_in_order(self) -> None:
        it = relay(parallel=2)
        assert of(it.adopt(children(5), 0.0), "login") == [2, 3]
        assert of(it.closed(2, "refused", "", False, 1.0), "login") == [4]
        up(it, 3)
        assert states(it) == [GONE, UP, LOGIN, LOGIN, WAITING]
        assert of(it.closed(3, "link", "", False, 2.0), "login") == []  # a link takes no slot

    def test_who_has_no_permit_waits_for_it_and_holds_up_nobody(self) -> None:
        it = relay(parallel=1)
        first, second = children(2)
        assert of(it.adopt([{**first, "permit": False}, second], 0.0), "login") == [3]
        permit = Frame(wire.PERMIT, 0, 1, (), wire.dumps({"child": 2, "epoch": 1}))
        assert of(it.frame(permit, 1.0), "login") == []
        assert of(it.closed(3, "refused", "", False, 1.0), "login") == [2]

    def test_one_that_is_given_anew_takes_one_slot(self) -> None:
        it = relay(parallel=1)
        first, second = children(2)
        it.adopt([first, second], 0.0)
        effects = it.adopt([{**first, "epoch": 2}], 1.0)
        assert (of(effects, "hangup"), of(effects, "login")) == ([2], [3])
        assert of(it.closed(3, "refused", "", False, 2.0), "login") == [2]
        assert it.children[2].epoch == 2

    def test_what_is_forgotten_frees_its_slot(self) -> None:
        it = relay(parallel=1)
        it.adopt(children(2), 0.0)
        effects = it.frame(Frame(wire.FORGET, 0, 1, (), wire.dumps({"children": [2]})), 1.0)
        assert (of(effects, "hangup"), of(effects, "login")) == ([2], [3])

    def test_an_event_costs_the_same_however_many_children_there_are(self) -> None:
        """Those that are up, or gone, aren't looked at again."""
        looks: list[int] = []

        class Counting(Relay):
            def _begin(self, child: Any, now: float) -> Effects:
                looks.append(child.id)
                return super()._begin(child, now)

        shared = plan_body(parallel=2)["shared"]
        it = Counting((1, 1), shared, Bundle([("nile", b"pass\n")], [], "00"), lambda: 0.5, lambda: "nonce")
        it.adopt(children(300), 0.0)
        for child in range(2, 302):
            it.closed(child, "refused", "", False, 1.0)
        assert looks == list(range(2, 302))
        assert it._queue == []


def test_what_one_says_that_was_hung_up_on_is_no_handshake_again() -> None:
    """Bytes of it may be on their way still, and nobody is there to be written to."""
    it = relay()
    it.adopt(children(1), 0.0)
    up(it, 2)
    assert of(it.overrun(2, 1.0), "hangup") == [2]
    assert it.data(2, b"\nnonce py 00 3.11.2\n", 1.0) == []


class TestAChildThatDoesNotRead:
    def test_it_is_hung_up_before_it_fills_this_memory(self) -> None:
        it = relay()
        it.adopt(children(2), 0.0)
        up(it, 2)
        up(it, 3)
        big = Frame(wire.SIGNED, 0, 1, (2,), b"x" * (8 << 20))
        seen: Effects = []
        for _ in range(2 * MOST_CONTROL // len(big.body)):
            seen += it.frame(big, 2.0)
        assert of(seen, "hangup") == [2]
        (lost,) = [each[1].fields() for each in seen if each[0] == "up"]
        assert (lost["child"], lost["code"]) == (2, "agent")
        assert it.children[2].link is None
        assert states(it) == [GONE, UP]

    def test_broadcasts_count_too_and_others_get_them(self) -> None:
        it = relay()
        it.adopt(children(2), 0.0)
        up(it, 2)
        up(it, 3)
        it.frame(Frame(wire.SIGNED, 0, 1, (2,), b"x" * (MOST_CONTROL + 1)), 2.0)
        beat = Frame(wire.BEAT, body=wire.dumps(1))
        effects = it.frame(beat, 3.0)
        assert (of(effects, "hangup"), of(effects, "flush")) == ([2], [3])

    @pytest.mark.parametrize("how", ["its link ends", "it is hung up", "it is gone already"])
    def test_room_of_bulk_that_will_never_leave_is_given_back(self, how: str) -> None:
        it = relay()
        it.adopt(children(1), 0.0)
        up(it, 2)
        left: list[int] = []
        if how == "it is gone already":
            it.closed(2, "link", "", False, 2.0)
        it.frame(Frame(wire.CARRY, 0, 1, (2, 9), b"x" * 1000), 2.0, lambda: left.append(1))
        if how == "its link ends":
            it.closed(2, "link", "", False, 2.0)
        elif how == "it is hung up":
            it.frame(Frame(wire.SIGNED, 0, 1, (2,), b"x" * (MOST_CONTROL + 1)), 2.0)
            it.frame(Frame(wire.CARRY, 0, 1, (2, 9), b"x"), 2.0, lambda: left.append(2))
        assert 1 in left
        assert (how == "it is hung up") == (2 in left)


def test_silence_that_this_node_slept_through_is_forgiven() -> None:
    it = relay()
    it.adopt(children(1), 0.0)
    up(it, 2)
    it.tick(1.5)
    assert of(it.tick(60.0), "hangup") == []
    assert of(it.tick(60.5), "hangup") == []
    assert of(it.tick(61.0), "hangup") == [2]
