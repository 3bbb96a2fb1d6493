"""A session sink that remembers, and can be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Sink:
    """Keeps all that a session sends; `wait_for` a condition, with a deadline."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.closed: list[str] = []
        self.status: int | None = None
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.out += data
        self._changed.set()

    def stderr_received(self, data: bytes) -> None:
        self.err += data
        self._changed.set()

    def session_closed(self, reason: str, status: int | None = None) -> None:
        self.closed.append(reason)
        self.status = status
        self._changed.set()

    async def wait_for(self, condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
        async with asyncio.timeout(deadline_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def wait_closed(self) -> str:
        await self.wait_for(lambda: bool(self.closed))
        return self.closed[0]
