"""Other addresses of this machine at which somebody who listens on 127.0.0.1 can be reached, too.

All of 127.0.0.0/8 is this machine; but libtorrent listens at addresses that interfaces have, and tells peers
apart by theirs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Forwards:
    """Runs in a thread of its own, until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def listen(self, address: str, port: int, source: str) -> int:
        """Lead connections to a port at `address` on to `port`, as if by `source`; gives the former."""
        future = asyncio.run_coroutine_threadsafe(self._listen(address, port, source), self._loop)
        return future.result(10.0)

    async def _listen(self, address: str, port: int, source: str) -> int:
        async def lead_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                ahead, behind = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
            except OSError:
                writer.close()
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, behind))
                group.create_task(_copy(ahead, writer))

        server = await asyncio.start_server(lead_on, address, 0)
        self._servers.append(server)
        found: int = server.sockets[0].getsockname()[1]
        return found

    def close(self) -> None:
        """Nobody is led on any more."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def forwards() -> Iterator[Forwards]:
    """They are gone afterwards."""
    made = Forwards()
    try:
        yield made
    finally:
        made.close()
