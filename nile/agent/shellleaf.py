"""A link to a host without Python: the parent is its agent, and has a shell there do what is to be done.

Pure; sent as source to relays that log in to such a host. To the parent's relay core it is a link as any
(nile.agent.link): frames go in and frames come out. Between them is the core of an agent, whose effects
become lines for the shell, and the shell's lines become what a loop reports (nile.agent.leafprogram).

What the core has to say goes up with the next word from the host; where that may take long it is asked for
one. Output is in flight as the program there writes it: what the windows have no room for waits here, and
from `HOLD` bytes on the program is stopped.
"""

import binascii

from nile.agent import leafcommand, leafprogram, wire
from nile.agent.core import STOPPING, STREAMS, Core
from nile.agent.handshake import HandshakeError
from nile.agent.leafprogram import quoted
from nile.agent.link import BULK_WINDOW, LATE_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    Effects = List[Tuple[Any, ...]]

HOLD = 65536  # bytes of one stream that wait here before whoever reads it there is stopped
MOST_WAITING = 4 << 20  # and this is no shell that does as it was told
LONGEST = 8192  # bytes of a line
MOST_NOISE = 4 << 20
ONCE = "hmasfx"  # what is said once, and in its turn (see nile.agent.leafprogram)
LOST_S = 30.0  # quiet for so long once the command ended, a stream is cut: its last word was lost
AFTER_EXIT_MOST = 4 << 20  # as in nile.agent.command
FOR_EVER = 999999999
TICKS = 100  # a second, in /proc
NO_ROOM = "/dev/shm has no room, which a host without Python needs"
NO_PYTHON = "no Python 3.6 or later was found"


def begin(
    entry: "Dict[str, Any]", shared: "Dict[str, Any]", nonce: str, now: float
) -> "Tuple[str, ShellLeaf]":
    """What to run on the host of this entry, and the link that takes what comes of it."""
    return leafprogram.command_line(nonce), ShellLeaf(entry, shared, nonce, now)


class Stream:
    """What the command wrote on one of its streams, on its way up."""

    def __init__(self) -> None:
        self.waits = bytearray()
        self.held = False  # who reads it there was told to wait
        self.ended = False  # nothing more comes
        self.last_in = 0.0
        self.word = b""  # that ends it though somebody holds it open yet, once the command ended
        self.after_exit: "Optional[int]" = None


