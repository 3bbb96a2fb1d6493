"""The root's logins by OpenSSH's client: a process each, for what asyncssh can't do.

That is security keys, PKCS#11, GSSAPI, and configurations of every kind: ssh
reads the user's and the system's files itself here. It never asks anything,
and always checks host keys. Its own log goes to a pipe apart (-E), so that
standard error is the command's alone, and the log says when the login is done.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from nile.cascade.lastwords import classify, last_line
from nile.events import Code
from nile.transport.base import LoginFailed, ResolvedLogin, SessionSink
from nile.transport.connecting import no_more_files, out_of_files
from nile.transport.remedies import known_hosts_name, remedy_for
from nile.transport.text import printable

FIXED = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "VerifyHostKeyDNS=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "ControlMaster=no",
    "ControlPath=none",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "EscapeChar=none",
    "UpdateHostKeys=no",
    "LogLevel=VERBOSE",
)
AUTHENTICATED = b"Authenticated to "
MAX_LOG = 16384


class OpensshTransport:
    """Logs in with `ssh` (see `base.Transport`). `config` is what `ssh -F` takes; None: the usual files."""

    def __init__(self, config: Path | str | None = None, ssh: str | None = None) -> None:
        self._config = config
        self._ssh = ssh or shutil.which("ssh")
        self._sessions: set[OpensshSession] = set()

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> OpensshSession:
        """Log in and start `command`; see `base.Transport.login`. Returns once ssh has authenticated."""
        if self._ssh is None:
            raise LoginFailed(
                Code.NO_SSH, "there is no ssh here", "Install the OpenSSH client, or set `client: asyncssh`."
            )
        session = OpensshSession(sink, self._sessions.discard)
        self._sessions.add(session)
        try:
            await session.start(lambda log: self.argv(login, command, log))
            await session.wait_authenticated()
        except BaseException:
            session.kill()
            await session.wait_closed()
            raise
        if not session.authenticated:
            raise await _failure(session, login)
        session.arm()
        return session

    async def close(self) -> None:
        """End every session that is still open, and wait until its process is gone."""
        for session in list(self._sessions):
            session.kill()
        for session in list(self._sessions):
            await session.wait_closed()

    def argv(self, login: ResolvedLogin, command: str, log: str) -> list[str]:
        """The command line; the first value of an option is the one that ssh takes."""
        assert self._ssh is not None
        delegate = "yes" if login.delegate else "no"  # whatever ssh_config says
        options = [*FIXED, f"GSSAPIDelegateCredentials={delegate}", f"HostName={login.hostname_root}"]
        options += login.root_options
        if known_hosts_name(login) == login.host_key_alias != login.hostname_root:
            options.append(f"HostKeyAlias={login.host_key_alias}")
        words = [self._ssh, *(["-F", str(self._config)] if self._config is not None else [])]
        words += ["-E", log, "-T", "-p", str(login.port), "-l", login.user]
        words += [word for option in options for word in ("-o", option)]
        return [*words, "--", login.host, command]


class OpensshSession(asyncio.SubprocessProtocol):
    """A running ssh (see `base.Session`); asyncio calls it with what comes out of its pipes."""

    def __init__(self, sink: SessionSink, forget: Callable[[OpensshSession], None]) -> None:
        self.authenticated = False
        self.log = b""
        self.before = b""
        """Standard error before the login is done: of a proxy command, then the host's banner."""
        self._sink = sink
        self._forget = forget
        self._armed = False
        self._process: asyncio.SubprocessTransport | None = None
        self._log_pipe: asyncio.ReadTransport | None = None
        self._log_end = -1
        self._settled = asyncio.Event()
        self._ended = asyncio.Event()
        self._log_ended = asyncio.Event()

    async def start(self, argv: Callable[[str], list[str]]) -> None:
        """Start the process; `argv` makes its command line from the name of the log file."""
        loop = asyncio.get_running_loop()
        try:
            reading, self._log_end = os.pipe()
        except OSError as exc:
            self._log_ended.set()
            raise no_more_files("no pipe for ssh's log", exc) from exc
        log = os.fdopen(reading, "rb")
        self._log_pipe, _ = await loop.connect_read_pipe(lambda: _Log(self._logged, self._log_ended), log)
        # By this name, for ssh closes every descriptor that it inherits.
        name = f"/proc/{os.getpid()}/fd/{self._log_end}"
        try:
            await loop.subprocess_exec(lambda: self, *argv(name), start_new_session=True)
        except OSError as exc:
            if out_of_files(exc):
                raise no_more_files("ssh can't be started", exc) from exc
            raise LoginFailed(Code.NO_SSH, f"ssh can't be started: {exc}") from exc

    async def wait_authenticated(self) -> None:
        """Until the login succeeded or ssh has ended."""
        await self._settled.wait()

    async def wait_closed(self) -> None:
        """Until the process is gone, and all that it said is read."""
        if self._process is not None:
            await self._ended.wait()
        self._close_log()
        await self._log_ended.wait()
        if self._log_pipe is not None:
            self._log_pipe.close()
        self._forget(self)

    @property
    def status(self) -> int | None:
        """ssh's exit status, once it has ended; negative for a signal."""
        return self._process.get_returncode() if self._process is not None else None

    def arm(self) -> None:
        """From now on the sink hears of the end."""
        self._armed = True
        if self._ended.is_set():
            asyncio.get_running_loop().call_soon(self._tell)

    def write(self, data: bytes) -> None:
        """Queue bytes for standard input; what comes after the end is dropped."""
        stdin = self._process.get_pipe_transport(0) if self._process is not None else None
        if isinstance(stdin, asyncio.WriteTransport) and not stdin.is_closing():
            stdin.write(data)

    def close(self) -> None:
        """End the session at once."""
        self.kill()

    def kill(self) -> None:
        """Kill ssh and what it started (a proxy command)."""
        if self._process is not None and self._process.get_returncode() is None:
            self._kill_group()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._process = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Bytes of the command's standard output or error."""
        if fd == 1:
            self._sink.data_received(data)
        elif self.authenticated:
            self._sink.stderr_received(data)
        else:
            self.before = (self.before + data)[-MAX_LOG:]

    def process_exited(self) -> None:
        """ssh ended; no child of it may hold its pipes."""
        self._kill_group()
        self._settled.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The process ended and its pipes are read empty."""
        assert self._process is not None
        self._process.close()
        self._close_log()
        self._settled.set()
        self._ended.set()
        if self._armed:
            self._tell()

    def _close_log(self) -> None:
        """Our hold on the log's pipe, so that it ends where ssh's does."""
        if self._log_end >= 0:
            os.close(self._log_end)
            self._log_end = -1

    def _kill_group(self) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.get_pid(), signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _logged(self, data: bytes) -> None:
        self.log = (self.log + data)[-MAX_LOG:]
        if any(line.startswith(AUTHENTICATED) for line in self.log.splitlines()):
            self.authenticated = True
            self._settled.set()

    def _tell(self) -> None:
        if self._log_pipe is not None:
            self._log_pipe.close()
        self._forget(self)
        # 255 is what ssh itself ends with when the connection breaks.
        status = self.status if self.status in range(255) else None
        self._sink.session_closed(self._reason(), status)

    def _reason(self) -> str:
        status = self.status
        if status is None or status < 0:
            return "its ssh was killed"
        if status != 255:
            return f"it ended with status {status}"
        lines = [line for line in _text(self.log).splitlines() if line.strip()]
        return f"the connection ended: {printable(lines[-1])}" if lines else "the connection ended"


class _Log(asyncio.Protocol):
    """The pipe that ssh logs to."""

    def __init__(self, logged: Callable[[bytes], None], ended: asyncio.Event) -> None:
        self._logged = logged
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        """No more of it."""
        self._ended.set()

    def data_received(self, data: bytes) -> None:
        """Some of its log."""
        self._logged(data)


async def _failure(session: OpensshSession, login: ResolvedLogin) -> LoginFailed:
    """What befell a login whose ssh ended by itself."""
    await session.wait_closed()
    found = classify(_text(session.log), session.status)
    code, reason = Code(found.code), found.reason
    complaint = last_line(_text(session.before)) if code is Code.STARTUPS else ""  # no banner came yet
    reason += f" (proxy command: {complaint})" if complaint else ""
    return LoginFailed(code, printable(reason), remedy_for(code, login), retry=found.retry)


def _text(log: bytes) -> str:
    return log.decode("utf-8", "replace")
