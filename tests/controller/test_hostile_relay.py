"""A relay that was taken over, against the whole engine: it ends no run, and speaks for nobody else."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

import pytest

from nile.agent import wire
from nile.agent.channel import WINDOW, pack_opened
from nile.agent.wire import Frame
from nile.events import HostResult, RunEnded, Verdict
from nile.transport.base import ResolvedLogin, SessionSink
from nile.transport.signing import SignReply
from tests.controller.puppet import CHILD, RELAY, Puppet, PuppetTransport, engine, run

OUTCOME: dict[str, object] = {"rc": 0, "signal": None, "cause": None, "error": None}


def failed(code: str, epoch: int = 1) -> dict[str, object]:
    return {"child": CHILD, "epoch": epoch, "code": code, "reason": "no", "attempts": 1}


def result(events: Sequence[object]) -> HostResult:
    (found,) = [event for event in events if isinstance(event, HostResult)]
    return found


class Silent:
    """An ssh-agent that never answers."""

    def __init__(self) -> None:
        self.asked = 0
        self.waiting = 0
        self.most_waiting = 0

    async def sign(
        self, child: ResolvedLogin, binds: Sequence[bytes], request: bytes, budget_left: int
    ) -> SignReply:
        self.asked += 1
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        raise AssertionError


def ask_to_sign(puppet: Puppet, frame: Frame) -> None:
    if frame.type == wire.PLAN:
        puppet.say(wire.LOGIN, {"child": CHILD, "epoch": 1, "attempt": 1})
        body = {"child": CHILD, "epoch": 1, "binds": [], "request": b""}
        for serial in range(50):
            puppet.say(wire.SIGN, {**body, "serial": serial})
        asyncio.get_running_loop().call_later(0.1, puppet.say, wire.FAILED, failed("connect-timeout"))


def test_a_run_ends_though_the_ssh_agent_never_answers() -> None:
    silent = Silent()
    events = run(engine(PuppetTransport(ask_to_sign), silent))
    assert result(events).verdict is Verdict.UNREACHABLE
    assert isinstance(events[-1], RunEnded)
    assert silent.asked
    assert not silent.waiting


def test_requests_to_sign_for_one_login_dont_pile_up() -> None:
    silent = Silent()
    run(engine(PuppetTransport(ask_to_sign), silent))
    assert silent.most_waiting == 1


@pytest.mark.parametrize("body", [b"", b"abc", b"\0\0\0\1", b"\0\0\0\1[]", b"\x80\0\0\1x"])
@pytest.mark.parametrize("kind", [wire.OPENED, wire.CARRY, wire.CLOSE, wire.GRANT])
def test_a_frame_of_no_channel_ends_no_run(kind: int, body: bytes) -> None:
    early = [Frame(kind, RELAY, 1, (), body)]
    events = run(engine(PuppetTransport(say_failed, early)))
    assert result(events).verdict is Verdict.UNREACHABLE


def say_failed(puppet: Puppet, frame: Frame) -> None:
    if frame.type == wire.PLAN:
        puppet.say(wire.FAILED, failed("refused"))


def test_a_relay_cant_speak_for_a_host_that_the_root_logged_in_to_itself() -> None:
    """Signing through the root: the relay carries ciphertext, and the verdict is the host's own."""
    relays: list[Puppet] = []

    def relay(puppet: Puppet, frame: Frame) -> None:
        if frame.type == wire.PLAN:
            relays.append(puppet)
            puppet.say(wire.FAILED, failed("unbound"))
        elif frame.type == wire.OPEN:
            puppet.say(wire.OPENED, pack_opened(frame.fields()["channel"], "", ""))

    def child(puppet: Puppet, frame: Frame) -> None:
        if frame.type == wire.PLAN:
            relays[0].say(wire.STARTED, {"pid": 1}, origin=CHILD, epoch=2)
            relays[0].say(wire.RESULT, OUTCOME, origin=CHILD, epoch=2)
            puppet.say(wire.STARTED, {"pid": 1}, origin=CHILD, epoch=2)
            puppet.say(wire.RESULT, {**OUTCOME, "rc": 3}, origin=CHILD, epoch=2)

    def over(sink: SessionSink) -> Puppet:
        return Puppet(sink, child)

    found = result(run(engine(PuppetTransport(relay, over=over))))
    assert (found.verdict, found.rc) == (Verdict.FAILED, 3)


def test_bytes_for_a_connection_that_isnt_open_dont_fill_the_memory() -> None:
    carried = 0

    def relay(puppet: Puppet, frame: Frame) -> None:
        nonlocal carried
        if frame.type == wire.PLAN:
            puppet.say(wire.FAILED, failed("unbound"))
        elif frame.type == wire.ADOPT:  # nobody else has a way there: it is asked again
            (entry,) = frame.fields()["entries"]
            puppet.say(wire.FAILED, failed("unbound", entry["epoch"]))
        elif frame.type == wire.OPEN:
            body = struct.pack("!I", frame.fields()["channel"]) + bytes(wire.CHUNK)
            for _ in range(2 * WINDOW // wire.CHUNK):
                puppet.say(wire.CARRY, body)
                carried += wire.CHUNK

    found = result(run(engine(PuppetTransport(relay))))
    assert carried > WINDOW
    assert found.verdict is Verdict.UNREACHABLE
    assert "more than it may" in found.reason
