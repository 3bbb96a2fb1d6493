"""How long those below a relay wait for it before others take them."""

from __future__ import annotations

from nile.agent import wire
from nile.agent.handshake import Bundle
from nile.agent.link import Link
from nile.agent.relay import Relay
from nile.cascade.actions import Action, Send
from nile.cascade.healing import UNHEARD_S
from nile.options import Limits, Timeouts
from tests.cascade.driven import Driven, placed, results
from tests.simulation.trees import tree

TIMES = Timeouts(connect_s=5.0, lease_s=15.0)


def two_relays() -> Driven:
    """1 > 3, 4 and 2 > 5, all up."""
    run = Driven(tree([0, 0, 1, 1, 2], timeouts=TIMES))
    for node_id in range(1, 6):
        run.up(node_id)
    return run


def moved(run: Driven, reason: str, seconds: float) -> set[int]:
    """Who is placed anew when the link to 1 is lost for that reason, and that time goes by."""
    return {child for _, child, _ in placed(run.broke(0, 1, reason=reason) + run.pass_time(seconds))}


def test_a_relay_whose_link_broke_may_come_back_first() -> None:
    assert moved(two_relays(), "it broke", 1.0) == {1}
    assert moved(two_relays(), "it broke", 4.0) == {1, 3, 4}


def begins(run: Driven, node_id: int) -> None:
    run.say(wire.LOGIN, 0, 0, {"child": node_id, "epoch": 1, "attempt": 1})


def test_a_relay_whose_login_has_to_wait_for_its_turn_isnt_slow() -> None:
    """The root's own relay says each second that it is as good as begun (for a password, say)."""
    run = Driven(tree([0, 0, 1], timeouts=TIMES))
    begins(run, 1)
    begins(run, 2)
    run.up(2)
    for _ in range(20):
        assert placed(run.pass_time(1.0)) == []
        begins(run, 1)
    assert [child for _, child, _ in placed(run.pass_time(3.0))] == [3]


def test_a_relay_that_was_silent_has_had_its_time() -> None:
    assert moved(two_relays(), said_of_silence(), 1.0) == {1, 3, 4}


def test_a_shell_leaf_stays_with_the_relay_whose_link_its_command_would_end_with() -> None:
    run = two_relays()
    run.say(wire.STATE, 3, 1, {"trace": "none", "held": False, "children": [], "shell": True})
    assert moved(run, said_of_silence(), 4.0) == {1, 4}
    run.up(1, 2)
    run.stands(1, 2, {3: 1})
    assert results(run.actions) == {}
    lost = two_relays()
    lost.say(wire.STATE, 3, 1, {"trace": "none", "held": False, "children": [], "shell": True})
    assert 3 in moved(lost, said_of_silence(), 60.0), "nor for ever: its relay doesn't come back"


def test_what_relays_say_nothing_of_goes_to_none_of_them() -> None:
    """1 and 2 never begin with 4 and 5, so it turns out at one moment that neither is a relay; 3 is."""
    run = Driven(tree([0, 0, 0, 1, 2, 3, 3], limits=Limits(branches=4), timeouts=TIMES))
    for node_id in (1, 2, 3, 6, 7):
        run.up(node_id)
    later = placed(run.pass_time(TIMES.connect_s + UNHEARD_S + 1.0))
    assert [(parent, child) for parent, child, _ in later] == [(3, 4), (3, 5)]


def test_a_relay_that_was_permitted_late_has_as_long_as_any() -> None:
    """The root's other child has the only slot for longer than a relay may be unheard of."""
    late_s = TIMES.connect_s + UNHEARD_S + 2.0
    run = Driven(tree([0, 0, 1], limits=Limits(logins=1), timeouts=TIMES))
    run.up(1)
    run.pass_time(late_s)
    assert permitted(run.actions) == []
    run.up(2)
    assert permitted(run.actions) == [3]
    later = run.pass_time(TIMES.connect_s)
    assert placed(later) == []
    assert [child for _, child, _ in placed(run.pass_time(UNHEARD_S + 1.0))] == [3]


def permitted(actions: list[Action]) -> list[int]:
    """Whom relays were told that they may log in to now."""
    frames = [each.frame for each in actions if isinstance(each, Send)]
    return [frame.fields()["child"] for frame in frames if frame.type == wire.PERMIT and frame.path]


def said_of_silence() -> str:
    """What a relay really says of a child that falls silent."""
    shared = {"parallel": 1, "silence": TIMES.silence_s}
    relay = Relay((0, 0), shared, Bundle([], (), ""), lambda: 0.5, lambda: "nonce")
    entry = {
        "id": 1,
        "epoch": 1,
        "permit": True,
        "connect": 5.0,
        "below": [],
        "children": [],
        "relay": False,
        "again": False,
    }
    relay.adopt([entry], 0.0)
    relay.children[1].state, relay.children[1].link = "up", Link(wire.MAX_FRAME_UP, 0.0)
    effects = [effect for second in range(5) for effect in relay.tick(float(second))]
    (lost,) = [effect[1] for effect in effects if effect[0] == "up" and effect[1].type == wire.LOST]
    return str(lost.fields()["reason"])
