"""An rsync of ours while it runs, and what its end means."""

import _signal as signal
import os
import select

from nile.agent import processes
from nile.agent.worker import rsync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence

    from nile.agent.worker.loop import Loop

    Over = Callable[["Ending"], None]

GRACE_S = 2.0  # between asking it to end and killing it
MOST_WORDS = 4096  # bytes of what it said that are kept: the first and the last
MOST_NAMES = 20  # files named in one ending
# Exit statuses of rsync (its manual): our code, and whether another attempt may fare better.
_STATUSES = {
    0: ("", False),
    1: ("usage", False),
    2: ("protocol", False),
    3: ("files", False),
    4: ("unsupported", False),
    5: ("protocol", False),
    10: ("broken", True),
    11: ("files", False),
    12: ("broken", True),
    13: ("broken", True),
    14: ("broken", True),
    15: ("broken", True),
    16: ("broken", True),
    19: ("killed", True),
    20: ("killed", True),
    21: ("broken", True),
    22: ("memory", True),
    23: ("partial", False),
    24: ("vanished", False),
    25: ("max-delete", False),
    30: ("timeout", True),
    35: ("timeout", True),
    127: ("no-rsync", False),
    255: ("broken", True),
}
# What it says of a file counts for more than the status, which is 11 or 23 for all of these.
# What is looked for once something went wrong: all of it is compiled only then.
_FULL = rb"No space left on device|Disk quota exceeded"
_WRITES = rb"mkstemp|mkdir|write|rename|symlink|mknod|link|unlink|delete_file|recv_generator|change_dir|chdir"
_BARRED = (
    rb"Read-only file system|(?:" + _WRITES + rb')\b[^"]*"?.*"? failed: (?:Permission denied|Not a directory)'
)
_GONE = rb"(?:Broken pipe|Connection reset by peer|Connection timed out) \(\d+\)"
_NAMED = rb'"(.*)"|^(?:WARNING|ERROR): (.*) failed verification -- update'
_ESCAPED = rb"\\#([0-3][0-7][0-7])"


class Ending:
    """How a copy ended.

    `code` is "" if it went well, else one word; `reason` says it for people;
    `retry`: another attempt may fare better; `status` and `signal` are rsync's;
    `names`: files it spoke of; `words`: what it said, bounded; `sent` and
    `received`: bytes over the connection, at the sender's end (else 0).
    """

    def __init__(self, code: str, reason: str, retry: bool = False) -> None:
        self.code = code
        self.reason = reason
        self.retry = retry
        self.status: "Optional[int]" = None
        self.signal: "Optional[int]" = None
        self.names: "List[bytes]" = []
        self.words = ""
        self.sent = 0
        self.received = 0

    def fields(self) -> "Dict[str, Any]":
        """All of it, as `nile.agent.wire.dumps` takes it."""
        return dict(vars(self))

    def said(self) -> str:
        """Why, for people: with what is named, else with the last of its words."""
        words = ": " + self.words.strip().splitlines()[-1] if self.words.strip() else ""
        named = ", ".join(name.decode("utf-8", "backslashreplace") for name in self.names[:3])
        return (self.reason + (" (%s)" % named if named else words))[:500]

    def trouble(self) -> "Dict[str, Any]":
        """What of it is told to the root, if it didn't go well: `code`, `reason`, `retry`."""
        return {"code": self.code, "reason": self.said(), "retry": self.retry} if self.code else {}

    def instead(self, code: str, reason: str, retry: bool = False) -> "Ending":
        """The same, of another cause than rsync's own."""
        self.code, self.reason, self.retry = code, reason, retry
        return self


def ending(status: "Optional[int]", signum: "Optional[int]", said: bytes) -> Ending:
    """What an exit status, or a signal, and the words on stderr mean."""
    if signum is not None:
        result = Ending("killed", "rsync was killed by signal %d" % signum, True)
    else:
        code, retry = _STATUSES.get(status or 0, ("failed", False))
        result = Ending(code, "rsync ended with status %d" % (status or 0) if status else "", retry)
    if result.code in ("files", "partial", "broken"):
        import re

        if re.search(_FULL, said):
            result.instead("disk-full", "no space is left")
        elif re.search(_BARRED, said):
            result.instead("not-writable", "the destination can't be written")
        elif result.code == "files" and re.search(_GONE, said):
            result.instead("broken", "the other end is gone", True)
    result.status, result.signal = status, signum
    result.names = _names(said)
    result.words = said.decode("utf-8", "replace")
    return result


