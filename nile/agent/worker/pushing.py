"""From a worker to another by rsync: the sender's side.

The worker runs rsync as its client. What rsync takes for a remote shell is a
few lines of Python that hand their stdin and stdout, rsync's two pipe ends, to
the worker, and the words that rsync wants to have run over there. The worker
sends these words over the connection,

    length  u32   of the rest
    words         with a zero byte between them

and then moves bytes, both ways, until both ends are through.

**The gate.** Where the source is alive, nothing may change at the receiver
before the whole source was read and seen unchanged. rsync has a moment for
that. With --delay-updates its receiver renames what came when it has the
second "done" of the sender (one for each of two rounds: the second repeats
what came damaged); what is to be deleted (--delete-delay) follows after a
third. The sender prints "send_files phase=2" when it has read everything that
it will read, and *then* writes that second "done". So bytes pass freely, but
each of them only after it was seen that nothing of the kind had been printed
before it was read here; once it was, they are held, and one call of the gate
decides: let everything pass from now on, or kill.

What rsync does without data, it does before that, and a gate can't help it:
new directories, symbolic links, special files and further names of a file that
is as it should be; changed owners, modes and times; and what stands where
something of another type is to come goes.
"""

import _socket as socket
import fcntl
import os
import select
import struct
import sys

from nile.agent.worker.running import Ending, Running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional

    from nile.agent.worker.loop import Loop

    Gate = Callable[[], "List[bytes]"]
    Done = Callable[[Ending], None]
    Progress = Callable[[int, int], None]

CHUNK = 128 * 1024  # takes a quarter less time than half of it
MOST_WORDS = 64 * 1024  # bytes of the words that rsync wants to have run
LEAVE_S = 10.0  # for rsync to end once the connection has
PROGRESS_S = 0.25  # between two reports
_SECOND_ROUND = b"send_files phase=1"
_ALL_READ = b"send_files phase=2"
# A "done" alone in a message of rsync's protocol (from 30 on): four bytes of head, and a zero.
_DONE = b"\x01\x00\x00\x07\x00"
# Hands over what it has, holds nothing open itself, and ends as it is told.
_HELPER = """import _socket as s, os, sys
w = b"\\0".join(map(os.fsencode, sys.argv[2:]))
c = s.socket(s.AF_UNIX, s.SOCK_STREAM, 0, 3)
n = len(w).to_bytes(4, "big")
c.sendmsg([n], [(s.SOL_SOCKET, s.SCM_RIGHTS, b"".join(i.to_bytes(4, sys.byteorder) for i in (0, 1)))])
while w: w = w[c.send(w):]
os.close(0)
os.close(1)
e = c.recv(1)
os._exit(e[0] if e else 255)"""


def helper() -> "List[str]":
    """What rsync is to run as its remote shell."""
    return [sys.executable, "-I", "-S", "-c", _HELPER]


class Way:
    """One direction of a pump: from a descriptor to another, at most one chunk at a time in between."""

    def __init__(self, source: "Callable[[], bytes]", sink: "Callable[[bytes], int]") -> None:
        """`source()` reads (b"" at the end), `sink(data)` writes what it can; both as a socket does."""
        self._source = source
        self._sink = sink
        self._pending = b""
        self.moved = 0
        self.ended = False  # nothing more comes

    @property
    def reads(self) -> bool:
        """Is there room for more?"""
        return not self.ended and not self._pending

    @property
    def writes(self) -> bool:
        """Is there something to go?"""
        return bool(self._pending)

    @property
    def through(self) -> bool:
        """Has everything passed?"""
        return self.ended and not self._pending

    def read(self) -> bytes:
        """Take what is there, if there is room: that, or b"" (see `ended`). An error is an end."""
        if not self.reads:
            return b""
        try:
            self._pending = self._source()
        except BlockingIOError:
            return b""
        except OSError:
            self._pending = b""
        self.ended = not self._pending
        return self._pending

    def write(self) -> None:
        """Pass on what goes. Where nobody takes it any more, it is lost, and this is the end."""
        if not self.writes:
            return
        try:
            count = self._sink(self._pending)
        except BlockingIOError:
            return
        except OSError:
            self._pending, self.ended = b"", True
            return
        self._pending = self._pending[count:]
        self.moved += count


class Phase:
    """How far the sender is, by what it prints: in the `second` round, or `all_read`."""

    def __init__(self) -> None:
        self._line = b""
        self.second = False
        self.all_read = False

    def feed(self, data: bytes) -> None:
        """It printed that. A name can't look like such a line: rsync prints no newline of a name."""
        lines = (self._line + data).split(b"\n")
        self._line = lines.pop()[-4096:]
        for line in lines:
            self.second = self.second or line == _SECOND_ROUND
            self.all_read = self.all_read or line == _ALL_READ


