"""Running a transport in a test: one event loop, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nile.transport.asyncssh_client import AsyncsshTransport
from nile.transport.base import LoginFailed, ResolvedLogin
from nile.transport.keys import IdentityQuery, KeyRing
from tests.transport.sinks import Sink


def ring_of(*files: Path) -> KeyRing:
    ring = KeyRing()
    ring.identities(IdentityQuery(files=tuple(map(str, files)), named=True))
    return ring


@asynccontextmanager
async def transport_with(*files: Path) -> AsyncIterator[AsyncsshTransport]:
    transport = AsyncsshTransport(ring_of(*files))
    try:
        yield transport
    finally:
        await transport.close()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main`; afterwards no task, no warning of an unretrieved exception and no socket may be left."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await main
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left

    before = open_sockets()
    asyncio.run(watched())
    gc.collect()
    assert not complaints
    assert open_sockets() <= before


def open_sockets() -> int:
    """How many sockets this process holds."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return count


async def failure(login: ResolvedLogin, *files: Path) -> LoginFailed:
    async with transport_with(*files) as transport:
        with pytest.raises(LoginFailed) as caught:
            async with asyncio.timeout(20):
                await transport.login(login, "true", Sink())
    return caught.value


def children() -> set[int]:
    """Process ids of what this process has started and that still runs, but for sshd.

    Tests that ran before may have left some that are none of the caller's: compare with what was there.
    """
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has just ended
    return {pid for pid in found if running(pid) and not is_sshd(pid)}


def is_sshd(pid: int) -> bool:
    """Whether a process runs sshd; one that ended meanwhile doesn't."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "sshd"
    except OSError:
        return False


def running(pid: int) -> bool:
    """Whether a process is alive: not gone, and no zombie that its new parent is slow to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
