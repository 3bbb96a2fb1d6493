"""Streams at one worker: what is recorded and served at the root, and a host's place in a chain.

Every message names the question `what` that began what it is about. Events of
a node (see reports) go on as answers to that question, those of a successor
with the number of the message that named it: `link`.
"""

import os
import shutil
import sys
import tempfile

from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Applying
from nile.agent.worker.chain import Node
from nile.agent.worker.copies import COME_S, meant
from nile.agent.worker.meeting import Dial
from nile.agent.worker.pushing import helper
from nile.agent.worker.receiving import Receive
from nile.agent.worker.recording import Recording, Spool
from nile.agent.worker.sealing import Tls
from nile.agent.worker.streams import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Callable, Dict, List, Optional, Union

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.reports import Event, Progress, Result
    from nile.agent.worker.running import Ending

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]

REACH_S = 6.0  # for a neighbour to be found: it waits already
PACE_S = 0.1  # between two looks at a stream that is to go slowly
TOLD_S = 0.5  # between two words on how much is recorded
READ_STEP = 512 * 1024  # bytes recorded after which the chain is told
SPARE = 0.9  # of what is free where it is spooled: more isn't taken


class Pace:
    """How far a stream may go that has so many bytes a second; 0: as far as it can."""

    def __init__(self, rate: int, began: float) -> None:
        self._rate = rate
        self._began = began
        self.step = int(rate * PACE_S) if rate else READ_STEP

    def until(self, now: float) -> int:
        """The offset up to which it may go now."""
        return int(self._rate * (now - self._began)) if self._rate else sys.maxsize


class Tape:
    """One recording at the root: into a spool, which a chain has as a file."""

    def __init__(
        self,
        loop: "Loop",
        rsync: rsyncs.Rsync,
        message: "Message",
        sources: "List[bytes]",
        changed: "Callable[[], List[bytes]]",
        say: "Callable[[Message], None]",
    ) -> None:
        self._loop = loop
        self._rsync = rsync
        self._message = message
        self._sources = sources
        self._changed = changed
        self._say = say
        self._told_s = 0.0
        self._pace = Pace(message["limit"] * 1024, loop.now())
        self._timer = -1
        self._way: "Union[Dial, Recording, None]" = None
        self._empty: "Optional[Receive]" = None
        self._idle: "Optional[Callable[[], None]]" = None
        self._local = b""
        directory = os.fsencode(spool_directory())
        free = os.statvfs(directory)
        most = int(free.f_bavail * free.f_frsize * SPARE)
        self._spool = Spool(directory, most, self._grown)
        self.file = File(self._spool.fd)
        if message["address"]:
            self._dial(message["address"], message["port"])
        else:
            self._record_against_nothing(directory)

    def _record_against_nothing(self, directory: bytes) -> None:
        """What hosts get that have nothing yet: an empty directory here stands for theirs."""
        self._local = tempfile.mkdtemp(prefix=b".nile-sync-", dir=directory)
        message = self._message
        dest = os.path.join(self._local, b"copy")
        self._empty = Receive(
            self._loop,
            self._rsync,
            dest,
            message["temporary"],
            "127.0.0.1",
            message["secret"],
            self._loop.now() + COME_S,
            lambda _: self._received(),
        )
        self._message = dict(message, dest=dest)
        self._dial("127.0.0.1", self._empty.port)

    def _dial(self, address: str, port: int) -> None:
        deadline = self._loop.now() + COME_S
        self._way = Dial(self._loop, address, port, self._message["secret"], deadline, self._met)

    def _met(self, connection: "Optional[socket.socket]", code: str, reason: str) -> None:
        message = self._message
        self._way = None
        if connection is None:
            self._fail(code, reason, True)
            return
        peer = message["peer"] or {"version": list(self._rsync.version), "has": sorted(self._rsync.has)}
        copy = meant(message, self._rsync.has.intersection(peer["has"]))
        try:
            argv = rsyncs.client_argv(
                self._rsync, copy, self._sources, message["dest"], helper(), tuple(peer["version"]), True
            )
            self._way = Recording(self._loop, argv, connection, self._spool, self._changed, self._over)
        except (OSError, ValueError) as error:
            connection.close()
            self._fail("copy", "rsync can't be begun: %s" % error, False)

    def _fail(self, code: str, reason: str, retry: bool) -> None:
        self._spool.abort(reason)
        self._say({"code": code, "reason": reason, "retry": retry, "sent": 0})
        self._part()

    def _over(self, ending: "Ending") -> None:
        self._way = None
        fields: "Message" = {"sent": ending.sent}
        if ending.code:
            fields.update(code=ending.code, reason=ending.said(), retry=ending.retry)
        else:
            fields.update(total=self._spool.total)
        self._say(fields)
        self._part()

    def _received(self) -> None:
        self._empty = None
        self._part()

    def _part(self) -> None:
        """Nothing of the recording itself is left, or not much."""
        if self._way is None and self._empty is None:
            if self._local:
                shutil.rmtree(self._local, ignore_errors=True)
            if self._idle is not None:
                self._idle()

    def _grown(self) -> None:
        """The spool may be sent on further; to look at every step would cost more than it gains."""
        spool, file, now = self._spool, self.file, self._loop.now()
        may = self._pace.until(now)
        if spool.aborted:
            file.abort(spool.aborted)
        elif spool.total is not None and spool.total <= may:
            file.finish(spool.total)
        elif min(spool.limit, may) - file.head >= min(READ_STEP, self._pace.step):
            file.limit(min(spool.limit, may))
        if may < spool.limit and self._timer < 0 and not spool.aborted:
            self._timer = self._loop.at(now + PACE_S, self._later)
        if now - self._told_s >= TOLD_S and spool.total is None:
            self._told_s = now
            self._say({"written": spool.written, "more": True})

    def _later(self) -> None:
        self._timer = -1
        self._grown()

    def stop(self, idle: "Callable[[], None]") -> None:
        """End it; `idle()` is called once nothing of it is left."""
        self._idle = idle
        self._loop.forget(self._timer)
        self._timer = 0  # it is looked at no more
        way = self._way
        if isinstance(way, Dial):
            way.close()
            self._way = None
        elif way is not None:
            way.stop()
        if self._empty is not None:
            self._empty.stop()
        self._part()

    def close(self) -> None:
        """Give the room back."""
        self.file.abort("it is over")
        self._spool.close()


