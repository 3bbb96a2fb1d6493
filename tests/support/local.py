"""A transport without ssh: a "login" is a local shell. Everything above the seam is real."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from nile.events import Code
from nile.transport.base import LoginFailed, ResolvedLogin, SessionSink

FAKE_SSH = """#!/bin/sh
# Stands in for ssh on a relay: runs the last argument as a login would.
for host; do host=$last; last=$command; command=$host; done
for command; do :; done
cd "$HOME" && exec /bin/sh -c "$command"
"""


GOODBYE_S = 5.0
"""How long commands may take to end whose standard input has ended."""


class LocalSession:
    """See `nile.transport.base.Session`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        """See `Session`."""
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(data)

    def close(self) -> None:
        """See `Session`."""
        self.hang_up()
        self.kill()

    def hang_up(self) -> None:
        """What an agent sees when its ssh ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        if self._process.returncode is None:
            self._process.kill()


class LocalTransport:
    """Logs in to nowhere: `refuse` maps host names to what their login fails with."""

    def __init__(
        self, environment: Mapping[str, str], refuse: Mapping[str, LoginFailed] | None = None
    ) -> None:
        self._environment = environment
        self._refuse = refuse or {}
        self._readers: dict[asyncio.Task[None], LocalSession] = {}

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> LocalSession:
        """See `nile.transport.base.Transport`."""
        if login.host in self._refuse:
            raise self._refuse[login.host]
        starting = asyncio.get_running_loop().create_task(self._start(command))
        try:
            process = await asyncio.shield(starting)
        except OSError as error:
            raise LoginFailed(Code.REFUSED, str(error)) from error
        except asyncio.CancelledError:
            process = await starting  # asyncio leaves pipes behind where it is cancelled in the midst of it
            LocalSession(process).close()
            await process.communicate()
            raise
        session = LocalSession(process)
        reader = asyncio.get_running_loop().create_task(_read(process, sink))
        self._readers[reader] = session
        reader.add_done_callback(self._readers.pop)
        return session

    async def _start(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._environment),
            cwd=self._environment["HOME"],
            start_new_session=True,
        )

    async def login_over(
        self, login: ResolvedLogin, stream: socket.socket, command: str, sink: SessionSink
    ) -> LocalSession:
        """See `nile.transport.base.Transport`."""
        stream.close()
        raise LoginFailed(Code.DROPPED, "a local shell can't be reached over a socket")

    async def close(self) -> None:
        """Have every command end that is still there: by itself, or else at once."""
        for session in self._readers.values():
            session.hang_up()
        if self._readers:
            await asyncio.wait(list(self._readers), timeout=GOODBYE_S)
        for session in self._readers.values():
            session.kill()
        if self._readers:  # something else may hold a command's output open
            await asyncio.wait(list(self._readers), timeout=GOODBYE_S)


async def _read(process: asyncio.subprocess.Process, sink: SessionSink) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(_pass(process.stdout, sink.data_received))
        group.create_task(_pass(process.stderr, sink.stderr_received))
    status = await process.wait()
    sink.session_closed(f"it ended with status {status}", status if status >= 0 else None)


async def _pass(stream: asyncio.StreamReader, heard: Callable[[bytes], None]) -> None:
    while data := await stream.read(65536):
        heard(data)


def environment(directory: Path) -> dict[str, str]:
    """The environment of a "host", in which `ssh` is a script that logs in to nowhere."""
    fake = directory / "bin" / "ssh"
    fake.parent.mkdir(parents=True, exist_ok=True)
    fake.write_text(FAKE_SSH)
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(directory), "SHELL": "/bin/sh", "USER": "nile", "LANG": "C"}
