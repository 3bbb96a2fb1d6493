"""The root's own children: effects in their order, also where one of them brings about others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.child import UP
from nile.agent.link import CONTROL_STEP, Link
from nile.agent.wire import Frame
from nile.bootstrap import agent_bundle
from nile.controller.branches import Branches, RootRelay
from nile.events import Code
from nile.transport.base import LoginFailed, ResolvedLogin, Session, SessionSink
from tests.support.plans import children, plan_body


class Doors:
    """The first login is refused, all others never answer."""

    def __init__(self) -> None:
        self.refused = False
        self.waiting: set[str] = set()

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> Session:
        if not self.refused:
            self.refused = True
            raise LoginFailed(Code.REFUSED, "no", retry=False)
        self.waiting.add(command)
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting.discard(command)
        raise AssertionError

    async def login_over(
        self, login: ResolvedLogin, stream: socket.socket, command: str, sink: SessionSink
    ) -> Session:
        raise AssertionError

    async def close(self) -> None:
        """Nothing is open."""


def soon(function: Callable[[], None]) -> None:
    """In the loop's next turn."""
    asyncio.get_running_loop().call_soon(function)


class Pipe:
    """A session that keeps what was written to it, and in how many pieces."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """See `Session`."""
        self.written.append(data)

    def close(self) -> None:
        """See `Session`."""
        self.written.append(b"closed")


class Opened(Doors):
    """Every login gets this session."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__()
        self.pipe: Any = pipe

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> Session:
        session: Session = self.pipe
        return session


@pytest.mark.parametrize("then", ["turn", "close", "much"])
async def test_what_one_turn_brings_goes_to_a_child_in_one_piece(then: str) -> None:
    """Each write costs an SSH packet or two. Nothing is lost where the link is over in the same turn,

    and nothing is piled up.
    """
    (child,) = children(1)
    pipe = Pipe()
    logins: Any = {child["id"]: None}
    size = 10 if then != "much" else CONTROL_STEP
    sent = [Frame(wire.SIGNED, epoch=1, path=(child["id"],), body=bytes(size)) for _ in range(3)]
    expected = [Frame(frame.type, 0, 1, (), frame.body).encode() for frame in sent]
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        shared = plan_body()["shared"]
        branches = Branches(shared, agent_bundle(), logins, Opened(pipe), tasks, lambda *_: None, soon)
        branches.adopt([child])
        await asyncio.sleep(0)
        adopted = branches._relay.children[child["id"]]
        adopted.link, adopted.state = Link(wire.MAX_FRAME_UP, 0.0), UP
        for frame in sent:
            branches.frame(frame)
        if then == "close":
            branches.close()
        assert bool(pipe.written) == (then != "turn")
        await asyncio.sleep(0)
        branches.close()
    assert b"".join(pipe.written) == b"".join(expected) + b"closed"
    if then != "much":
        assert pipe.written == [b"".join(expected), b"closed"]


async def test_a_child_that_is_hung_up_on_in_the_same_turn_isnt_told_any_more() -> None:
    (child,) = children(1)
    pipe = Pipe()
    logins: Any = {child["id"]: None}
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        shared = plan_body()["shared"]
        branches = Branches(shared, agent_bundle(), logins, Opened(pipe), tasks, lambda *_: None, soon)
        branches.adopt([child])
        await asyncio.sleep(0)
        adopted = branches._relay.children[child["id"]]
        adopted.link, adopted.state = Link(wire.MAX_FRAME_UP, 0.0), UP
        branches.frame(Frame(wire.SIGNED, epoch=1, path=(child["id"],), body=b"x"))
        body: dict[str, Any] = {"children": [child["id"]], "below": [], "stays": []}
        branches.frame(Frame(wire.FORGET, body=wire.dumps(body)))
        await asyncio.sleep(0)
        assert pipe.written == [b"closed"]
        branches.close()