class Seat:
    """A host's place in a chain: a node, and rsync that applies what comes. The root's applies nothing.

    It is over when both are, and says so once.
    """

    def __init__(self, loop: "Loop", number: int, say: "Say") -> None:
        self._loop = loop
        self._number = number
        self._say = say
        self._link = 0
        self._complete = False
        self._node: "Optional[Node]" = None
        self._applying: "Optional[Applying]" = None
        self._result: "Optional[Result]" = None
        self._ending: "Optional[Ending]" = None
        self._idle: "Optional[Callable[[], None]]" = None

    def serve(self, file: File, tls: "Optional[Tls]") -> None:
        """Be the first one."""
        self._node = Node(self._loop, file, -1, self._told, self._node_done, tls=tls)

    def join(self, rsync: rsyncs.Rsync, message: "Message", dest: bytes, tls: "Optional[Tls]") -> int:
        """Apply what comes, and pass it on; the port at which the predecessor is awaited.

        Raises rsync.Refusal, OSError.
        """
        copy = meant(message, frozenset(message["recorded"]["has"]))
        self._applying = Applying(
            self._loop, rsync, copy, dest, tuple(message["recorded"]["version"]), self._applied
        )
        self._node = Node(
            self._loop,
            message["ring"],
            self._applying.stdin,
            self._told,
            self._node_done,
            self._progress,
            tls=tls,
        )
        return self.await_predecessor(message["secret"])

    def await_predecessor(self, secret: bytes) -> int:
        """Where a predecessor is awaited from now on; raises ValueError if none is needed any more."""
        if self._node is None or self._complete:
            raise ValueError("it has everything")
        return self._node.predecessor("0.0.0.0", secret, self._loop.now() + COME_S)

    def successor(self, message: "Message") -> None:
        """Pass it on to that one."""
        if self._node is not None:
            self._link = message["n"]
            deadline = self._loop.now() + REACH_S
            self._node.successor(message["address"], message["port"], message["secret"], deadline)

    def last(self) -> None:
        """Pass it on to nobody."""
        if self._node is not None:
            self._node.last()

    def stop(self, idle: "Optional[Callable[[], None]]" = None) -> None:
        """Leave the chain; what was applied so far is undone, since none of it has its name yet."""
        self._idle = idle
        if self._node is not None:
            self._node.stop()
        elif self._applying is not None and self._ending is None:
            self._applying.abort()

    def _told(self, event: "Event") -> None:
        fields: "Message" = {"event": event.fields(), "more": True}
        if event.kind == "successor":
            fields["link"] = self._link
        self._complete = self._complete or event.kind == "end"
        self._say(self._number, fields)

    def _progress(self, progress: "Progress") -> None:
        self._say(self._number, {"progress": progress.fields(), "more": True})

    def _node_done(self, result: "Result") -> None:
        self._node, self._result = None, result
        if self._applying is not None and result.code and self._ending is None:
            self._applying.abort()  # before it takes the end of its input for that of the stream
        self._perhaps_over()

    def _applied(self, ending: "Ending") -> None:
        self._ending = ending
        self._perhaps_over()

    def _perhaps_over(self) -> None:
        result, ending = self._result, self._ending
        if result is None or (self._applying is not None and ending is None):
            return
        fields: "Message" = {"sent": result.progress.sent}
        if ending is not None and ending.code and not (result.code and ending.code == "stopped"):
            fields.update(code=ending.code, reason=ending.said())
        elif result.code:
            fields.update(code=result.code, reason=result.reason)
        self._say(self._number, fields)
        if self._idle is not None:
            self._idle()


