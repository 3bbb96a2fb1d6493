"""A transport without ssh: a "login" is a local shell. Everything above the seam is real."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from nile.events import Code
from nile.transport.base import LoginFailed, ResolvedLogin, SessionSink

FAKE_SSH = """#!/bin/sh
# Stands in for ssh on a relay: runs the last argument as a login would.
for host; do host=$last; last=$command; command=$host; done
for command; do :; done
cd "$HOME" && exec /bin/sh -c "$command"
"""


class LocalSession:
    """See `nile.transport.base.Session`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # what an agent sees when its ssh ends
        if self._process.returncode is None:
            self._process.kill()


class LocalTransport:
    """Logs in to nowhere: `refuse` maps host names to what their login fails with."""

    def __init__(
        self, environment: Mapping[str, str], refuse: Mapping[str, LoginFailed] | None = None
    ) -> None:
        self._environment = environment
        self._refuse = refuse or {}
        self._readers: set[asyncio.Task[None]] = set()

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> LocalSession:
        if login.host in self._refuse:
            raise self._refuse[login.host]
        try:
            process = await asyncio.create_subprocess_exec(
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
        except OSError as error:
            raise LoginFailed(Code.REFUSED, str(error)) from error
        reader = asyncio.get_running_loop().create_task(self._read(process, sink))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        return LocalSession(process)

    async def login_over(
        self, login: ResolvedLogin, stream: socket.socket, command: str, sink: SessionSink
    ) -> LocalSession:
        stream.close()
        raise LoginFailed(Code.DROPPED, "a local shell can't be reached over a socket")

    async def close(self) -> None:
        for reader in list(self._readers):
            await asyncio.wait([reader], timeout=5)

    async def _read(self, process: asyncio.subprocess.Process, sink: SessionSink) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        while data := await process.stdout.read(65536):
            sink.data_received(data)
        sink.stderr_received(await process.stderr.read())
        await process.wait()
        sink.session_closed(f"it ended with {process.returncode}")


def environment(directory: Path) -> dict[str, str]:
    """The environment of a "host", in which `ssh` is a script that logs in to nowhere."""
    fake = directory / "bin" / "ssh"
    fake.parent.mkdir(parents=True, exist_ok=True)
    fake.write_text(FAKE_SSH)
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(directory), "SHELL": "/bin/sh", "USER": "nile", "LANG": "C"}
