"""A peer of a swarm, as a worker has it: a process of its own, with a Python that can import libtorrent.

The worker's own Python has no packages (-S), and may be another one than that
for which libtorrent is installed: so those that are there are tried, one after
the other, and the first that says it is ready stays. If none does, they have
said what they are, and one of them may be brought a libtorrent (see lacking).
The program travels with the worker, as text (see peerprogram); nothing is
written to a disk for it.

A peer ends when its standard input does, and so with its worker, however that
ended; and the warden above kills what is left, as with all that runs here.
"""

import glob
import marshal
import os
import select
import sys
import zlib
from importlib import util

from nile.agent import processes, wire
from nile.agent.worker import begin, messages
from nile.agent.worker.running import Ending, Running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

    from nile.agent.worker.loop import Loop

    Message = Dict[str, Any]

READY_S = 20.0  # for a Python to import libtorrent
LEAVE_S = 1.0  # for a peer to end that was told to
SHOWN = 200  # bytes of what it said when it failed
PROGRAM = (
    "wire",
    "worker.messages",
    "worker.origins",
    "worker.banned",
    "worker.lacking",
    "worker.memory",
    "worker.refusing",
    "worker.guarding",
    "worker.uplink",
    "worker.ports",
    "worker.priorities",
    "worker.peersettings",
    "worker.peerprogram",
)
NONE = "no Python here has libtorrent 2.0 or later"
# What a Python runs first: nothing is to be imported from where it happens to be.
_READ = (
    "import sys;"
    "sys.path[:]=[p for p in sys.path if p];"
    "import io,zlib;"
    "f=io.BufferedReader(io.FileIO(0,closefd=False),1);"
    "n=int(f.readline());"
    "exec(zlib.decompress(f.read(n)))"
)
_BEGIN = "nile.agent.worker.begin"
_THEN = "take(f)\nfrom nile.agent.worker import peerprogram\npeerprogram.main()\n"
_NAMED = ("python3", "platform-python")
_PATTERN = "python3.[0-9]*"
PLACES = ("/usr/local/bin", "/usr/bin", "/usr/libexec")


def places() -> "List[str]":
    """Directories where programs are looked for, in order, each once."""
    named = [place for place in os.environ.get("PATH", "").split(":") if place.startswith("/")]
    return list(dict.fromkeys(named + list(PLACES)))


def pythons(given: str = "") -> "List[str]":
    """Interpreters to try, in order: the one that was named, our own, and those at the usual places."""
    found = [given, sys.executable]
    for place in places():
        found += [os.path.join(place, name) for name in _NAMED]
        found += [path for path in sorted(glob.glob(os.path.join(place, _PATTERN))) if path[-1].isdigit()]
    return [path for path in dict.fromkeys(found) if path and os.access(path, os.X_OK)]


def program() -> bytes:
    """What the peer's Python reads first: a line with a length, and so many bytes, which read the rest.

    It is as a worker's own (see begin): code, where that came for a Python like this one, and source.
    """
    names = ["nile.agent." + module for module in PROGRAM]
    sources = dict.fromkeys(("nile", "nile.agent", "nile.agent.worker"), "")
    sources.update((name, _loader(name).get_source(name)) for name in names)
    came = {name: getattr(_loader(name), "get_compiled", _none)(name) for name in sources}
    codes = {name: code for name, code in came.items() if code is not None}
    first = _stored(("%s\n%s" % (_loader(_BEGIN).get_source(_BEGIN), _THEN)).encode())
    parts = [(begin.magic(), codes), (begin.SOURCE, sources)] if codes else [(begin.SOURCE, sources)]
    packed = [(word, _stored(marshal.dumps(modules, 2))) for word, modules in parts]
    return b"%d\n%b" % (
        len(first),
        first + b"".join(b"%b %d\n%b" % (word, len(part), part) for word, part in packed),
    )


def _stored(data: bytes) -> bytes:
    """As zlib has it; it goes no farther than through a pipe here."""
    return zlib.compress(data, 0)


def _loader(module: str) -> "Any":
    spec: "Any" = util.find_spec(module)
    return spec.loader


def _none(_: str) -> None:
    """No code came."""


class Process(Running):
    """A Python that runs the program."""

    def _begin(self, argv: "List[str]", fds: "Sequence[int]") -> int:
        # Where LANG doesn't say UTF-8 libtorrent takes names for text, and changes those that are none.
        return processes.spawn(argv, dict(os.environ, LANG="C.UTF-8", LC_ALL="C.UTF-8"), fds)

    def _meant(self, status: "Optional[int]", signum: "Optional[int]", said: bytes) -> Ending:
        how = "was killed by signal %s" % signum if signum is not None else "ended with status %s" % status
        words = said.decode("utf-8", "replace").strip().splitlines()
        return Ending("copy", "its peer %s%s" % (how, ": %s" % words[-1][:SHOWN] if words else ""), True)


