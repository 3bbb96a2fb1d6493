"""One recording at the root's worker: made once, kept in a file, and sent on by any number of chains."""

import os
import sys

from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.archiving import FEATURES, Archiving
from nile.agent.worker.copies import meant
from nile.agent.worker.hashing import BLAKE2B
from nile.agent.worker.meeting import Dial
from nile.agent.worker.pushing import helper
from nile.agent.worker.receiving import Receive
from nile.agent.worker.recording import Recording, Spool, Spooled, dispose, own_directory
from nile.agent.worker.standstill import done_by
from nile.agent.worker.streams import File
from nile.agent.worker.underway import COME_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from typing import Any, Callable, Dict, List, Optional, Tuple, Union

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.running import Ending
    from nile.agent.worker.trees import Source

    Message = Dict[str, Any]

PACE_S = 0.1  # between two looks at a stream that is to go slowly
TOLD_S = 0.5  # between two words on how much is recorded
LOOK_S = 5.0  # between two looks at whether whoever records does anything, while nothing comes
READ_STEP = 512 * 1024  # bytes recorded after which the chain is told


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
    """One recording at the root: into a spool, which a chain has as a file. Raises OSError, FullError."""

    def __init__(
        self,
        loop: "Loop",
        rsync: "Optional[rsyncs.Rsync]",
        message: "Message",
        source: "Source",
        changed: "Callable[[], List[bytes]]",
        say: "Callable[[Message], None]",
    ) -> None:
        self._loop = loop
        self._installed = rsync
        self._message = message
        self._source = source
        self._changed = changed
        self._say = say
        self._told_s = 0.0
        self._pace = Pace(message["limit"] * 1024, loop.now())
        self._timer = -1
        self._done: "Tuple[int, ...]" = ()  # by whoever records
        self._looking = loop.at(loop.now() + LOOK_S, self._look)
        self._way: "Union[Dial, Spooled, None]" = None
        self._empty: "Optional[Receive]" = None
        self._idle: "Optional[Callable[[], None]]" = None
        self._local = b""
        directory = os.fsencode(spool_directory())
        self._spool = Spool(directory, self._grown, message.get("hashed", BLAKE2B))
        self.file = File(self._spool.fd)
        try:
            if message.get("archive"):
                self._archive()
            elif message["address"]:
                self._dial(message["address"], message["port"])
            else:
                self._record_against_nothing(directory)
        except OSError:
            self.stop(self.close)
            raise

    @property
    def _rsync(self) -> rsyncs.Rsync:
        assert self._installed is not None
        return self._installed

    def _archive(self) -> None:
        """What hosts get that have no rsync; as much of it as ours would take."""
        has = FEATURES if self._installed is None else FEATURES & self._installed.has
        self._way = Archiving(self._loop, self._source, has, self._spool, self._changed, self._over)

    def _record_against_nothing(self, directory: bytes) -> None:
        """What hosts get that have nothing yet: an empty directory here stands for theirs."""
        self._local = own_directory(directory)
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
        only = message.get("only", b"")
        sources, names = self._source.paths, b""
        if only:
            sources, names = [self._source.base], self._source.named(only)
        try:
            argv = rsyncs.client_argv(
                self._rsync, copy, sources, message["dest"], helper(), tuple(peer["version"]), True
            )
            self._way = Recording(
                self._loop, argv, connection, self._spool, self._changed, self._over, names=names
            )
        except (OSError, ValueError) as error:
            connection.close()
            self._fail("copy", "rsync can't be begun: %s" % error, False)

    def _fail(self, code: str, reason: str, retry: bool) -> None:
        self._spool.abort(reason)
        self._say({"code": code, "reason": reason, "retry": retry, "sent": 0})
        self._part()

    def _over(self, ending: "Ending") -> None:
        self._way = None
        fields: "Message" = dict(ending.trouble(), sent=ending.sent)
        if not ending.code:
            fields.update(total=self._spool.total)
            if self._spool.digest:
                fields.update(digest=self._spool.digest)
        self._say(fields)
        self._part()

    def _received(self) -> None:
        self._empty = None
        self._part()

    def _part(self) -> None:
        """Nothing of the recording itself is left, or not much."""
        if self._way is None and self._empty is None:
            self._loop.forget(self._looking)
            if self._local:
                dispose(self._local)
            idle, self._idle = self._idle, None
            if idle is not None:
                idle()

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
            self._tell()

    def _tell(self) -> None:
        self._told_s = self._loop.now()
        self._say({"written": self._spool.written, "more": True})

    def _look(self) -> None:
        """It may take long until something comes: what is slow is looked at, file by file."""
        self._looking = self._loop.at(self._loop.now() + LOOK_S, self._look)
        pid = self._way.pid if isinstance(self._way, Spooled) else 0
        done = done_by(pid) if pid else self._done
        if done != self._done and self._loop.now() - self._told_s >= LOOK_S:
            self._tell()
        self._done = done

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


def spool_directory() -> str:
    """Where there is room: what is temporary and outlives a boot is on a disk, by hier(7)."""
    chosen = os.environ.get("TMPDIR", "/var/tmp")
    if os.access(chosen, os.W_OK | os.X_OK):
        return chosen
    import tempfile

    return tempfile.gettempdir()