class ShellLeaf:
    """The link to the child with this entry of a plan, and the child's agent in one."""

    def __init__(self, entry: "Dict[str, Any]", shared: "Dict[str, Any]", nonce: str, now: float) -> None:
        self.granted = 0
        self.last_in = now
        self._mark = b"\n%s sh\n" % nonce.encode()
        self._entry = entry
        self._shared = shared
        self._core = Core(now)
        self._now = self._ticked_at = now
        self._heard = b""
        self._noise = 0
        self._spoke = False
        self._beat = -1
        self._down: "List[wire.Frame]" = []
        self._lines = bytearray()
        self._up: "List[wire.Frame]" = []
        self._asked = False  # for a word, that takes up what is to be said
        self._bulk_up = 0  # bulk bytes that went up, ever
        self._bulk_taken = 0
        self._streams = {name: Stream() for name in STREAMS}
        self._nonce = nonce
        self._looking = False
        self._booted = 0.0
        self._directory = ""
        self._user = ""
        self._uid = self._pid = 0
        self._open: "set[str]" = set()
        self._due = "hm"  # lines that may come now, of those that come once

    # What the parent's relay core does with a link.

    def receive(self, data: bytes, now: float) -> "List[wire.Frame]":
        """Frames that the host's agent has to say; raises WireError and HandshakeError."""
        self.last_in = self._now = now
        self._heard += data
        if not self._spoke and not self._begins():
            return []
        lines = self._heard.split(b"\n")
        self._heard = lines.pop()
        if len(self._heard) > LONGEST:
            raise wire.WireError("a line without end")
        for line in lines:
            if line:
                self._line(line)
        self._pass_on()
        up, self._up, self._asked = self._up, [], False
        self.granted += 1  # whoever compares has what is to be said flushed
        return up

    def send(self, frame: wire.Frame, sent: "Optional[Callable[[], None]]" = None) -> None:
        """See `Link.send`: nothing of it waits."""
        self._down.append(frame)
        if sent is not None:
            sent()

    def take(self, size: int) -> None:
        """See `Link.take`."""
        self._bulk_taken = min(self._bulk_taken + size, self._bulk_up)

    def drop(self) -> None:
        """See `Link.drop`."""
        del self._down[:], self._lines[:], self._up[:]
        self._streams = {name: Stream() for name in STREAMS}

    def waiting(self) -> int:
        """See `Link.waiting`."""
        return len(self._lines)

    def pending(self) -> bool:
        """See `Link.pending`."""
        return bool(self._down or self._lines) or any(self._room(each) > 0 for each in self._streams.values())

    def pull(self, now: float) -> bytes:
        """The next lines for the shell there."""
        self._now = max(now, self._now)
        down, self._down = self._down, []
        for frame in down:
            self._frame(frame)
        self._pass_on()
        if self._up and not self._asked:  # whoever pulls goes on until there is nothing
            self._asked = True
            self._tell("echo p")
        data = bytes(self._lines)
        del self._lines[:]
        return data

    def tick(self, now: float) -> None:
        """Deadlines, and ends of streams that nobody closes."""
        self.last_in = min(now, self.last_in + max(0.0, now - self._ticked_at - LATE_S))
        self._now = self._ticked_at = now
        if not self._directory and not self._core.plan:
            return
        self._perform(self._core.tick(now))
        for name, stream in self._streams.items():
            quiet = now - stream.last_in > LOST_S and not stream.held
            if stream.after_exit is not None and not stream.ended and quiet:
                self._tell("cut %s" % name[3])

    # What is said to the host's agent.

    def _frame(self, frame: wire.Frame) -> None:
        if frame.type not in wire.DOWN_TYPES or frame.path:
            return
        if frame.type == wire.BEAT:
            number = frame.value()
            if isinstance(number, int) and number > self._beat:
                self._beat = number
                self._tell("beat")
        self._perform(self._core.frame(frame, self._now))

    def _tell(self, line: str) -> None:
        self._lines += line.encode("utf-8", "surrogateescape") + b"\n"

    # What the shell says.

    def _begins(self) -> bool:
        start = self._heard.find(self._mark)
        if start < 0:
            kept = self._heard[-len(self._mark) :]
            self._noise += len(self._heard) - len(kept)
            self._heard = kept
            if self._noise > MOST_NOISE:
                raise HandshakeError("agent", "the login prints without end and never starts the first stage")
            return False
        self._spoke = True
        self._heard = self._heard[start + len(self._mark) :]
        for line in leafprogram.PROGRAM:
            self._tell(line)
        return True

    def _line(self, line: bytes) -> None:
        kind = chr(line[0])
        if kind in "oe":
            self._wrote(STREAMS[kind == "e"], line[1:])
            return
        words = line[1:].decode("utf-8", "replace").strip()
        handler = getattr(self, "_heard_" + kind, None)
        if handler is None or (kind in ONCE and kind not in self._due):
            raise wire.WireError("a line that begins with %r" % kind)
        if kind in ONCE:
            self._due = "x" if kind == "s" else ""
        try:
            handler(words)
        except (ValueError, LookupError, TypeError, AttributeError):  # whatever it says: it alone is hung up
            raise wire.WireError("a line that is cut short: %r" % words[:100]) from None

    def _heard_p(self, words: str) -> None:
        """It lives."""

    def _heard_m(self, words: str) -> None:
        raise HandshakeError("no-python", "%s, nor what a shell would need: %s" % (NO_PYTHON, words))

    def _heard_h(self, words: str) -> None:
        pid, uid, uptime, ticks, self._user = (words + " ").split(" ", 4)
        # Process 1 of a container is younger than the kernel.
        self._booted = self._now - float(uptime) + float(ticks or 0) / TICKS
        self._user = self._user.strip()
        self._core = Core(self._now)  # what the login took is no silence of the root
        self._uid = _number(uid)
        body = {
            "protocol": wire.PROTOCOL,
            "python": "",
            "pid": _number(pid),
            "uid": self._uid,
            "uptime": float(uptime),
        }
        self._up.append(wire.Frame(wire.HELLO, body=wire.dumps(body)))

    def _heard_a(self, words: str) -> None:
        trace, _, self._directory = words.partition(" ")
        if trace == "none" and not self._directory and self._entry["again"]:
            trace = "dead"  # nothing there remembers whether a command was started
        self._perform(self._core.claimed(trace, self._now))

    def _heard_s(self, words: str) -> None:
        self._pid = _number(words)
        self._perform(self._core.spawned(self._pid))
        self._audit("start")

    def _heard_f(self, words: str) -> None:
        self._perform(self._core.spawn_failed(words))

    def _heard_x(self, words: str) -> None:
        stopped = " stopped" * (self._core.state == STOPPING)
        self._perform(self._core.exited(_number(words), None))
        self._audit("end rc=%d%s" % (_number(words), stopped))

    def _audit(self, what: str) -> None:
        for line in leafcommand.told(self._core.plan, self._uid, self._pid, what):
            self._tell(line)

    def _heard_c(self, words: str) -> None:
        self._looking = False
        named = [word.partition(":") for word in words.split()]
        self._perform(self._core.census([(_number(pid), name) for pid, _, name in named], self._now))

    # What the command writes.

    def _wrote(self, name: str, text: bytes) -> None:
        stream = self._streams[name]
        if text == b".":
            stream.ended = True
            return
        try:
            data = binascii.unhexlify(text)
        except ValueError:
            raise wire.WireError("output that is no hex") from None
        if stream.ended:
            return  # it goes on for somebody else
        stream.last_in = self._now
        if stream.after_exit is not None:  # one that was left behind may write without end
            stream.after_exit -= len(data)
            if stream.after_exit < 0:
                self._tell("cut %s" % name[3])
                return
        stream.waits += data
        if stream.word:
            self._end_at(stream, stream.waits.find(stream.word, -len(data) - len(stream.word)), name)
        if len(stream.waits) > MOST_WAITING:
            raise wire.WireError("more output than there is room for")

    def _end_at(self, stream: Stream, at: int, name: str) -> None:
        """It ends before the word that was found `at` this place, if it was."""
        if at >= 0:
            del stream.waits[at:]
            stream.ended = True
            self._tell("cut %s" % name[3])

    def _pass_on(self) -> None:
        """As far as the windows of the root and of this link have room."""
        for name, stream in self._streams.items():
            while True:
                room = self._room(stream)
                if room <= 0:
                    break
                data = bytes(stream.waits[:room])
                del stream.waits[:room]
                self._perform(self._core.output(name, data))
            if (len(stream.waits) > HOLD) != stream.held and not stream.ended:
                stream.held = not stream.held
                stream.last_in = self._now  # who goes on has its time to
                self._tell("kill -s %s $p%s 2>/dev/null" % ("STOP" if stream.held else "CONT", name[3]))
            if stream.ended and not stream.waits and name in self._open:
                self._open.discard(name)
                self._perform(self._core.drained(name))

    def _room(self, stream: Stream) -> int:
        """How many bytes of it may go up now; what may be the beginning of its last word waits."""
        have = len(stream.waits) - (0 if stream.ended else len(stream.word))
        return min(have, wire.CHUNK, self._core.room(), BULK_WINDOW - self._bulk_up + self._bulk_taken)

    # Effects of the core.

    def _perform(self, effects: "Effects") -> None:
        for effect in effects:
            getattr(self, "_do_" + effect[0])(*effect[1:])

    def _do_up(self, frame: wire.Frame) -> None:
        if frame.type in wire.BULK:
            self._bulk_up += len(frame.body)
        self._up.append(frame)

    def _do_claim(self) -> None:
        shared, entry = self._shared, self._entry
        self._tell("e=%d; g=%d; f=" % self._patience(shared))
        if shared["orphan"] == "finish":
            self._tell("f=1")
        self._due = "a"
        host = entry["host"]
        if len(host) > 150 or "/" in host:
            host = "=%d" % entry["id"]
        self._tell("claim %s %s" % (quoted(self._leaf()), quoted("%s-%s" % (shared["run"], host))))

    @staticmethod
    def _patience(shared: "Dict[str, Any]") -> "Tuple[int, int]":
        """Whole seconds without a heartbeat, and from SIGTERM to SIGKILL then."""
        lease_s = FOR_EVER if shared["orphan"] == "finish" else min(FOR_EVER, max(1, int(shared["lease"])))
        return lease_s, min(FOR_EVER, int(shared["grace"] + 0.999))

    def _leaf(self) -> str:
        return "%s.%d." % (self._shared["run"], self._entry["id"])

    def _do_state(self, fields: "Dict[str, Any]") -> None:
        body = dict(fields, uptime=self._now - self._booted, children=[], shell=True)
        core = self._core
        self._up.append(wire.Frame(wire.STATE, core.id, core.epoch, (), wire.dumps(body)))

    def _do_spawn(self, plan: "Dict[str, Any]") -> None:
        if not self._directory:
            self._perform(self._core.spawn_failed(NO_ROOM))
            return
        try:
            lines = leafcommand.lines(plan, self._directory, self._leaf(), self._user)
        except OSError as error:
            self._perform(self._core.spawn_failed("%s: %s" % (error.filename, error.strerror)))
            return
        self._open = set(STREAMS)
        self._due = "sf"
        for line in lines:
            self._tell(line)

    def _do_reading(self, wanted: bool) -> None:
        """It is read as far as there is room."""

    def _do_drain(self) -> None:
        for name, stream in self._streams.items():
            stream.after_exit, stream.last_in = AFTER_EXIT_MOST, self._now
            if not stream.ended:
                stream.word = ("%s %s" % (self._nonce, name[3])).encode()
                self._tell("last %s" % name[3])

    def _do_input(self, data: bytes) -> None:
        """It has none."""

    def _do_kill(self, signum: int) -> None:
        self._tell("hit STOP; hit KILL" if signum == 9 else "hit TERM; hit CONT")

    def _do_census(self) -> None:
        if not self._looking:
            self._looking = True
            self._tell("see")

    def _do_leave(self, keep: bool, told: bool) -> None:
        self._tell("bye %d %d" % (keep, told))


def _number(word: str) -> int:
    """One that the kernel may have given; raises ValueError."""
    number = int(word)
    if not 0 <= number < 1 << 32:
        raise ValueError(word)
    return number
