"""The root's own children: effects in their order, also where one of them brings about others."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.wire import Frame
from nile.bootstrap import agent_bundle
from nile.controller.branches import Branches
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
        branches = Branches(shared, agent_bundle(), logins, doors, tasks, up)
        branches.adopt([first, second])
        await failed.wait()
        for _ in range(10):  # whatever was begun, or ended, has got its turn
            await asyncio.sleep(0)
        assert len(doors.waiting) == (word == "adopt")
        assert branches.empty == (word == "forget")
        branches.close()
