"""Host keys that aren't known yet: shown by the host without a login, compared, and written to known_hosts.

Collecting proves nothing: whoever answers shows a key. That it is the right
one is for a person to say, who compares fingerprints. So a key that differs
from a known one is never written, whatever the person says.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import hmac
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nile.errors import KnownHostsError
from nile.events import Code
from nile.transport.asyncssh_client import AsyncsshTransport
from nile.transport.base import LoginFailed, ResolvedLogin
from nile.transport.hosttrust import HostKeys, Judgement
from nile.transport.knownhosts import HASHED, KnownHosts
from nile.transport.remedies import known_hosts_name, remedy_for
from nile.transport.wire import algorithm

Via = Callable[[ResolvedLogin], Awaitable[socket.socket]]
"""Opens a connected stream to a host's sshd by another way than a direct connection; raises LoginFailed."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """A key that a host showed, and what known_hosts has to say of it."""

    login: ResolvedLogin
    blob: bytes
    judgement: Judgement

    @property
    def kind(self) -> str:
        """The key's type, as in known_hosts."""
        return algorithm(self.blob)

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: SHA256 and base64."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"

    def line(self) -> str:
        """The line for known_hosts, its name not hashed."""
        return f"{known_hosts_name(self.login)} {self.kind} {base64.b64encode(self.blob).decode()}"


async def collect(transport: AsyncsshTransport, login: ResolvedLogin, via: Via | None = None) -> HostKey:
    """The key that a host shows: one connection, no authentication; raises LoginFailed.

    `via` opens the way to a host that the root can't reach itself.
    """
    blob = await transport.host_key(login, await via(login) if via is not None else None)
    return HostKey(login, blob, HostKeys.parse(login.known_hosts).judge_key(blob))


async def collect_all(
    transport: AsyncsshTransport,
    logins: Sequence[ResolvedLogin],
    *,
    parallel: int,
    connect_s: float,
    via: Mapping[str, Via],
) -> dict[str, HostKey | LoginFailed]:
    """`collect` for many hosts, `parallel` at a time, each in at most `connect_s` seconds; by host name.

    `via` has the way to each host that isn't to be connected to directly.
    """
    free = asyncio.Semaphore(parallel)

    async def one(login: ResolvedLogin) -> HostKey | LoginFailed:
        async with free:
            try:
                async with asyncio.timeout(connect_s):
                    return await collect(transport, login, via.get(login.host))
            except LoginFailed as exc:
                return exc
            except TimeoutError:
                reason = f"{login.hostname_root} showed no host key within {connect_s:g} s"
                remedy = remedy_for(Code.CONNECT_TIMEOUT, login)
                return LoginFailed(Code.CONNECT_TIMEOUT, reason, remedy)

    async with asyncio.TaskGroup() as group:
        tasks = {login.host: group.create_task(one(login)) for login in logins}
    return {host: task.result() for host, task in tasks.items()}


def append(file: Path, keys: Sequence[HostKey], *, hashed: bool) -> int:
    """Append keys to a known_hosts file; gives the number of lines written.

    Existing lines stay as they are. What has turned up in the file since the
    keys were compared counts: a key that is there already is left out, another
    key for the same name is a KnownHostsError, and then nothing is written.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return _append_locked(descriptor, file, keys, hashed)
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise KnownHostsError(f"can't be written: {exc.strerror}", where=str(file)) from exc


def _append_locked(descriptor: int, file: Path, keys: Sequence[HostKey], hashed: bool) -> int:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new = list(_not_there_yet(file, keys))
    data = "".join(_as_written(key, hashed) for key in new).encode()
    if data:
        _write_whole(descriptor, (b"" if _ends_with_newline(descriptor) else b"\n") + data)
        os.fsync(descriptor)
    return len(new)


def _not_there_yet(file: Path, keys: Iterable[HostKey]) -> Iterable[HostKey]:
    known = KnownHosts.read([file])
    keys = list(keys)
    known.prepare([known_hosts_name(key.login)] for key in keys)
    for key in keys:
        lines = known.lookup([known_hosts_name(key.login)], key.login.host_key_alias)
        there = HostKeys.parse(lines)
        if key.blob in there.plain:
            continue
        if there.plain or key.blob in there.revoked:
            raise KnownHostsError(
                f"{known_hosts_name(key.login)} has another key there, or this one is revoked",
                where=str(file),
                remedy="Nothing was written. Ask who changed the host's key, or the file.",
            )
        yield key


def _as_written(key: HostKey, hashed: bool) -> str:
    line = key.line()
    if not hashed:
        return line + "\n"
    name, _, rest = line.partition(" ")
    return f"{hashed_name(name, os.urandom(20))} {rest}\n"


def hashed_name(name: str, salt: bytes) -> str:
    """A name as HashKnownHosts has it (hostfile.c): HMAC-SHA1 of the name in lower case."""
    digest = hmac.digest(salt, name.lower().encode(), "sha1")
    return f"{HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _ends_with_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
