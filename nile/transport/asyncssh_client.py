"""The root's logins by asyncssh: many at once in one event loop, a third of the CPU of client processes.

asyncssh reads no configuration here and decides nothing about trust: the host
key is judged by `hosttrust`, signatures come from the key ring, sockets from
`connecting`. What it raises is turned into `LoginFailed` in one place.
"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from nile.errors import NileError
from nile.events import Code
from nile.transport.asyncssh_attempt import Attempt
from nile.transport.asyncssh_options import (
    connect_arguments,
    endpoint,
    host_key_plans,
    settings,
)
from nile.transport.asyncssh_session import AsyncsshSession, Shell, send_no_padding
from nile.transport.base import LoginFailed, ResolvedLogin, SessionSink
from nile.transport.connecting import no_more_files, open_socket, out_of_files, starvation
from nile.transport.keys import KeyRing
from nile.transport.passwords import Passwords
from nile.transport.proxy import Proxy
from nile.transport.remedies import remedy_for
from nile.transport.sshlib import asyncssh
from nile.transport.text import printable

RESOLVER_THREADS = 32


class AsyncsshTransport:
    """Logs in with asyncssh (see `base.Transport`). One event loop only."""

    def __init__(self, ring: KeyRing, passwords: Passwords | None = None) -> None:
        self._ring = ring
        self._passwords = passwords
        self._sessions: set[AsyncsshSession] = set()
        self._proxies: set[Proxy] = set()
        self._executor = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="nile-resolve")

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> AsyncsshSession:
        """Log in and start `command`; see `base.Transport.login`."""
        return await self._login(login, command, sink, None)

    async def login_over(
        self, login: ResolvedLogin, stream: socket.socket, command: str, sink: SessionSink
    ) -> AsyncsshSession:
        """The same over a socket that already leads to the host's sshd; the socket is consumed.

        There is one connection only, so no second try where the host's
        certificate isn't trusted but its bare key would be.
        """
        stream.setblocking(False)
        return await self._login(login, command, sink, stream)

    async def host_key(self, login: ResolvedLogin, stream: socket.socket | None = None) -> bytes:
        """The bare host key (wire form) that the host shows; nothing is trusted, nobody logged in."""
        attempt = Attempt(replace(login, known_hosts=()), self._ring)
        (plan,) = host_key_plans(attempt.login, attempt.trusted)
        if stream is not None:
            stream.setblocking(False)
        try:
            await _drop(await self._connect(attempt, plan, stream))
        except LoginFailed as exc:
            await self._give_up(attempt, exc)
            if attempt.shown is None:
                raise
        except BaseException:
            await self._give_up(attempt)
            raise
        if attempt.shown is None:
            raise LoginFailed(Code.DROPPED, f"{login.hostname_root} showed no host key")
        return attempt.shown

    async def close(self) -> None:
        """End every session that is still open, and wait until its connection is gone."""
        for session in list(self._sessions):
            session.close()
        for session in list(self._sessions):
            await session.wait_closed()
        for proxy in list(self._proxies):
            await self._end_proxy(proxy)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _login(
        self, login: ResolvedLogin, command: str, sink: SessionSink, stream: socket.socket | None
    ) -> AsyncsshSession:
        attempt = Attempt(login, self._ring, self._passwords.ticket(login) if self._passwords else None)
        plans = host_key_plans(login, attempt.trusted)
        for number, plan in enumerate(plans):
            try:
                connection = await self._connect(attempt, plan, stream)
                return await self._start(connection, attempt, command, sink)
            except LoginFailed as exc:
                await self._give_up(attempt, exc)
                last = stream is not None or number + 1 == len(plans)
                if last or exc.code is not Code.HOST_KEY_UNKNOWN:
                    raise
            except BaseException:
                await self._give_up(attempt)
                raise
        raise AssertionError("there is at least one plan")

    async def _give_up(self, attempt: Attempt, failure: LoginFailed | None = None) -> None:
        """End what an attempt has running, and tell what is known of why it failed."""
        attempt.password.over()
        proxy, attempt.proxy, attempt.connection = attempt.proxy, None, None
        if failure is not None:
            failure.remedy = failure.remedy or remedy_for(failure.code, attempt.login, failure.reason)
            if proxy is not None and proxy.complaint():
                failure.reason += f" (proxy command: {proxy.complaint()})"
            failure.reason = printable(failure.reason)
        if proxy is not None:
            await self._end_proxy(proxy)

    async def _connect(
        self, attempt: Attempt, host_keys: list[str], stream: socket.socket | None
    ) -> asyncssh.SSHClientConnection:
        try:
            arguments = connect_arguments(attempt.login, attempt.trusted, host_keys)
        except ValueError as exc:
            if stream is not None:
                stream.close()
            raise LoginFailed(Code.DROPPED, f"no connection is possible: {exc}") from exc
        sock = stream or await self._open(attempt)
        try:
            return await asyncssh.connect(sock=sock, client_factory=attempt.owner, **arguments)
        except ValueError as exc:
            if starved := starvation():  # asyncssh looks the local user up for every connection
                raise no_more_files("no connection is possible", starved) from exc
            raise LoginFailed(Code.DROPPED, f"no connection is possible: {exc}") from exc
        except (asyncssh.Error, OSError) as exc:
            raise attempt.failure(exc) from exc
        finally:
            if attempt.connection is None:
                sock.close()  # asyncssh never took it over

    async def _open(self, attempt: Attempt) -> socket.socket:
        """A socket to the host, or to the proxy command that leads there."""
        command = settings(attempt.login).get("proxycommand")
        if command is None:
            return await open_socket(endpoint(attempt.login), self._executor)
        try:
            attempt.proxy, sock = await Proxy.open(command, attempt.login)
        except (OSError, NileError) as exc:
            if out_of_files(exc):
                raise no_more_files("the proxy command can't be started", exc) from exc
            raise LoginFailed(Code.DROPPED, f"the proxy command can't be started: {exc}") from exc
        self._proxies.add(attempt.proxy)
        return sock

    async def _end_proxy(self, proxy: Proxy) -> None:
        self._proxies.discard(proxy)
        await proxy.close()

    async def _start(
        self,
        connection: asyncssh.SSHClientConnection,
        attempt: Attempt,
        command: str,
        sink: SessionSink,
    ) -> AsyncsshSession:
        shell = Shell(sink)
        try:
            channel, _ = await connection.create_session(lambda: shell, command, encoding=None)
        except (asyncssh.Error, OSError) as exc:
            await _drop(connection)
            raise LoginFailed(Code.DROPPED, f"the login succeeded, the session didn't: {exc}") from exc
        except BaseException:
            await _drop(connection)
            raise
        attempt.succeeded()
        send_no_padding(connection)
        session = AsyncsshSession(connection, channel, attempt.proxy, self._sessions.discard)
        self._sessions.add(session)
        shell.attach(session)
        return session


async def _drop(connection: asyncssh.SSHClientConnection) -> None:
    """Abort a connection and wait until it is gone."""
    connection.abort()
    await connection.wait_closed()
