"""What the fuzzer found, in few steps: runs without an end, a verdict untold, a command started twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade import Sign
from nile.cascade.hosts import Contact
from nile.events import Verdict
from tests.fuzz.choices import FromBytes
from tests.fuzz.root_model import MAGIC, RootModel
from tests.fuzz.soak import TARGETS

LOGINS = 3
"""Which byte of a model's choices bounds the logins at a time: to two."""


def model(bounded: int | None = None) -> RootModel:
    """Nine hosts: 1 to 3 below the root, 4 and 5 below 1, 6 and 7 below 2, 8 and 9 below 4."""
    it = RootModel(FromBytes(bytes(at == bounded for at in range(8))))
    assert it.plan.limits.logins == (2 if bounded == LOGINS else None)
    return it


def greet(it: RootModel, top: int) -> None:
    """The root's login there succeeds, once it is its turn."""
    for _ in range(10):
        if top in it.open:
            break
        it._second(True)
    hello = Frame(wire.HELLO, body=wire.dumps({"uptime": 1e6})).encode()
    it.data(top, f"\n{it.open[top]} py {MAGIC} 3.11.2\n".encode() + hello)
    assert it.hosts[top].contact is Contact.UP


def tell(it: RootModel, kind: int, origin: int, body: Any = None) -> None:
    """A frame of a host, in its present attachment."""
    it.say(Frame(kind, origin, it.hosts[origin].epoch, (), wire.dumps(body)))
    it.check()


def about(it: RootModel, kind: int, relay: int, child: int, code: str = "") -> None:
    """What a relay says of a child."""
    body = {"child": child, "epoch": it.hosts[child].epoch, "code": code, "reason": "", "attempt": 1}
    tell(it, kind, relay, body)


def end(it: RootModel, ending: str = "dark") -> dict[str, Verdict]:
    """The run comes to its end; what became of whom."""
    it.ending = ending
    it.finish()
    return {host: result.verdict for host, result in it.results.items()}


def test_a_state_of_the_wrong_form_swallows_no_verdict() -> None:
    """Its first half brought the verdict about, its second was refused, and so nobody was told."""
    it = model()
    greet(it, 1)
    tell(it, wire.STARTED, 1, {"pid": 1})
    it._close(1, "link", False)
    it._second(True)
    greet(it, 1)
    tell(it, wire.STATE, 1, {"trace": "dead", "held": True, "children": "none"})
    tell(it, wire.STATE, 1, {"trace": "dead", "held": True, "children": []})
    assert it.results["h1"].verdict is Verdict.LOST
    end(it)


@pytest.mark.parametrize("kind", [wire.HELLO, wire.STATE])
def test_nobody_comes_up_below_a_relay_that_is_gone(kind: int) -> None:
    """Another relay on the way may say so: nobody looked after that host any more."""
    it = model()
    greet(it, 1)
    for relay, child in ((1, 4), (4, 8)):
        about(it, wire.LOGIN, relay, child)
        tell(it, wire.HELLO, child, {"uptime": 1e6})
    about(it, wire.LOST, 1, 4, "agent")
    moved = it.hosts[8]
    moved.contact = Contact.NONE  # as it is until somebody has room for it
    tell(it, kind, 8, {"trace": "none", "held": True, "children": [], "uptime": 1e6})
    assert moved.contact is Contact.NONE


def test_a_relay_that_is_gone_says_nothing_of_its_children() -> None:
    it = model()
    greet(it, 1)
    about(it, wire.LOGIN, 1, 4)
    tell(it, wire.HELLO, 4, {"uptime": 1e6})
    about(it, wire.LOST, 1, 4, "link")
    about(it, wire.FAILED, 4, 8, "unbound")
    assert it.hosts[8].carrier is None


def test_nobody_is_carried_whom_no_relay_has_any_more() -> None:
    it = model()
    greet(it, 1)
    it.hosts[5].contact = Contact.NONE
    about(it, wire.FAILED, 1, 5, "unbound")
    assert it.hosts[5].carrier is None


def test_who_waits_below_a_link_that_broke_gets_its_turn_again() -> None:
    """The relay between is up all the time, and its agent still has that host to log in to."""
    it = model(LOGINS)
    for top in (1, 2, 3):
        greet(it, top)
    about(it, wire.LOGIN, 1, 4)
    tell(it, wire.HELLO, 4, {"uptime": 1e6})
    waiting = it.hosts[8]
    it.cascade._logins.give_back(waiting)
    waiting.permitted = False
    it._close(1, "link", False)
    assert 8 not in it.cascade._logins._hosts
    greet(it, 1)
    assert waiting.permitted or 8 in it.cascade._logins._hosts


def test_a_host_that_ended_is_offered_no_login() -> None:
    """The slot that it got was never given back."""
    it = model(LOGINS)
    greet(it, 1)
    gone = it.hosts[4]
    gone.ended = True
    it.cascade._logins.give_back(gone)
    it.cascade._permits.offer_below(1)
    assert it.cascade._logins._hosts.keys() & {4, 5} == {5}


def test_the_permit_goes_to_whoever_logs_in() -> None:
    """A relay that says, unasked, that it can't bind signatures: the root logs in itself, once it may."""
    it = model(LOGINS)
    greet(it, 1)
    about(it, wire.FAILED, 1, 5, "unbound")
    assert it.hosts[5].carrier == 1
    begun: set[int] = set()
    for _ in range(20):
        it._second(True)
        begun |= it.open.keys()
    assert 5 in begun
    end(it, "refused")


def test_a_lie_about_a_child_that_is_up_gives_back_the_slots_below_it() -> None:
    it = model(LOGINS)
    greet(it, 1)
    it.hosts[1].state_due = True
    for child in (4, 5):
        about(it, wire.LOGIN, 1, child)
        tell(it, wire.HELLO, child, {"uptime": 1e6})
    tell(it, wire.STATE, 1, {"trace": "alive", "held": False, "children": [[4, 1, "waiting"], [5, 1, "up"]]})
    assert it.hosts[4].epoch > 1, "it is placed anew, as one that is lost"
    assert not it.cascade._logins._busy & {8, 9}
    end(it)


def test_no_signature_is_counted_for_a_request_of_the_wrong_form() -> None:
    it = model()
    greet(it, 1)
    about(it, wire.LOGIN, 1, 4)
    body = {"child": 4, "epoch": 1, "binds": [], "request": b"r", "serial": "one"}
    tell(it, wire.SIGN, 1, body)
    assert it.hosts[1].signatures == 0
    tell(it, wire.SIGN, 1, {**body, "serial": 1})
    assert [type(ask) for ask in it.asks] == [Sign]


FOUND = sorted((Path(__file__).parent / "found").iterdir())


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.name)
def test_an_input_that_broke_a_rule(file: Path) -> None:
    """Inputs that `make soak` named, as they were: TARGET-what-was-wrong."""
    TARGETS[file.name.partition("-")[0]].load()(file.read_bytes())
