"""aria2c on a host: where it is, which one, and one that runs."""

import os
import select

from nile.agent import processes
from nile.agent.worker import aria
from nile.agent.worker.peering import places
from nile.agent.worker.running import Ending, Running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Sequence

    from nile.agent.worker.loop import Loop

VERSION_S = 5.0  # to say its version
MOST_SAID = 1 << 16  # bytes: of a line, and of what is said with a version


def program() -> str:
    """Where it is; "" if it is nowhere."""
    paths = [os.path.join(place, "aria2c") for place in places()]
    return next((path for path in paths if os.access(path, os.X_OK)), "")


def _environment() -> "Dict[str, str]":
    """Ours, but for what would have it go by a proxy, or speak another language."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return dict(kept, LC_ALL="C", HOME="/nonexistent")


class Process(Running):
    """aria2c with these words, in a session of its own; `line(said)` is called with each that it says."""

    def __init__(
        self,
        loop: "Loop",
        argv: "List[str]",
        line: "Callable[[bytes], None]",
        over: "Callable[[Ending], None]",
    ) -> None:
        """Raises OSError where it can't be started."""
        self._said = b""
        self._line = line
        self._stdout, write = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            super().__init__(loop, argv, [null, write], over)
        except OSError:
            os.close(self._stdout)
            raise
        finally:
            os.close(null)
            os.close(write)
        os.set_blocking(self._stdout, False)
        loop.watch(self._stdout, select.POLLIN, self._hear)

    def _begin(self, argv: "List[str]", fds: "Sequence[int]") -> int:
        return processes.spawn(argv, _environment(), fds)

    def _hear(self, _: int) -> None:
        self._read()

    def _read(self) -> bool:
        """Was there anything?"""
        try:
            data = os.read(self._stdout, 1 << 16)
        except BlockingIOError:
            return False
        if not data:
            self._loop.unwatch(self._stdout)
        *lines, rest = (self._said + data).split(b"\n")
        self._said = rest[-MOST_SAID:]
        for line in lines:
            self._line(line)
        return bool(data)

    def _meant(self, status: "Optional[int]", signum: "Optional[int]", said: bytes) -> Ending:
        while self._read():
            pass  # its last words
        self._loop.unwatch(self._stdout)
        os.close(self._stdout)
        how = "was killed by signal %s" % signum if signum is not None else "ended with status %s" % status
        ended = Ending(aria.code(status), "its aria2 %s" % how, True)
        ended.signal = signum
        return ended


class Look:
    """For one: `found(path, version)` is called once, later; with "" and "" where there is none."""

    def __init__(self, loop: "Loop", found: "Callable[[str, str], None]") -> None:
        self._loop = loop
        self._found = found
        self._path = program()
        self._said = b""
        self._process: "Optional[Process]" = None
        self._timer = loop.at(loop.now(), self._ask)

    def close(self) -> None:
        """Don't call `found`."""
        self._found = lambda path, version: None
        self._loop.forget(self._timer)
        self._kill()

    def _ask(self) -> None:
        try:
            if not self._path:
                raise FileNotFoundError
            argv = [self._path, "--no-conf", "--version"]
            self._process = Process(self._loop, argv, self._line, self._over)
        except OSError:
            self._found("", "")
        else:
            self._timer = self._loop.at(self._loop.now() + VERSION_S, self._kill)

    def _line(self, line: bytes) -> None:
        self._said = (self._said + line + b"\n")[:MOST_SAID]

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _over(self, _: Ending) -> None:
        self._loop.forget(self._timer)
        self._process = None
        version = aria.version(self._said)
        self._found(self._path if version else "", version)
