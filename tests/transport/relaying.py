"""A relay's logins as a `Transport`: what an agent does with ssh, and the root's part of it, but no tree.

`nile.agent` runs as it is, its descriptors watched by asyncio in place of an
agent's loop: the command line, the process, the signing socket, and known_hosts
in memory. The root signs, and says what ssh's words and status mean.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nile.agent import sshlogin
from nile.agent.signsocket import SignSocket
from nile.agent.sshlogin import Login
from nile.cascade.verdicts import told
from nile.controller.prepare import plan_login
from nile.transport.base import LoginFailed, ResolvedLogin, SessionSink
from nile.transport.keys import KeyRing
from nile.transport.remedies import remedy_for
from nile.transport.signing import SigningAuthority

if TYPE_CHECKING:
    from nile.agent.loop import Agent

CONNECT_S = 20.0
BUDGET = 100
ANNOUNCED = b"nile-is-in\n"
"""What the command says first, as a first stage does: so a relay knows that a login succeeded."""


class Watching:
    """The part of `nile.agent.loop.Agent` that logins need, by asyncio."""

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call `handler(mask)` whenever `fd` is ready for it."""
        loop = asyncio.get_running_loop()
        add = loop.add_reader if mask == select.POLLIN else loop.add_writer
        add(fd, handler, mask)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; it stays open."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(fd)
        loop.remove_writer(fd)

    def drop(self, fd: int) -> None:
        """Forget a descriptor and close it."""
        self.unwatch(fd)
        os.close(fd)


class RelaySession:
    """A login of a relay (see `nile.transport.base.Session`)."""

    def __init__(self, sink: SessionSink) -> None:
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self._login: Login | None = None
        self._sink = sink
        self._before = b""
        self._up = False

    def start(self, argv: list[str], env: dict[str, str]) -> int:
        """Start ssh; its pid."""
        login = self._login = Login(cast("Agent", Watching()), argv, env, self._heard, self._over)
        loop, pidfd = asyncio.get_running_loop(), os.pidfd_open(login.pid)

        def reap() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            code = os.waitstatus_to_exitcode(os.waitpid(login.pid, 0)[1])
            self.gone.set()
            login.reaped(*((code, None) if code >= 0 else (None, -code)))

        loop.add_reader(pidfd, reap)
        return login.pid

    def write(self, data: bytes) -> None:
        """See `Session`."""
        assert self._login is not None
        self._login.write(data, lambda: b"")

    def close(self) -> None:
        """See `Session`."""
        assert self._login is not None
        if not self.gone.is_set():
            self._login.kill()
        self._end("it was ended", None)

    def _heard(self, data: bytes) -> None:
        if self._up:
            self._sink.data_received(data)
            return
        self._before += data
        _noise, announced, rest = self._before.partition(ANNOUNCED)
        if announced:
            self._up = True
            self.settled.set_result(None)
            if rest:
                self._sink.data_received(rest)

    def _over(self, status: int, said: str) -> None:
        if self._up:
            self._sink.stderr_received(said.encode())
            known = None if status == 255 else status
            self._end(f"it ended with status {status}", known)
        else:
            code, reason = told(str(status), said)
            retry = status == 255 and sshlogin.passes_by(said)
            self.settled.set_exception(LoginFailed(code, reason, retry=retry))

    def _end(self, reason: str, status: int | None) -> None:
        if self._up:
            self._up = False
            self._sink.session_closed(reason, status)


class RelayTransport:
    """Logs in as a relay does (see `nile.transport.base.Transport`); the signing socket is in `directory`."""

    def __init__(self, ring: KeyRing, directory: Path) -> None:
        self._authority = SigningAuthority(ring)
        self._known_hosts = os.memfd_create("known-hosts")
        self._children: dict[int, ResolvedLogin] = {}
        self._signing: set[asyncio.Task[None]] = set()
        self._sessions: list[RelaySession] = []
        self._socket = SignSocket(
            cast("Agent", Watching()),
            str(directory),
            lambda pid: pid if pid in self._children else None,
            lambda pid: [(key.blob, key.comment) for key in self._children[pid].identities],
            self._sign,
        )

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> RelaySession:
        """See `Transport`."""
        env = dict(os.environ)
        ssh = sshlogin.find_ssh(env)
        assert ssh is not None
        os.write(self._known_hosts, "".join(f"{line}\n" for line in login.known_hosts).encode())
        known_hosts = f"/proc/{os.getpid()}/fd/{self._known_hosts}"
        argv = sshlogin.ssh_argv(ssh, plan_login(login), known_hosts, CONNECT_S)
        session = RelaySession(sink)
        first = f"echo {ANNOUNCED.decode().strip()}; {command}"
        pid = session.start([*argv, first], {**env, "SSH_AUTH_SOCK": self._socket.path})
        self._children[pid] = login
        self._sessions.append(session)
        try:
            await session.settled
        except LoginFailed as failed:
            failed.remedy = remedy_for(failed.code, login)
            raise
        except BaseException:
            session.close()
            await session.gone.wait()
            raise
        return session

    async def close(self) -> None:
        """See `Transport`."""
        for session in self._sessions:
            session.close()
        for session in self._sessions:
            await session.gone.wait()
        for task in self._signing:
            task.cancel()
        if self._signing:
            await asyncio.wait(self._signing)
        self._socket.close()
        os.close(self._known_hosts)

    def _sign(self, pid: int, serial: int, binds: Sequence[bytes], request: bytes) -> None:
        async def sign() -> None:
            reply = await self._authority.sign(self._children[pid], binds, request, BUDGET)
            self._socket.answer(serial, reply.response)

        task = asyncio.get_running_loop().create_task(sign())
        self._signing.add(task)
        task.add_done_callback(self._signing.discard)