class Peering:
    """A peer: found, begun, and spoken with.

    `said(message)` is what it says, the first is that it is `ready`, or what those Pythons are that have no
    libtorrent (`lacks`): then it waits to be told to `load` one. `over(code, reason)` is called once,
    when nothing of it is left, and never from within a call of ours: code "" if it was to `stop`,
    `no-libtorrent` if there is none.
    """

    def __init__(
        self,
        loop: "Loop",
        tried: "Sequence[str]",
        said: "Callable[[Message], None]",
        over: "Callable[[str, str], None]",
    ) -> None:
        """`tried` are paths of Pythons, in order."""
        self._loop = loop
        self._left = list(tried)
        self._said = said
        self._over = over
        self._process: "Optional[Process]" = None
        self._in = bytearray()
        self._out = bytearray()
        self._stdin = self._stdout = -1
        self._ready = self._stopping = False
        self._lacking: "List[Tuple[str, Message]]" = []
        self._wheel: "List[bytes]" = []
        self._loading = False
        self._why = NONE
        self._timer = loop.at(loop.now(), self._try_next)

    # Which one.

    def _try_next(self) -> None:
        while self._left:
            self._python = self._left.pop(0)
            try:
                self._start(self._python)
            except OSError:
                pass  # it isn't one after all
            else:
                self._timer = self._loop.at(self._loop.now() + READY_S, self.kill)
                return
        if self._lacking and not (self._stopping or self._loading):
            self._said({"lacks": [facts for _, facts in self._lacking]})
        else:
            self._over(*(("", "") if self._stopping else ("no-libtorrent", self._why)))

    def _start(self, python: str) -> None:
        theirs_in, self._stdin = os.pipe()
        self._stdout, theirs_out = os.pipe()
        try:
            # By env, which gives it its whole path as its name: by that it finds its packages.
            argv = ["/usr/bin/env", python, "-BSc", _READ]
            self._process = Process(self._loop, argv, [theirs_in, theirs_out], self._ended)
        except OSError:
            self._close()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        for fd in (self._stdin, self._stdout):
            os.set_blocking(fd, False)
        self._in.clear()
        self._out[:] = program()
        self._loop.watch(self._stdout, select.POLLIN, lambda _: self._hear())
        self._write()

    def carry(self, chunk: bytes) -> None:
        """A part of the wheel that is to be loaded."""
        self._wheel.append(chunk)

    @property
    def wheel(self) -> "List[bytes]":
        """All parts that came: others may be handed them."""
        return self._wheel

    def load(self, which: int, digest: bytes, directories: "Sequence[str]") -> None:
        """Have that one of those that lack it load the wheel; see `lacking.load`."""
        self._left, self._loading = [self._lacking[which][0]], True
        self._try_next()
        for chunk in self._wheel:
            self.tell({"do": "wheel", "chunk": chunk})
        self.tell({"do": "load", "digest": digest, "directories": list(directories)})

    def kill(self) -> None:
        """At once."""
        if self._process is not None:
            self._process.kill()

    # What is said.

    def tell(self, message: "Message") -> None:
        """Say this to it."""
        if self._stdin >= 0:
            self._out += messages.pack(message)
            self._write()

    def _write(self) -> None:
        try:
            while self._out:
                del self._out[: os.write(self._stdin, self._out)]
        except BlockingIOError:
            self._loop.watch(self._stdin, select.POLLOUT, lambda _: self._write())
            return
        except OSError:  # it has ended, or is about to
            self._out.clear()
        self._loop.unwatch(self._stdin)

    def _hear(self) -> None:
        self._read()

    def _read(self) -> bool:
        """Was there anything?"""
        try:
            data = os.read(self._stdout, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            self._loop.unwatch(self._stdout)
        try:
            found = list(messages.unpack(self._in, data))
        except wire.WireError:  # somebody else writes there: as a Python may that runs code of its own first
            self._loop.unwatch(self._stdout)
            self.kill()
            return False
        for message in found:
            self._heard(message)
        return bool(data)

    def _heard(self, message: "Message") -> None:
        if "lacks" in message:
            if not self._loading:
                self._lacking.append((self._python, message["lacks"]))
                self.tell({"do": "stop"})
            return
        if "ready" in message:
            self._ready = True
            self._loop.forget(self._timer)
        self._said(message)

    # Its end.

    def stop(self) -> None:
        """It is to end; what it says before that is heard."""
        if self._stopping:
            return
        self._stopping = True
        self._left.clear()
        if self._process is not None:
            self._loop.forget(self._timer)
            self.tell({"do": "stop"})
            self._timer = self._loop.at(self._loop.now() + LEAVE_S, self.kill)
        elif self._lacking:
            self._timer = self._loop.at(self._loop.now(), self._try_next)

    def _ended(self, ending: "Ending") -> None:
        self._loop.forget(self._timer)
        while self._ready and self._read():
            pass  # its last words
        self._close()
        self._process = None
        if self._stopping:
            self._over("", "")
        elif self._ready:
            self._over(ending.code, ending.reason)
        else:
            self._why = ending.reason if self._loading else NONE
            self._try_next()

    def _close(self) -> None:
        for fd in (self._stdin, self._stdout):
            if fd >= 0:
                self._loop.unwatch(fd)
                os.close(fd)
        self._stdin = self._stdout = -1
