"""The root's logins by asyncssh: many at once in one event loop, a third of the CPU of client processes.

asyncssh reads no configuration here and decides nothing about trust: the host
key is judged by `hosttrust`, signatures come from the key ring, sockets from
`connecting`. What it raises is turned into `LoginFailed` in one place.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import asyncssh

from nile.errors import NileError
from nile.events import Code
from nile.transport.asyncssh_options import (
    RingKeyPair,
    connect_arguments,
    endpoint,
    host_key_plans,
    settings,
)
from nile.transport.base import LoginFailed, ResolvedLogin, SessionSink
from nile.transport.connecting import open_socket
from nile.transport.hosttrust import HostKeys, Judgement, Trust
from nile.transport.keys import KeyRing
from nile.transport.proxy import Proxy
from nile.transport.remedies import remedy_for

CLOSE_AFTER_EOF_S = 0.5
RESOLVER_THREADS = 32

_TRUST_CODES = {
    Trust.UNKNOWN: Code.HOST_KEY_UNKNOWN,
    Trust.CHANGED: Code.HOST_KEY_CHANGED,
    Trust.REVOKED: Code.HOST_KEY_REVOKED,
}


class AsyncsshTransport:
    """Logs in with asyncssh (see `base.Transport`). One event loop only."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
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
        attempt = _Attempt(login, self._ring)
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

    async def _give_up(self, attempt: _Attempt, failure: LoginFailed | None = None) -> None:
        """End what an attempt has running, and tell what is known of why it failed."""
        proxy, attempt.proxy, attempt.connection = attempt.proxy, None, None
        if failure is not None:
            failure.remedy = failure.remedy or remedy_for(failure.code, attempt.login)
            if proxy is not None and proxy.complaint():
                failure.reason += f" (proxy command: {proxy.complaint()})"
        if proxy is not None:
            await self._end_proxy(proxy)

    async def _connect(
        self, attempt: _Attempt, host_keys: list[str], stream: socket.socket | None
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
        except (asyncssh.Error, OSError, ValueError) as exc:
            raise attempt.failure(exc) from exc
        finally:
            if attempt.connection is None:
                sock.close()  # asyncssh never took it over

    async def _open(self, attempt: _Attempt) -> socket.socket:
        """A socket to the host, or to the proxy command that leads there."""
        command = settings(attempt.login).get("proxycommand")
        if command is None:
            return await open_socket(endpoint(attempt.login), self._executor)
        try:
            attempt.proxy, sock = await Proxy.open(command, attempt.login)
        except (OSError, NileError) as exc:
            raise LoginFailed(Code.DROPPED, f"the proxy command can't be started: {exc}") from exc
        self._proxies.add(attempt.proxy)
        return sock

    async def _end_proxy(self, proxy: Proxy) -> None:
        self._proxies.discard(proxy)
        await proxy.close()

    async def _start(
        self,
        connection: asyncssh.SSHClientConnection,
        attempt: _Attempt,
        command: str,
        sink: SessionSink,
    ) -> AsyncsshSession:
        shell = _Shell(sink)
        try:
            channel, _ = await connection.create_session(lambda: shell, command, encoding=None)
        except (asyncssh.Error, OSError) as exc:
            await _drop(connection)
            raise LoginFailed(Code.DROPPED, f"the login succeeded, the session didn't: {exc}") from exc
        except BaseException:
            await _drop(connection)
            raise
        attempt.succeeded()
        session = AsyncsshSession(connection, channel, attempt.proxy, self._sessions.discard)
        self._sessions.add(session)
        shell.attach(session)
        return session


class AsyncsshSession:
    """A running command (see `base.Session`)."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        channel: asyncssh.SSHClientChannel[bytes],
        proxy: Proxy | None,
        forget: Callable[[AsyncsshSession], None],
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._proxy = proxy
        self._forget = forget

    def write(self, data: bytes) -> None:
        """Queue bytes for standard input; what comes after the end is dropped."""
        try:
            self._channel.write(data)
        except OSError:
            pass  # the channel is closing: the sink hears of it

    def close(self) -> None:
        """End the session and its connection at once."""
        self._connection.abort()

    async def wait_closed(self) -> None:
        """Until the connection is gone."""
        await self._connection.wait_closed()

    def ended(self) -> None:
        """Called once by the session's end: nothing else runs over this connection."""
        self._connection.abort()
        if self._proxy is not None:
            self._proxy.kill()
        self._forget(self)


class _Attempt:
    """One login under way: what its host showed, and how far it got."""

    def __init__(self, login: ResolvedLogin, ring: KeyRing) -> None:
        self.login = login
        self.trusted = HostKeys.parse(login.known_hosts)
        self.connection: asyncssh.SSHClientConnection | None = None
        self.judgement: Judgement | None = None
        self.refusal = ""
        self.proxy: Proxy | None = None
        self._ring = ring
        self._pairs: list[RingKeyPair] = []

    def owner(self) -> asyncssh.SSHClient:
        """A client for asyncssh that answers for this attempt; a new one for each connection."""
        self.judgement = None
        ordered = self._ring.in_order(self.login.identities)
        self._pairs = [RingKeyPair(self._ring, identity, self._refused) for identity in ordered]
        return _Owner(self, self._pairs)

    def succeeded(self) -> None:
        """Remember the key that let us in: the last that signed."""
        signed = [pair for pair in self._pairs if pair.signed]
        if signed:
            self._ring.proved(signed[-1].identity.blob)

    def judged(self, judgement: Judgement) -> bool:
        """Keep a judgement; whether the key is trusted."""
        self.judgement = judgement
        return judgement.trust is Trust.TRUSTED

    def failure(self, exc: Exception) -> LoginFailed:
        """What befell this login, from what asyncssh raised and what was seen."""
        if isinstance(exc, asyncssh.HostKeyNotVerifiable):
            return self._host_key_failure(exc)
        if isinstance(exc, asyncssh.PermissionDenied) or "authentication failures" in str(exc):
            return self._authentication_failure(exc)
        if isinstance(exc, asyncssh.KeyExchangeFailed):
            return LoginFailed(Code.DROPPED, f"no key exchange: {exc}")
        if isinstance(exc, asyncssh.ProtocolError | asyncssh.ProtocolNotSupported):
            return LoginFailed(Code.DROPPED, f"what answers there doesn't speak SSH: {exc}")
        return self._lost(exc)

    def _refused(self, reason: str) -> None:
        self.refusal = self.refusal or reason

    def _host_key_failure(self, exc: Exception) -> LoginFailed:
        judgement = self.judgement
        if judgement is None or judgement.trust is Trust.TRUSTED:
            # A certificate by a trusted authority that isn't valid here and now, or a revoked key.
            trust = Trust.REVOKED if "revoked" in str(exc) else Trust.UNKNOWN
            judgement = Judgement(trust, f"its host key isn't accepted: {exc}")
        return LoginFailed(_TRUST_CODES[judgement.trust], f"{self.login.host}: {judgement.why}")

    def _authentication_failure(self, exc: Exception) -> LoginFailed:
        if self.refusal:
            return LoginFailed(Code.AUTHENTICATION, f"no signature for the login: {self.refusal}")
        return LoginFailed(
            Code.AUTHENTICATION, f"{self.login.user}@{self.login.hostname_root} isn't let in: {exc}"
        )

    def _lost(self, exc: Exception) -> LoginFailed:
        connection = self.connection
        encrypted = connection is not None and connection.get_extra_info("recv_cipher")
        if not encrypted:
            return LoginFailed(
                Code.STARTUPS,
                f"{self.login.hostname_root} dropped the connection before the key exchange: {exc}",
                retry=True,
            )
        return LoginFailed(Code.DROPPED, f"the connection ended during the login: {exc}", retry=True)


class _Owner(asyncssh.SSHClient):
    """asyncssh's callbacks of one connection."""

    def __init__(self, attempt: _Attempt, pairs: list[RingKeyPair]) -> None:
        self._attempt = attempt
        self._pairs = pairs.copy()

    def public_key_auth_requested(self) -> RingKeyPair | None:
        """The next key to offer; asyncssh asks until there is none."""
        return self._pairs.pop(0) if self._pairs else None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """The socket is asyncssh's from here on."""
        self._attempt.connection = conn

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """A bare host key."""
        return self._attempt.judged(self._attempt.trusted.judge_key(key.public_data))

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """The authority of a host certificate; asyncssh checks name and dates itself afterwards."""
        return self._attempt.judged(self._attempt.trusted.judge_authority(key.public_data))


class _Shell(asyncssh.SSHClientSession[bytes]):
    """The command's channel: bytes go to the sink as they come, and it hears of the end once.

    The end may come before `login` has returned its session; it is then told
    right after.
    """

    def __init__(self, sink: SessionSink) -> None:
        self._sink = sink
        self._session: AsyncsshSession | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._reason = ""
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, session: AsyncsshSession) -> None:
        """`login` is about to return this session."""
        self._session = session
        if self._closed:
            asyncio.get_running_loop().call_soon(self._tell)

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Bytes of standard output, or of standard error."""
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self._sink.stderr_received(data)
        else:
            self._sink.data_received(data)

    def exit_status_received(self, status: int) -> None:
        """The command ended by itself."""
        self._reason = f"it ended with status {status}"

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """The command was killed."""
        self._reason = f"it was killed by SIG{signal}"

    def eof_received(self) -> bool:
        """No output can follow: wait a moment for an exit status, then close the channel."""
        self._timer = asyncio.get_running_loop().call_later(CLOSE_AFTER_EOF_S, self._close_channel)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, or the connection with it."""
        if self._timer is not None:
            self._timer.cancel()
        self._reason = self._reason or (f"the connection was lost: {exc}" if exc else "the connection ended")
        self._closed = True
        if self._session is not None:
            self._tell()

    def _close_channel(self) -> None:
        self._reason = self._reason or "it closed its output"
        if self._channel is not None:
            self._channel.close()

    def _tell(self) -> None:
        assert self._session is not None
        self._session.ended()
        self._sink.session_closed(self._reason)


async def _drop(connection: asyncssh.SSHClientConnection) -> None:
    """Abort a connection and wait until it is gone."""
    connection.abort()
    await connection.wait_closed()
