"""The root's own worker: a process beside the root that reads what is to be copied.

Reading a source of 100,000 files, and pumping what goes to the first hosts, must
not hold up the root's event loop and with it the heartbeats.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

READ_SIZE = 65536
MOST_STDERR = 2000


class RootWorker:
    """`said(data)` gets what it says, `ended(reason)` is called where it ends though nobody wanted it to."""

    def __init__(self, said: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        self._said = said
        self._ended = ended
        self._early = bytearray()
        self._process: asyncio.subprocess.Process | None = None
        self._closed = False

    def write(self, data: bytes) -> None:
        """Say something to it."""
        if self._process is None or self._process.stdin is None:
            self._early += data
        elif not self._process.stdin.is_closing():
            self._process.stdin.write(data)

    async def run(self, program: bytes) -> None:
        """From its start to its end; it ends with this task, or with the root."""
        from nile.bootstrap.program import PYTHON  # few runs have one

        pipe = asyncio.subprocess.PIPE
        # In a session of its own: a Ctrl-C at the terminal is for the root, which then ends it.
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-BISc", PYTHON, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(program + bytes(self._early))
        try:
            async with asyncio.TaskGroup() as tasks:
                words = tasks.create_task(_last_words(process.stderr))
                while data := await process.stdout.read(READ_SIZE):
                    self._said(data)
            status = await process.wait()
            if not self._closed:
                self._ended(words.result() or f"its worker ended with status {status}")
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    def close(self) -> None:
        """It is to end: nothing more is wanted of it."""
        self._closed = True
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()


async def _last_words(stream: asyncio.StreamReader) -> str:
    said = b""
    while data := await stream.read(READ_SIZE):
        said = (said + data)[-MOST_STDERR:]
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