class Push:
    """One push. `done(ending)` is called once, when nothing of it is left.

    Beside the codes of `running`: `source-changed` (`names` says which; nothing
    was renamed or deleted at the receiver), `stopped`, `no-rsync`, and
    `protocol` for an rsync that doesn't say how far it is.
    """

    def __init__(
        self,
        loop: "Loop",
        argv: "List[str]",
        connection: socket.socket,
        done: "Done",
        gate: "Optional[Gate]" = None,
        progress: "Optional[Progress]" = None,
    ) -> None:
        """`argv` is of `rsync.client_argv`, with `helper()`, and phases if there is a gate.

        `connection` is a non-blocking socket of a meeting; it is ours from now on, and closed.
        """
        self._loop = loop
        self._connection = connection
        self._done = done
        self._gate = gate
        self._progress = progress
        self._told = 0.0
        self._timer = -1
        self._phase = Phase()
        self._cause: "Optional[Ending]" = None  # if it isn't rsync's own
        self._running: "Optional[Running]" = None
        self._ends: "List[int]" = []  # rsync's: to read from, to write to
        self._masks: "Dict[int, int]" = {}
        self._out = Way(lambda: b"", self._connection.send)
        self._in = Way(lambda: self._connection.recv(CHUNK), lambda _: 0)
        self._asked = b""
        self._helper, theirs = socket.socketpair()
        self._helper.setblocking(False)
        self._stdout, stdout = os.pipe()
        os.set_blocking(self._stdout, False)
        # The number that it has here must not be the one that it shall have there.
        handed = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
        theirs.close()
        self._start(argv, [os.open(os.devnull, os.O_RDONLY), stdout, handed])

    def _start(self, argv: "List[str]", fds: "List[int]") -> None:
        try:
            self._running = Running(self._loop, argv, fds, self._over)
        except OSError as error:
            reason = "%s can't be run: %s" % (argv[0], error.strerror)
            self._cause = Ending("no-rsync", reason)
            self._loop.at(self._loop.now(), lambda: self._over(Ending("", "")))
        finally:
            for fd in fds:
                os.close(fd)
        self._loop.watch(self._helper.fileno(), select.POLLIN, self._introduced)
        self._loop.watch(self._stdout, select.POLLIN, self._printed)

    @property
    def pid(self) -> int:
        """rsync, as long as it runs; 0: it doesn't."""
        return self._running.pid if self._running is not None else 0

    def stop(self, cause: "Optional[Ending]" = None) -> None:
        """End it at once; `done` is called with `stopped`, or this cause."""
        self._kill(cause or Ending("stopped", "it was told to stop"))

    def _kill(self, cause: Ending) -> None:
        self._cause = self._cause or cause
        self._loop.unwatch(self._helper.fileno())
        if self._running is not None:
            self._running.kill()
        self._close_pump()

    # The helper

    def _introduced(self, _: int) -> None:
        """The helper speaks: its first word brings rsync's two ends, the rest what is to be run."""
        try:
            data, rights, _flags, _from = self._helper.recvmsg(MOST_WORDS, socket.CMSG_SPACE(8))
        except BlockingIOError:
            return
        except OSError:
            data, rights = b"", []
        for level, kind, body in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                count = len(body) // 4
                self._ends += struct.unpack_from("%di" % count, body)
        self._asked += data
        if not data:
            self._loop.unwatch(self._helper.fileno())
        elif len(self._asked) >= 4 and len(self._asked) - 4 >= struct.unpack_from("!I", self._asked)[0]:
            self._begin(self._asked[4:])

    def _begin(self, asked: bytes) -> None:
        """Send the words on (the helper left the host out), and let bytes move."""
        words = asked.split(b"\0")
        if len(self._ends) != 2 or words[:2] != [b"rsync", b"--server"]:
            self._kill(Ending("protocol", "this rsync asks for something else than an rsync --server"))
            return
        self._loop.unwatch(self._helper.fileno())  # it says nothing more
        for end in self._ends:
            os.set_blocking(end, False)
        words_first = [struct.pack("!I", len(asked)) + asked]
        from_rsync, to_rsync = self._ends
        self._out = Way(
            lambda: words_first.pop() if words_first else os.read(from_rsync, CHUNK), self._connection.send
        )
        self._in = Way(lambda: self._connection.recv(CHUNK), lambda data: os.write(to_rsync, data))
        self._out.read()
        self._out.write()
        self._settle()

    # The pump

    def _from_peer(self, events: int) -> None:
        """The connection can be read, or written, or is broken."""
        if events & select.POLLOUT:
            self._out.write()
        if events & ~select.POLLOUT:
            self._in.read()
            self._in.write()
        self._settle()

    def _from_rsync(self, _: int) -> None:
        chunk = self._out.read()
        if self._gate is None or self._may_pass(chunk):
            self._out.write()
        self._settle()

    def _to_rsync(self, _: int) -> None:
        self._in.write()
        self._settle()

    def _settle(self) -> None:
        """After a move: pass on ends, wait for the next."""
        if self._ends:
            self._pass_on_ends()
        if self._ends:
            self._watch()
            self._tell()

    def _watch(self) -> None:
        """Wait for what can go on. What nobody waits for isn't watched: poll would tell its end forever."""
        mask = (select.POLLIN if self._in.reads else 0) | (select.POLLOUT if self._out.writes else 0)
        self._watch_one(self._connection.fileno(), mask, self._from_peer)
        self._watch_one(self._ends[0], select.POLLIN if self._out.reads else 0, self._from_rsync)
        self._watch_one(self._ends[1], select.POLLOUT if self._in.writes else 0, self._to_rsync)

    def _watch_one(self, end: int, mask: int, handler: "Callable[[int], None]") -> None:
        if self._masks.get(end, 0) == mask:
            return
        self._masks[end] = mask
        if mask:
            self._loop.watch(end, mask, handler)
        else:
            self._loop.unwatch(end)

    def _pass_on_ends(self) -> None:
        if self._out.through:
            _shut(self._connection)
        if self._in.through:
            # The other side is through with it: rsync reads the end, and its shell has ended.
            self._close_pump()
            self._dismiss_helper()

    def _dismiss_helper(self) -> None:
        try:
            self._helper.send(b"\0")
        except OSError:
            pass  # it was killed
        if self._running is not None and self._timer < 0:
            self._timer = self._loop.at(self._loop.now() + LEAVE_S, self._running.kill)

    def _tell(self) -> None:
        now = self._loop.now()
        if self._progress is not None and now - self._told >= PROGRESS_S:
            self._told = now
            self._progress(self._out.moved, self._in.moved)

    # The gate

    def _printed(self, _: int) -> None:
        self._listen()
        if self._gate is not None and self._phase.all_read and self._ends:
            self._open_gate()

    def _listen(self) -> None:
        """Read all that rsync has printed so far."""
        while self._stdout >= 0:
            try:
                data = os.read(self._stdout, CHUNK)
            except BlockingIOError:
                return
            self._phase.feed(data)
            if not data:
                self._loop.unwatch(self._stdout)
                os.close(self._stdout)
                self._stdout = -1

    def _may_pass(self, chunk: bytes) -> bool:
        """May this chunk, just read, go? If not, all is over."""
        self._listen()
        if self._phase.all_read:
            return self._open_gate()
        if chunk == _DONE and not self._phase.second:
            # Its words don't come, or not in time: there would be no telling when to look.
            self._kill(Ending("protocol", "this rsync doesn't say how far it is"))
            return False
        return True

    def _open_gate(self) -> bool:
        """Everything was read: look at the source; True if it may go on, from now on without a gate."""
        gate, self._gate = self._gate, None
        changed = gate() if gate is not None else []
        if changed:
            cause = Ending("source-changed", "the source changed while it was read")
            cause.names = list(changed)
            self._kill(cause)
        return not changed

    # The end

    def _close_pump(self) -> None:
        for end in self._ends:
            self._loop.unwatch(end)
            os.close(end)
        self._ends = []
        if self._connection.fileno() < 0:
            return
        if not self._in.through:
            # The other side hears of it now, not once it has read all that is on the way.
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._loop.unwatch(self._connection.fileno())
        self._connection.close()

    def _over(self, ended: Ending) -> None:
        """rsync is gone: whatever is left of it is closed."""
        self._running = None
        self._loop.forget(self._timer)
        self._close_pump()
        self._loop.unwatch(self._helper.fileno())
        self._helper.close()
        if self._stdout >= 0:
            self._loop.unwatch(self._stdout)
            os.close(self._stdout)
        if self._cause is not None:
            names = self._cause.names
            ended.instead(self._cause.code, self._cause.reason, self._cause.retry)
            ended.names = names or ended.names
        ended.sent, ended.received = self._out.moved, self._in.moved
        self._done(ended)


def _shut(connection: socket.socket) -> None:
    """Nothing more is written to it; it may be gone already."""
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass
