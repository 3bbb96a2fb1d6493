"""The agent packed once and kept: making it takes 0.8 s of CPU, in which a root logs in to a hundred hosts.

What is kept lies in the user's cache directory, under a name made of all that
went into it: the agent's modules, the code that packs them, the Python that
does. So no other version of these ever meets it. It counts only if it is the
user's own, nobody else can write it, and it has the hash that stands in front;
else it is as if it weren't there. A cache that can't be read or written costs
time and nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
import zlib
from collections.abc import Callable
from functools import cached_property
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import ModuleType

import nile.agent
from nile.agent import wire
from nile.agent.handshake import Bundle

MOST_BYTES = 1 << 20
MOST_FILES = 60
"""Versions in turn don't push each other out; what is older goes."""

_PREFIX = "agent-"
_DIGEST_SIZE = hashlib.sha256().digest_size


class Kept:
    """What was packed once, in `directory`: made anew where it isn't there.

    What a run may want is to be had before it begins: from then on no loop has the time to pack.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def program(self, *, swarms: bool = False, root: bool = False) -> bytes:
        """The worker's program (see nile.bootstrap.program), where it `swarms` maybe, or the root's own."""
        if swarms:  # that has what the root needs
            return self.packed("swarming-worker", lambda: worker_program(swarms=True))
        return self.packed("root-worker" if root else "worker", lambda: worker_program(root=root))

    def second_warden(self) -> bytes:
        """See `nile.bootstrap.bundle.second_warden`."""
        return self.packed("warden", lambda: _packer().second_warden())

    def carrier_code(self) -> dict[str, bytes]:
        """See `carrier_code`."""
        return self._code("carrier", carrier_code)

    def reach_code(self) -> dict[str, bytes]:
        """See `reach_code`."""
        return self._code("reach", reach_code)

    def shell_code(self) -> dict[str, bytes]:
        """See `nile.bootstrap.bundle.shell_code`."""
        return self._code("shell", lambda: _packer().shell_code())

    def command_code(self, **what: bool) -> dict[str, bytes]:
        """See `nile.bootstrap.bundle.command_code`."""
        kind = "-".join(["command", *(name for name in what if what[name])])
        return self._code(kind, lambda: _packer().command_code(**what))

    def packed(self, kind: str, make: Callable[[], bytes]) -> bytes:
        """What is kept under the name of this kind, else what `make` gives."""
        key = own_key()
        if not key:
            return make()
        path = self._directory / f"{_PREFIX}{key}-{kind}"
        data = read(path)
        if data is None:
            data = make()
            if _content_key() == key:  # else an upgrade came in between, and it is that one's
                write(path, data)
        return data

    def _code(self, kind: str, make: Callable[[], dict[str, bytes]]) -> dict[str, bytes]:
        code: dict[str, bytes] = wire.loads(self.packed(kind, lambda: wire.dumps(make())))
        return code


class KeptBundle(Bundle):
    """A bundle that is made only where what it is to send isn't among what is `kept`."""

    def __init__(self, kept: Kept) -> None:
        super().__init__((), (), MAGIC_NUMBER.hex())
        self._kept = kept
        self._ready: dict[str, bytes] = {}

    def have_all(self) -> None:
        """Have whatever a host may want before any login is under way: none may stand still for that."""
        for relay, magic in ((True, self.magic), (False, self.magic), (False, "")):
            self.packed(relay, magic)

    def packed(self, relay: bool, magic: str) -> bytes:
        """See `Bundle.packed`."""
        kind = "relay" if relay else "compiled" if magic == self.magic else "leaf"
        if kind not in self._ready:
            self._ready[kind] = self._kept.packed(kind, lambda: self._made.packed(relay, magic))
        return self._ready[kind]

    @cached_property
    def _made(self) -> Bundle:
        return agent_bundle()


def _packer() -> ModuleType:
    """It isn't even imported before it is needed."""
    from nile.bootstrap import bundle

    return bundle


def worker_program(*, swarms: bool = False, root: bool = False) -> bytes:
    """See `nile.bootstrap.program`."""
    from nile.bootstrap import program

    return program.worker_program(swarms=swarms, root=root)


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


@functools.cache
def own_key() -> str:
    """The `content_key` of this process, which is made of one Nile only.

    Empty where that doesn't lie in files of its own (in a zip file, say): then nothing is kept.
    """
    return _content_key()


def _content_key() -> str:
    try:
        return content_key()
    except OSError:
        return ""


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
