"""Waiting for gateways: one who gives up takes nobody along."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from nile.controller.gateways import Gateways
from tests.controller.puppet import PLAN


def test_a_host_that_waits_no_longer_leaves_the_others_waiting() -> None:
    """Hosts behind one gateway wait for the same login; each has a deadline of its own."""
    mine, theirs = socket.socketpair()
    dialled: Future[socket.socket] = Future()
    dialled.set_result(mine)
    gateways = Gateways.__new__(Gateways)
    up: Future[None] = Future()
    parts: dict[str, Any] = {"_plan": PLAN, "_above": {"child": 1}, "_up": {"relay": up}}
    vars(gateways).update(parts, _engine=SimpleNamespace(dial=lambda *where: dialled))
    login: Any = SimpleNamespace(host="child", hostname_inside="child", port=22)

    async def wait() -> None:
        async with asyncio.TaskGroup() as tasks:
            other = tasks.create_task(gateways.open(login))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(gateways.open(login), 0.01)
            if not up.done():
                up.set_result(None)
            assert await other is mine

    with mine, theirs:
        asyncio.run(wait())
