"""One node of a chain: a stream comes in, is applied here, and goes on to the next one while it comes.

The root's node has the stream in a file, every other one from its predecessor,
and keeps the last bytes of it in a ring. A node never looks for a neighbour
itself: whoever decides tells it to await a predecessor, or where the successor
is. Both can be replaced at any time, and a broken connection ends nothing.

    root's file -> ring -> ring -> ring        a connection each; the last
                    |       |       |          one has no successor
                 applier applier applier

**Who waits for whom.** A predecessor sends only what was granted (see `ring`),
so a node can always read what comes, and an abort isn't stuck behind what
nobody takes. The applier may be a ring behind, the successor a quarter. When a
successor breaks, or another one is called, its place is kept for half a ring
and `hold_s`; after that, or after `last`, nobody waits for it. A node that was
told neither its successor nor that it is the last one waits to be told.

**The end.** The last HELD bytes are withheld from the applier until the end
has come and the hash was right: rsync renames with its last words. A node is
done when the applier has got everything and was closed, and the successor has
said that it has everything too. What it passes on further is its own business:
this node is free for other work (it will scan its copy), and if the successor
dies later, whoever has the file serves the next one. If the stream failed,
`done` is called *before* the applier's pipe is closed, so that it can be killed
first: it never takes a torn stream for a whole one.

**The digest.** What comes with the end is a CRC, which a predecessor that lies
makes as well. So a node of a chain that is hashed waits, with all that it
withholds, until whoever knows the root's digest has compared that to its own
(`confirm`). It passes the stream on without waiting for that, and meanwhile
its applier is to blame for nothing.
"""

from nile.agent.worker.downstream import Applier, Downstream
from nile.agent.worker.holding import WINDOW_S
from nile.agent.worker.meeting import Dial, Listener
from nile.agent.worker.reports import Clock, Event, Progress, Reporter, Result
from nile.agent.worker.ring import APPLIER, SUCCESSOR, Readers
from nile.agent.worker.streams import File, Received
from nile.agent.worker.upstream import Upstream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Optional, Tuple, Union

    from nile.agent.worker.downstream import Head
    from nile.agent.worker.loop import Loop
    from nile.agent.worker.meeting import Connection, Met
    from nile.agent.worker.sealing import Tls
    from nile.agent.worker.tunnel import Tunnel

    Way = Union[Dial, Tunnel]

    Told = Callable[[Event], None]
    Done = Callable[[Result], None]

HELD = 64 * 1024  # bytes that the applier gets only after the end was seen
HOLD_S = 5.0  # for another successor to be named
PROGRESS_S = 1.0  # between two reports
LEAST_RING = 4096  # bytes