def _names(said: bytes) -> "List[bytes]":
    """The files that its lines speak of, in order, each once, as they are called."""
    found: "Dict[bytes, None]" = {}
    if not said:
        return []
    import re  # where all goes well nobody needs it

    for line in said.split(b"\n"):
        named = re.search(_NAMED, line)
        if named and len(found) < MOST_NAMES:
            name = named.group(1) or named.group(2) or b""
            found[re.sub(_ESCAPED, lambda match: bytes([int(match.group(1), 8)]), name)] = None
    return list(found)


class Words:
    """What a program says: all of it in the beginning, then only the last of it."""

    def __init__(self) -> None:
        self._first = b""
        self._last = b""
        self._lost = False

    def add(self, data: bytes) -> None:
        """It said that."""
        room = MOST_WORDS // 2 - len(self._first)
        self._first += data[:room] if room > 0 else b""
        last = self._last + (data[room:] if room > 0 else data)
        self._lost = self._lost or len(last) > MOST_WORDS // 2
        self._last = last[-(MOST_WORDS // 2) :]

    def text(self) -> bytes:
        """At most MOST_WORDS bytes and a few dots."""
        return self._first + (b"\n...\n" if self._lost else b"") + self._last


class Running:
    """An rsync in a session of its own. `over(ending)` is called once, when nothing of it is left.

    rsync forks: it is over when its first process has ended and nobody holds
    its stderr any more. Raises OSError where it can't be started.
    """

    def __init__(self, loop: "Loop", argv: "List[str]", fds: "Sequence[int]", over: "Over") -> None:
        """`fds` become its descriptors 0, 1, 3 and so on; they remain the caller's to close."""
        self._loop = loop
        self._over = over
        self._words = Words()
        self._ended: "Optional[List[Optional[int]]]" = None
        self._timer = -1
        self._stderr, stderr = os.pipe()
        os.set_blocking(self._stderr, False)
        try:
            fds = [fds[0], fds[1], stderr] + list(fds[2:])
            self.pid = self._begin(argv, fds)
        except OSError:
            os.close(self._stderr)
            raise
        finally:
            os.close(stderr)
        loop.child(self.pid, self._exited)
        loop.watch(self._stderr, select.POLLIN, self._heard)

    def _begin(self, argv: "List[str]", fds: "Sequence[int]") -> int:
        return processes.spawn(argv, rsync.environment(), fds)

    def _meant(self, status: "Optional[int]", signum: "Optional[int]", said: bytes) -> Ending:
        return ending(status, signum, said)

    def end(self) -> None:
        """Ask it to end, and kill it if it doesn't: what it has received so far is kept aside."""
        self._signal(signal.SIGTERM)
        if self._timer < 0:
            self._timer = self._loop.at(self._loop.now() + GRACE_S, self.kill)

    def kill(self) -> None:
        """Kill it, and what it forked."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        try:
            os.killpg(self.pid, signum)
        except OSError:
            pass  # nobody is left

    def _exited(self, status: "Optional[int]", signum: "Optional[int]") -> None:
        self._ended = [status, signum]
        if self._stderr >= 0:
            self.end()  # what it forked ends by itself, if all is well
        self._perhaps_over()

    def _heard(self, _: int) -> None:
        try:
            data = os.read(self._stderr, 65536)
        except BlockingIOError:
            return
        if data:
            self._words.add(data)
            return
        self._loop.unwatch(self._stderr)
        os.close(self._stderr)
        self._stderr = -1
        self._perhaps_over()

    def _perhaps_over(self) -> None:
        if self._ended is not None and self._stderr < 0:
            self._loop.forget(self._timer)
            self._over(self._meant(self._ended[0], self._ended[1], self._words.text()))