class Streaming:
    """`say(number, fields)` answers; `changed()` names what of the source changed since it was read."""

    def __init__(self, loop: "Loop", say: "Say", changed: "Callable[[], List[bytes]]") -> None:
        self._loop = loop
        self._say = say
        self._changed = changed
        self._tapes: "Dict[int, Tape]" = {}
        self._seats: "Dict[int, Seat]" = {}
        self._tls: "Optional[Tls]" = None
        self._stopping = 0

    # At the root.

    def record(self, message: "Message", rsync: rsyncs.Rsync, sources: "List[bytes]") -> None:
        """Record what a copy would send. Raises OSError where nothing can be spooled."""
        number = message["n"]
        self._tapes[number] = Tape(
            self._loop,
            rsync,
            message,
            sources,
            self._changed,
            lambda fields: self._say(number, fields),
        )

    def serve(self, message: "Message") -> None:
        """Begin a chain with what is recorded."""
        seat = self._seat(message["n"])
        seat.serve(self._tapes[message["what"]].file, self._sealed(message))
        seat.successor(message)

    def forget(self, number: int) -> None:
        """Nobody needs this recording any more."""
        tape = self._tapes.pop(number, None)
        if tape is not None:
            tape.stop(tape.close)

    # At a host.

    def join(self, message: "Message", rsync: rsyncs.Rsync, dest: bytes) -> "Message":
        """Take a place in a chain; answers with the port at which the predecessor is awaited."""
        number = message["n"]
        try:
            tls = self._sealed(message)
            port = self._seat(number).join(rsync, message, dest, tls)
        except rsyncs.Refusal as refusal:
            del self._seats[number]
            return {"code": refusal.code, "reason": refusal.reason}
        except OSError:
            if number in self._seats:
                self._seats[number].stop()
            raise
        return {"port": port, "more": True}

    def predecessor(self, message: "Message") -> "Message":
        """Await another one; answers with the port, or that none is needed."""
        seat = self._seats.get(message["what"])
        try:
            return {"port": seat.await_predecessor(message["secret"])} if seat is not None else {}
        except ValueError:
            return {}

    def successor(self, message: "Message") -> None:
        """Pass it on to another one."""
        seat = self._seats.get(message["what"])
        if seat is not None:
            seat.successor(message)

    def last(self, number: int) -> None:
        """Pass it on to nobody."""
        seat = self._seats.get(number)
        if seat is not None:
            seat.last()

    def leave(self, number: int) -> None:
        """Have no place in that chain any more."""
        seat = self._seats.get(number)
        if seat is not None:
            seat.stop()

    def _sealed(self, message: "Message") -> "Optional[Tls]":
        """How neighbours are met: all of a run have one identity, or none. Raises OSError without TLS."""
        if message["identity"] and self._tls is None:
            self._tls = Tls(message["identity"])
        return self._tls

    def _seat(self, number: int) -> Seat:
        def say(number: int, fields: "Message") -> None:
            if not fields.get("more"):
                self._seats.pop(number, None)
            self._say(number, fields)

        self._seats[number] = seat = Seat(self._loop, number, say)
        return seat

    # The end.

    def stop(self, idle: "Callable[[], None]") -> None:
        """End all of them; `idle()` is called once none is left."""
        ends: "List[Callable[[Callable[[], None]], None]]" = [seat.stop for seat in self._seats.values()]
        ends += [tape.stop for tape in self._tapes.values()]
        self._stopping = len(ends) + 1

        def one_less() -> None:
            self._stopping -= 1
            if not self._stopping:
                idle()

        for end in ends:
            end(one_less)
        one_less()


def spool_directory() -> str:
    """Where there is room: what is temporary and outlives a boot is on a disk, by hier(7)."""
    chosen = os.environ.get("TMPDIR", "/var/tmp")
    return chosen if os.access(chosen, os.W_OK | os.X_OK) else tempfile.gettempdir()