async def test_what_is_sent_as_a_frame_leaves_comes_behind_that_frame() -> None:
    """However much it is: it is asked for while the frame is in nobody's hands."""
    (child,) = children(1)
    pipe = Pipe()
    logins: Any = {child["id"]: None}
    bulk = Frame(next(iter(wire.BULK)), 1, 1, (), b"first")
    more = Frame(wire.SIGNED, epoch=1, path=(child["id"],), body=bytes(CONTROL_STEP))
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        shared = plan_body()["shared"]
        branches = Branches(shared, agent_bundle(), logins, Opened(pipe), tasks, lambda *_: None, soon)
        branches.adopt([child])
        await asyncio.sleep(0)
        adopted = branches._relay.children[child["id"]]
        adopted.link, adopted.state = Link(wire.MAX_FRAME_UP, 0.0), UP
        adopted.link.send(bulk, lambda: branches.frame(more))
        branches._perform([("flush", child["id"])])
        await asyncio.sleep(0)
        branches.close()
    behind = Frame(more.type, 0, 1, (), more.body).encode()
    assert b"".join(pipe.written) == bulk.encode() + behind + b"closed"


@pytest.mark.parametrize("word", ["adopt", "forget"])
async def test_a_login_that_the_root_takes_back_as_it_begins(word: str) -> None:
    """One slot; the first login fails, so the second begins; the root, told so, decides otherwise."""
    first, second = children(2)
    doors = Doors()
    failed = asyncio.Event()

    def up(frame: Frame, child_id: int, size: int) -> None:
        if frame.type != wire.FAILED or failed.is_set():
            return
        failed.set()
        if word == "adopt":
            branches.adopt([{**second, "epoch": 2}])
        else:
            body: dict[str, Any] = {"children": [second["id"]], "below": [], "stays": []}
            branches.frame(Frame(wire.FORGET, body=wire.dumps(body)))

    shared = {**plan_body()["shared"], "parallel": 1}
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        logins: Any = dict.fromkeys((first["id"], second["id"]))
        branches = Branches(shared, agent_bundle(), logins, doors, tasks, up, soon)
        branches.adopt([first, second])
        await failed.wait()
        for _ in range(10):  # whatever was begun, or ended, has got its turn
            await asyncio.sleep(0)
        assert len(doors.waiting) == (word == "adopt")
        assert branches.empty == (word == "forget")
        branches.close()


def test_the_deadline_of_a_login_that_waits_for_others_stands_still() -> None:
    """It has the time then that it had left, or `TURN_S` if that is more.

    Meanwhile it is said to begin each second, however often it is looked at.
    """
    (child,) = children(1)
    relay = RootRelay((0, 0), plan_body()["shared"], agent_bundle(), lambda: 0.5, lambda: "nonce")
    number = child["id"]

    def begun(effects: Any) -> list[int]:
        frames = [effect[1] for effect in effects if effect[0] == "up"]
        return [frame.fields()["child"] for frame in frames if frame.type == wire.LOGIN]

    def ended(now: float) -> list[str]:
        frames = [effect[1] for effect in relay.tick(now) if effect[0] == "up"]
        return [frame.fields()["code"] for frame in frames if frame.type == wire.FAILED]

    relay.adopt([{**child, "connect": 10.0}], 1.0)
    assert not ended(2.0)
    assert not begun(relay.waits(number, True, 4.0))
    assert begun(relay.tick(4.0)) == [number]
    assert not begun(relay.tick(4.5))
    assert begun(relay.tick(5.0)) == [number]
    assert not any(ended(float(second)) for second in range(6, 60))
    assert begun(relay.waits(number, False, 60.0)) == [number]
    assert not begun(relay.tick(60.0))
    assert not any(ended(60.0 + second) for second in range(7))
    assert relay.next_tick_s(66.5) <= 0.5
    assert ended(67.0) == [Code.CONNECT_TIMEOUT]
    relay.adopt([{**child, "epoch": child["epoch"] + 1, "connect": 10.0}], 70.0)
    assert not any(ended(float(second)) for second in range(68, 80))
    relay.waits(number, True, 79.9)
    assert not any(ended(float(second)) for second in range(80, 91))
    relay.waits(number, False, 90.0)
    early = [ended(90.0 + second) for second in range(5)]
    assert not any(early), "whoever has the password in its hands isn't given up at once"
    assert ended(95.0) == [Code.CONNECT_TIMEOUT]
    relay.waits(number, False, 96.0)