class Node:
    """A node. `told(event)` says what happens, `done(result)` is called once, when nothing of it is left.

    `progress(progress)` is called every `progress_s`, while something moves or stands still. Over `held_s` it
    is looked whether it is held up.
    """

    def __init__(
        self,
        loop: "Loop",
        source: "Union[File, int]",
        applier: int,
        told: "Told",
        done: "Done",
        progress: "Optional[Callable[[Progress], None]]" = None,
        hold_s: float = HOLD_S,
        progress_s: float = PROGRESS_S,
        held_s: float = WINDOW_S,
        tls: "Optional[Tls]" = None,
        hashed: str = "",
        head: "Optional[Head]" = None,
    ) -> None:
        """`source`: the file, or the size of a ring in bytes; `applier`: a pipe, ours from now on, or -1.

        `tls`: what both neighbours have too; None: they are met in the clear. `hashed`: by what, and then the
        applier gets the end only after `confirm`. `head`: see `downstream.Applier`.
        """
        self._loop = loop
        self._told = told
        self._done = done
        self._hold_s = hold_s
        self._tls = tls
        self._confirmed = not hashed
        self._began = loop.now()
        self._clock = Clock(self._began)
        self._file = source if isinstance(source, File) else None
        size = LEAST_RING if isinstance(source, File) else max(LEAST_RING, source)
        self._stream: "Union[File, Received]" = self._file or Received(size, hashed)
        self._held = HELD if self._file else min(HELD, size // 4)
        self._ring = size
        self._readers = Readers(size)
        self._readers.awaited = 0
        self._listener: "Optional[Listener]" = None
        self._upstream: "Optional[Upstream]" = None
        self._dial: "Optional[Way]" = None
        self._downstream: "Optional[Downstream]" = None
        self._applier: "Optional[Applier]" = None
        self._hold = -1
        self._forwarded = self._sent = 0
        self._applied = self._passed = False
        self._failed = ("", "")
        self._moving = self._again = self._finished = False
        if applier >= 0:
            self._applier = Applier(
                loop, applier, self._stream, self._move, self._applier_failed, head, self.confirm
            )
        if self._file is not None:
            self._file.changed.append(self._move)
        self._reporter = Reporter(loop, self.progress, self._keeps, self._say, progress, progress_s, held_s)

    # What it is told to do

    def predecessor(self, address: str, secret: bytes, deadline: float, sealed: bool = True) -> int:
        """Await a predecessor at this address; the port. Once it came, it takes the place of the one before.

        Only the last call counts. Not `sealed`: it is met in the clear, as what leads here is sealed itself.
        Raises OSError where the address isn't ours; ValueError if all is over.
        """
        if self._finished or self._file is not None:
            raise ValueError("it needs no predecessor")
        if self._listener is not None:
            self._listener.close()
        tls = self._tls if sealed else None
        self._listener = Listener(self._loop, address, secret, deadline, self._met, tls)
        return self._listener.port

    def successor(
        self,
        address: str,
        port: int,
        secret: bytes,
        deadline: float,
        lead: "Optional[Callable[[Met], Way]]" = None,
    ) -> None:
        """Pass the stream on to whoever awaits us there, and no more to the one before.

        `lead` leads there by another way than to that address.
        """
        if self._finished or self._failed[0]:
            return
        self._leave_successor()
        self._readers.awaited = max(self._forwarded, self._stream.begin)
        if lead is not None:
            self._dial = lead(self._dialled)
        else:
            self._dial = Dial(self._loop, address, port, secret, deadline, self._dialled, self._tls)
        self._move()

    def last(self) -> None:
        """There is no successor, or no more."""
        if not self._finished and not self._failed[0]:
            self._leave_successor()
            self._move()

    def confirm(self, wrong: str = "") -> None:
        """The digest was compared; it is right, or `wrong` says why it is not: then it ends at once."""
        if wrong:
            self._finish("corrupt", wrong)
        else:
            self._confirmed = True
            self._move()

    def abort(self, reason: str) -> None:
        """Nothing of the stream may be used, here and further down."""
        self._fail("aborted", reason)

    def stop(self) -> None:
        """End it at once: `done` is called with `stopped`. To the neighbours it is as if it died."""
        self._finish("stopped", "it was told to stop")

    def progress(self) -> Progress:
        """How far it is now."""
        now = self._loop.now()
        self._clock.blame(now, self._clock.who)
        result = Progress()
        result.at = now - self._began
        result.received = self._stream.head
        result.applied = self._applier.applied if self._applier is not None else 0
        result.forwarded = self._forwarded
        result.sent = self._sent
        result.applier_s = self._clock.seconds[APPLIER]
        result.successor_s = self._clock.seconds[SUCCESSOR]
        return result

    # The predecessor

    def _met(self, connection: "Optional[Connection]", code: str, reason: str) -> None:
        self._listener = None
        if connection is not None:
            self._leave_predecessor()
            assert isinstance(self._stream, Received)
            self._upstream = Upstream(
                self._loop, connection, self._stream, self._readers.step, self._move, self._upstream_over
            )
        self._say("predecessor", code, reason, self._stream.head)
        self._move()

    def _upstream_over(self, code: str, reason: str) -> None:
        self._upstream = None
        if code == "end":
            if self._stream.total is None:
                self._stream.total = self._stream.head
                self._say("end", "", "", self._stream.head)
        elif code in ("abort", "corrupt"):
            self._fail("aborted" if code == "abort" else code, reason)
        else:
            self._say("predecessor", code, reason, self._stream.head)
        self._move()

    def _leave_predecessor(self) -> None:
        """None is awaited, and whoever is there is left."""
        listener, self._listener = self._listener, None
        upstream, self._upstream = self._upstream, None
        for way in (listener, upstream):
            if way is not None:
                way.close()

    # The successor

    def _dialled(self, connection: "Optional[Connection]", code: str, reason: str) -> None:
        self._dial = None
        if connection is None:
            self._successor_over(code, reason)
        else:
            self._downstream = Downstream(
                self._loop, connection, self._stream, self._move, self._successor_over
            )

    def _successor_over(self, code: str, reason: str) -> None:
        """It is no more our successor: it has everything, or there will be another one, or it fares alone."""
        self._readers.awaited = None
        self._look_at_successor()
        if code == "through":
            self._forwarded = self._stream.head
            self._passed = True
        self._leave_successor()
        if code not in ("through", "gone", "aborted"):
            self._readers.awaited = max(self._forwarded, self._stream.begin)
            self._hold = self._loop.at(self._loop.now() + self._hold_s, self.last)
        if code != "aborted":
            self._say("successor", code, reason, self._forwarded)
        self._move()

    def _leave_successor(self) -> None:
        """Nobody is waited for, and whoever is there is left."""
        self._loop.forget(self._hold)
        self._hold = -1
        self._readers.awaited = self._readers.taken = None
        dial, self._dial = self._dial, None
        downstream, self._downstream = self._downstream, None
        for way in (dial, downstream):
            if way is not None:
                way.close()

    def _look_at_successor(self) -> None:
        """Take over how far it is. The first time that it says so, it was found."""
        downstream, readers = self._downstream, self._readers
        if downstream is None:
            return
        readers.taken = downstream.taken
        self._sent = downstream.sent
        if readers.taken is not None:
            self._forwarded = readers.taken
            if readers.awaited is not None:
                readers.awaited = None
                self._say("successor", "", "", self._forwarded)
                self._reporter.look()

    # The applier

    def _apply(self) -> None:
        """Give the applier what it may have; all of it only when all is known to be right."""
        applier, total = self._applier, self._stream.total
        if applier is None or not applier.open:
            return
        known = total is not None and self._confirmed
        applier.pump(total if total is not None and known else self._stream.head - self._held)
        self._readers.applied = applier.applied if applier.open else None
        if known and applier.open and applier.applied == total:
            applier.close()
            self._readers.applied = None
            self._applied = True
            self._say("applier", "", "", self._stream.head)

    def _applier_failed(self, reason: str) -> None:
        self._say("applier", "failed", reason, self._applier.applied if self._applier is not None else 0)

    # What follows of what

    def _say(self, kind: str, code: str, reason: str, offset: int) -> None:
        if not self._finished:
            digest = self._stream.digest if kind == "end" else b""
            self._told(Event(kind, code, reason, offset, digest))

    def _move(self) -> None:
        """Something changed: let everything go on that can. May be called from within."""
        self._again = True
        if self._moving:
            return
        self._moving = True
        try:
            while self._again and not self._finished:
                self._again = False
                self._move_once()
        finally:
            self._moving = False

    def _move_once(self) -> None:
        if self._stream.failed:
            self._fail("aborted", self._stream.failed)
        if not self._failed[0]:
            self._apply()
            if self._downstream is not None:
                self._downstream.pump()
            self._look_at_successor()
            self._grant()
        if not self._again:
            self._perhaps_done()

    def _grant(self) -> None:
        head = self._stream.head
        until, blame = self._readers.until(head)
        waits = self._downstream is not None or self._readers.awaited is not None
        if self._stream.total is not None:
            # Whatever the applier still has to do, it holds nobody up.
            blame = SUCCESSOR if waits and self._forwarded < head else ""
        elif self._file is not None:
            blame = SUCCESSOR if waits and self._sent < head else ""
        elif self._upstream is not None:
            self._upstream.allow(until, self._readers.ceiling(head))
        self._clock.blame(self._loop.now(), blame)

    def _keeps(self) -> "Tuple[Dict[str, int], bool]":
        """Who takes what we have, how much of it may be kept in a ring; is it the wire? For `Holdup.look`."""
        keeps, free = {}, False
        if self._applier is not None and self._applier.open:
            keeps[APPLIER] = 0
        if self._downstream is not None and self._readers.taken is not None:
            # Where we have no ring ourselves: it grants all of its own, or a quarter.
            keeps[SUCCESSOR] = self._ring if self._file is None else 4 * self._downstream.room
            free = self._downstream.free
        return keeps if not self._failed[0] else {}, free

    # The end

    def _fail(self, code: str, reason: str) -> None:
        """Nothing of the stream may be used: the successor is told, if there is one."""
        if self._finished or self._failed[0] or (self._stream.total is not None and not self._stream.failed):
            return
        self._failed = (code, reason)
        self._leave_predecessor()
        downstream, self._downstream = self._downstream, None
        self._leave_successor()
        self._downstream = downstream
        if downstream is not None:
            downstream.abort(reason)
        self._move()

    def _perhaps_done(self) -> None:
        if self._finished or self._downstream is not None:
            return
        if self._failed[0]:
            self._finish(*self._failed)
            return
        applying = self._applier is not None and self._applier.open
        if self._stream.total is not None and not applying and self._readers.awaited is None:
            self._finish("", "")

    def _finish(self, code: str, reason: str) -> None:
        if self._finished:
            return
        self._finished = True
        result = Result(code, reason, self.progress())
        result.total = self._stream.total
        result.applied = self._applied
        result.passed = self._passed
        self._reporter.stop()
        self._leave_predecessor()
        self._leave_successor()
        if self._file is not None:
            self._file.changed.remove(self._move)
        try:
            self._done(result)
        finally:
            if self._applier is not None:
                self._applier.close()
            self._stream.close()
