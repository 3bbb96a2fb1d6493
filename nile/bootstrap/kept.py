"""The agent packed once and kept: making it takes 0.8 s of CPU, in which a root logs in to a hundred hosts.

What is kept lies in the user's cache directory, under a name made of all that
went into it: the agent's modules, the code that packs them, the Python that
does. So no other version of these ever meets it. It counts only if it is the
user's own, nobody else can write it, and it has the hash that stands in front;
else it is as if it weren't there. A cache that can't be read or written costs
time and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import zlib
from collections.abc import Callable
from functools import cached_property
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import nile.agent
from nile.agent import wire
from nile.agent.handshake import Bundle

MOST_BYTES = 1 << 20
MOST_FILES = 60
"""Versions in turn don't push each other out; what is older goes."""

_PREFIX = "agent-"
_DIGEST_SIZE = hashlib.sha256().digest_size


class KeptBundle(Bundle):
    """A bundle that looks in `directory` for what it is to send, and is made only if that isn't there."""

    def __init__(self, directory: Path) -> None:
        super().__init__((), (), MAGIC_NUMBER.hex())
        self._directory = directory
        self._ready: dict[str, bytes] = {}

    def have_all(self) -> None:
        """Have whatever a host may want before any login is under way: none may stand still for that."""
        for relay, magic in ((True, self.magic), (False, self.magic), (False, "")):
            self.packed(relay, magic)

    def packed(self, relay: bool, magic: str) -> bytes:
        """See `Bundle.packed`."""
        kind = "relay" if relay else "compiled" if magic == self.magic else "leaf"
        if kind not in self._ready:
            self._ready[kind] = self._kept(kind) or self._make(kind, relay, magic)
        return self._ready[kind]

    def _kept(self, kind: str) -> bytes | None:
        return read(self._directory / self._name(kind)) if self._key else None

    def _make(self, kind: str, relay: bool, magic: str) -> bytes:
        data = self._made.packed(relay, magic)
        if self._key:
            write(self._directory / self._name(kind), data)
        return data

    def _name(self, kind: str) -> str:
        return f"{_PREFIX}{self._key}-{kind}"

    @cached_property
    def _key(self) -> str:
        """Empty where Nile doesn't lie in files of its own (in a zip file, say): then nothing is kept."""
        try:
            return content_key()
        except OSError:
            return ""

    @cached_property
    def _made(self) -> Bundle:
        return agent_bundle()


def kept_program(directory: Path) -> bytes:
    """The worker's program (see nile.bootstrap.program), from `directory` if it is there."""

    def make() -> bytes:
        from nile.bootstrap import program

        return program.worker_program()

    return _kept(directory, "worker", make)


def kept_carrier_code(directory: Path) -> dict[str, bytes]:
    """See `carrier_code`; from `directory` if it is there."""
    return _kept_code(directory, "carrier", carrier_code)


def kept_reach_code(directory: Path) -> dict[str, bytes]:
    """See `reach_code`; from `directory` if it is there."""
    return _kept_code(directory, "reach", reach_code)


def kept_command_code(directory: Path, **what: bool) -> dict[str, bytes]:
    """See `nile.bootstrap.bundle.command_code`; from `directory` if it is there."""

    def make() -> dict[str, bytes]:
        from nile.bootstrap import bundle

        return bundle.command_code(**what)

    return _kept_code(directory, "-".join(["command", *(name for name in what if what[name])]), make)


def kept_second_warden(directory: Path) -> bytes:
    """See `nile.bootstrap.bundle.second_warden`; from `directory` if it is there."""

    def make() -> bytes:
        from nile.bootstrap import bundle

        return bundle.second_warden()

    return _kept(directory, "warden", make)


def kept_shell_code(directory: Path) -> dict[str, bytes]:
    """See `nile.bootstrap.bundle.shell_code`; from `directory` if it is there."""

    def make() -> dict[str, bytes]:
        from nile.bootstrap import bundle

        return bundle.shell_code()

    return _kept_code(directory, "shell", make)


def _kept_code(directory: Path, kind: str, make: Callable[[], dict[str, bytes]]) -> dict[str, bytes]:
    code: dict[str, bytes] = wire.loads(_kept(directory, kind, lambda: wire.dumps(make())))
    return code


def _kept(directory: Path, kind: str, make: Callable[[], bytes]) -> bytes:
    try:
        path = directory / f"{_PREFIX}{content_key()}-{kind}"
    except OSError:
        return make()
    data = read(path)
    if data is None:
        data = make()
        write(path, data)
    return data


def agent_bundle() -> Bundle:
    """See `nile.bootstrap.bundle`, which isn't even imported before it is needed."""
    from nile.bootstrap import bundle

    return bundle.agent_bundle()


def carrier_code() -> dict[str, bytes]:
    """See `nile.bootstrap.bundle`."""
    from nile.bootstrap import bundle

    return bundle.carrier_code()


def reach_code() -> dict[str, bytes]:
    """See `nile.bootstrap.bundle`."""
    from nile.bootstrap import bundle

    return bundle.reach_code()


def content_key() -> str:
    """Names everything that the packed agent is made of and by; raises OSError where that can't be read."""
    packers = [Path(__file__).with_name(name) for name in ("bundle.py", "program.py", "shorten.py")]
    modules = sorted(Path(nile.agent.__path__[0]).rglob("*.py"))
    total = hashlib.sha256(f"{sys.version} {zlib.ZLIB_RUNTIME_VERSION}".encode())
    for path in (*packers, *modules):
        total.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:32]


def read(path: Path) -> bytes | None:
    """What `write` kept there, or None where it can't be trusted in every respect."""
    try:
        _check(os.lstat(path.parent), stat.S_ISDIR)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check(os.fstat(descriptor), stat.S_ISREG)
            whole = file.read(MOST_BYTES)
    except OSError:
        return None
    digest, data = whole[:_DIGEST_SIZE], whole[_DIGEST_SIZE:]
    return data if hashlib.sha256(data).digest() == digest else None


def write(path: Path, data: bytes) -> None:
    """Keep it, whole or not at all; does nothing where that can't be done safely."""
    import tempfile

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(os.lstat(path.parent), stat.S_ISDIR)
        descriptor, name = tempfile.mkstemp(".new", _PREFIX, path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink()
            raise
        _forget_oldest(path.parent)
    except OSError:
        return


def _check(status: os.stat_result, is_kind: Callable[[int], bool]) -> None:
    """It is what it is to be, and only this user can write it; raises PermissionError."""
    if not is_kind(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError("not this user's alone")


def _forget_oldest(directory: Path) -> None:
    files = sorted(directory.glob(f"{_PREFIX}*"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[MOST_FILES:]:
        file.unlink()
