"""What a relay does for its children, one at a time: slots, queues, and children that don't read."""

from __future__ import annotations

from typing import Any

import pytest

from nile.agent import wire
from nile.agent.child import GONE, LOGIN, UP, WAITING, first_due
from nile.agent.handshake import Bundle
from nile.agent.link import BULK_WINDOW
from nile.agent.relay import MOST_CONTROL, RETRY_FIRST_S, Relay
from nile.agent.wire import Decoder, Frame
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

    def test_a_change_of_pace_that_comes_with_a_child_holds_before_any_login(self) -> None:
        it = relay(parallel=4)
        first, *others = children(4)
        pace = {"parallel": 1, "paused": False}
        assert of(it.adopt([{**first, "pace": pace}, *others], 0.0), "login") == [2]
        it.closed(2, "refused", "", False, 1.0)
        assert (
            of(it.adopt([{**children(1)[0], "epoch": 2, "pace": {**pace, "paused": True}}], 1.0), "login")
            == []
        )

    def test_what_comes_with_a_permit_goes_into_the_plan_and_is_kept_no_longer(self) -> None:
        it = relay()
        (entry,) = children(1)
        it.adopt([{**entry, "permit": False}], 0.0)
        own = {"line": "echo x", "script": {"name": "s", "data": b"", "args": []}}
        permit = wire.dumps({"child": 2, "epoch": 1, "own": own})
        assert of(it.frame(Frame(wire.PERMIT, 0, 1, (), permit), 1.0), "login") == [2]
        up(it, 2)
        link = it.children[2].link
        assert link is not None
        plans = [each for each in Decoder(1 << 20).feed(link.pull(2.0)) if each.type == wire.PLAN]
        node = plans[0].fields()["node"]
        assert {name: node[name] for name in own} == own
        assert (it.children[2].entry["line"], it.children[2].entry["script"]) == ("", None)

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


class TestWhenATickIsDue:
    """Within a second always; sooner where a deadline or a silence ends sooner."""

    def test_for_the_deadline_of_a_login_that_begins_later(self) -> None:
        it = relay()
        assert it.next_tick_s(0.0) == 1.0
        it.adopt(children(1, connect=0.4), 0.2)
        assert it.next_tick_s(0.3) == pytest.approx(0.3)
        assert it.next_tick_s(0.8) == 0.01  # it is over

    def test_for_a_login_that_is_put_off(self) -> None:
        it = relay()
        it.adopt(children(1, connect=9.0), 0.0)
        assert it.next_tick_s(0.0) == 1.0
        it.closed(2, "startups", "", True, 0.1)
        assert it.next_tick_s(0.1) == pytest.approx(RETRY_FIRST_S)

    def test_for_a_silence_unless_something_is_heard(self) -> None:
        it = relay()
        silence_s = it._shared["silence"]
        it.adopt(children(2), 0.0)
        up(it, 2)
        assert it.next_tick_s(0.9 + silence_s) == pytest.approx(0.1)
        it.data(2, Frame(wire.PING).encode(), 0.9 + silence_s)
        assert it.next_tick_s(0.9 + silence_s) == 1.0
        assert it.next_tick_s(0.9 + 2 * silence_s - 0.2) == pytest.approx(0.2)

    def test_asking_costs_the_same_however_many_children_there_are(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is asked at every frame that comes in: children are looked at where something is near."""
        looks: list[float] = []

        def counting(children: Any, silence: float, now: float) -> float:
            looks.append(now)
            return first_due(children, silence, now)

        monkeypatch.setattr("nile.agent.relay.first_due", counting)
        it = relay(parallel=100)
        it.adopt(children(100), 0.0)
        for child in range(2, 102):
            up(it, child)
        for step in range(1000):
            now = 1.0 + step / 1000
            it.data(2 + step % 100, Frame(wire.PING).encode(), now)
            assert it.next_tick_s(now) == 1.0
        assert len(looks) <= 2


def test_silence_that_this_node_slept_through_is_forgiven() -> None:
    it = relay()
    it.adopt(children(1), 0.0)
    up(it, 2)
    it.tick(1.5)
    assert of(it.tick(60.0), "hangup") == []
    assert of(it.tick(60.5), "hangup") == []
    assert of(it.tick(61.0), "hangup") == [2]


def test_what_waited_for_room_goes_as_soon_as_there_is_some() -> None:
    """Not at the next frame, or the next tick: several channels would wait a second, again and again."""
    it = relay()
    it.adopt(children(1), 0.0)
    up(it, 2)
    link = it.children[2].link
    assert link is not None
    bulk = Frame(wire.TELL, 0, 1, (2,), bytes(wire.CHUNK))
    for _ in range(2 * BULK_WINDOW // wire.CHUNK):
        it.frame(bulk, 1.0)
    while link.pull(1.0):
        pass
    assert not link.pending()
    window = Frame(wire.WINDOW, body=wire.dumps(2 * BULK_WINDOW)).encode()
    assert of(it.data(2, window, 1.0), "flush") == [2]
    assert link.pending()
    assert of(it.data(2, Frame(wire.PING).encode(), 1.0), "flush") == []


def test_the_end_of_one_that_was_told_to_end_is_no_news_but_to_a_root() -> None:
    for own_id in (0, 9):
        it = relay()
        it._own = (own_id, own_id)
        it.adopt(children(2), 0.0)
        for child in (2, 3):
            up(it, child)
        it.frame(wire.Frame(wire.END, 0, 1, (2,)), 1.0)
        it.frame(wire.Frame(wire.END, 0, 1, (3, 4)), 1.0)  # for one below it
        told, untold = (it.closed(child, "link", "", False, 2.0) for child in (2, 3))
        assert of_lost(told) == ([2] if own_id == 0 else [])
        assert of_lost(untold) == [3]


def test_a_root_that_asks_who_is_there_hears_of_every_end_that_follows() -> None:
    """The one that told it to end may be dead, and nothing recorded of that."""
    it = relay()
    it.adopt(children(1), 0.0)
    up(it, 2)
    it.frame(wire.Frame(wire.END, 0, 1, (2,)), 1.0)
    assert it.standing() == [[2, 1, UP]]
    assert of_lost(it.closed(2, "link", "", False, 2.0)) == [2]


def of_lost(effects: Effects) -> list[int]:
    frames = [effect[1] for effect in effects if effect[0] == "up"]
    return [frame.fields()["child"] for frame in frames if frame.type == wire.LOST]
