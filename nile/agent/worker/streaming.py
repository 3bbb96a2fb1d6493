"""Streams at one worker: what is recorded and served at the root, and a host's place in a chain.

Every message names the question `what` that began what it is about. Events of
a node (see reports) go on as answers to that question, those of a successor
with the number of the message that named it: `link`. So do an ssh's requests
for a signature, where ssh leads to that successor; `signed` answers them.
"""

import os

from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Applying
from nile.agent.worker.chain import Node
from nile.agent.worker.copies import meant
from nile.agent.worker.hashing import BLAKE2B
from nile.agent.worker.lookup import EVERYWHERE
from nile.agent.worker.meeting import Dial
from nile.agent.worker.sealing import Tls
from nile.agent.worker.streams import File
from nile.agent.worker.underway import COME_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

    from nile.agent.worker.applying import Fed
    from nile.agent.worker.chain import Way
    from nile.agent.worker.downstream import Head
    from nile.agent.worker.loop import Loop
    from nile.agent.worker.meeting import Met
    from nile.agent.worker.reports import Event, Progress, Result
    from nile.agent.worker.running import Ending
    from nile.agent.worker.taping import Tape
    from nile.agent.worker.trees import Source
    from nile.agent.worker.tunnel import Tunnel

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]

LOOPBACK = "127.0.0.1"
ALIVE_S = 10.0  # between two words that rsync is at it
MOVE = 100  # things that rsync has done count for as many, however few they were
REACH_S = 6.0  # for a neighbour to be found: it waits already


class Seat:
    """A host's place in a chain: a node, and rsync that applies what comes. The root's applies nothing.

    (Where there is no rsync, a child of ours stands for it, and unpacks an archive.)
    It is over when both are, and says so once. Where the stream is hashed, rsync gets the end of it only
    once `confirm` has brought the root's digest, and that is ours. With another one it is `corrupt`, and
    so it is if rsync ends well before that. A stream may have been forged to have a second end before its
    own: then files of the copy may have a content that isn't the source's, though size and time are, and
    only a look at contents finds them.
    """

    def __init__(self, loop: "Loop", number: int, say: "Say") -> None:
        self._loop = loop
        self._number = number
        self._say = say
        self._link = 0
        self._tunnel: "Optional[Tunnel]" = None  # the last that led, or is to lead, to a successor
        self._alive = float("-inf")  # when that was said
        self._moves = 0
        self._complete = False
        self._hashed = ""  # by what
        self._digest = self._expected = b""
        self._node: "Optional[Node]" = None
        self._applying: "Optional[Fed]" = None
        self._result: "Optional[Result]" = None
        self._ending: "Optional[Ending]" = None
        self._idle: "Optional[Callable[[], None]]" = None

    def serve(self, file: File, tls: "Optional[Tls]") -> None:
        """Be the first one."""
        self._node = Node(self._loop, file, -1, self._told, self._node_done, tls=tls)

    def join(
        self,
        rsync: "Optional[rsyncs.Rsync]",
        message: "Message",
        dest: bytes,
        basis: bytes,
        tls: "Optional[Tls]",
    ) -> int:
        """Apply what comes, and pass it on; the port at which the predecessor is awaited.

        Files are linked to those in `basis` where they are the same. Raises rsync.Refusal, OSError.
        """
        recorded = message["recorded"]
        head: "Optional[Head]" = None
        if recorded.get("archive"):
            from nile.agent.worker.unpacking import Unpacking  # only hosts without rsync need it

            copy = meant(message, frozenset())
            self._applying = Unpacking(self._loop, copy, dest, self._applied, self._moved)
        else:
            assert rsync is not None
            copy, version = meant(message, frozenset(recorded["has"])), tuple(recorded["version"])
            copy.link_dest = basis
            head = (rsyncs.HEAD, lambda begun: rsyncs.wrong_head(begun, copy))
            self._applying = Applying(self._loop, rsync, copy, dest, version, self._applied, self._moved)
        self._hashed = message.get("hashed", BLAKE2B)
        try:
            self._node = Node(
                self._loop,
                message["ring"],
                self._applying.stdin,
                self._told,
                self._node_done,
                self._progress,
                tls=tls,
                hashed=self._hashed,
                head=head,
            )
        except BaseException:  # no memory for its ring, say
            os.close(self._applying.stdin)
            self._applying.abort()
            raise
        try:
            return self.await_predecessor(message)
        except OSError:
            self.stop()
            raise

    @property
    def begun(self) -> bool:
        """Is there a node, or was there one?"""
        return self._node is not None or self._result is not None

    def await_predecessor(self, message: "Message") -> int:
        """Where a predecessor is awaited from now on; raises ValueError if none is needed any more."""
        if self._node is None or self._complete:
            raise ValueError("it has everything")
        loopback = message.get("loopback", False)  # ssh leads there, and seals what comes
        address, deadline = LOOPBACK if loopback else EVERYWHERE, self._loop.now() + COME_S
        return self._node.predecessor(address, message["secret"], deadline, not loopback)

    def successor(self, message: "Message") -> None:
        """Pass it on to that one."""
        if self._node is not None:
            self._link = message["n"]
            deadline = self._loop.now() + REACH_S
            where = (message["address"], message["port"], message["secret"])
            self._node.successor(*where, deadline=deadline, lead=self._other_way(message))

    def _other_way(self, message: "Message") -> "Optional[Callable[[Met], Way]]":
        """By ssh, where a login to the host is given; or in the clear to a port of ours that leads there."""
        loop, port, secret = self._loop, message["port"], message["secret"]
        login = message.get("login")
        if login is None and not message.get("loopback"):
            return None

        def ask(serial: int, binds: "List[bytes]", request: bytes) -> None:
            words = {"serial": serial, "binds": binds, "request": request}
            self._say(self._number, {"link": message["n"], "more": True, **words})

        def lead(met: "Met") -> "Way":
            if login is None:
                return Dial(loop, LOOPBACK, port, secret, loop.now() + REACH_S, met)
            from nile.agent.worker.tunnel import Tunnel  # few need it, and what it is made of

            deadline = loop.now() + login["connect"] + REACH_S
            self._tunnel = Tunnel(loop, login, port, secret, deadline, ask, met)
            return self._tunnel

        return lead

    def signed(self, message: "Message") -> None:
        """What the root says to a request for a signature."""
        if self._tunnel is not None and message["link"] == self._link:
            self._tunnel.answer(message["serial"], message["answer"], message["refused"])

    def last(self) -> None:
        """Pass it on to nobody."""
        if self._node is not None:
            self._node.last()

    def confirm(self, digest: bytes) -> None:
        """That is the digest of the root's stream. May come before the end does."""
        self._expected = digest
        self._compare()

    def _compare(self) -> None:
        if self._node is None or not self._digest or not self._expected:
            return
        same = self._digest == self._expected
        self._node.confirm("" if same else "it isn't the stream of the root")

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
        self._say(self._number, fields)
        if self._applying is None and event.kind == "successor" and event.code not in ("", "through"):
            self.stop(self._idle)  # the root's serves this one only
        elif event.kind == "end":
            self._complete = True
            self._digest = event.digest
            self._compare()

    def _progress(self, progress: "Progress") -> None:
        self._say(self._number, {"progress": progress.fields(), "more": True})

    def _node_done(self, result: "Result") -> None:
        self._node, self._result = None, result
        if self._applying is not None and result.code and self._ending is None:
            self._applying.abort()  # before it takes the end of its input for that of the stream
        self._perhaps_over()

    def _moved(self) -> None:
        now = self._loop.now()
        self._moves += MOVE
        if now - self._alive >= ALIVE_S:
            self._alive = now
            self._say(self._number, {"alive": True, "done": self._moves, "more": True})

    def _applied(self, ending: "Ending") -> None:
        self._ending = ending
        if self._hashed and not ending.code and not (self._digest and self._digest == self._expected):
            ending.instead(
                "corrupt", "what applies it came to an end before the stream was known to be the root's"
            )
            if self._node is not None:
                self._node.stop()
                return
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

    def record(self, message: "Message", rsync: "Optional[rsyncs.Rsync]", source: "Source") -> None:
        """Record what a copy would send. Raises OSError where nothing can be spooled."""
        from nile.agent.worker.taping import Tape  # no host has one

        number = message["n"]
        self._tapes[number] = Tape(
            self._loop,
            rsync,
            message,
            source,
            self._changed,
            lambda fields: self._say(number, fields),
        )

    def serve(self, message: "Message") -> None:
        """Begin a chain with what is recorded."""
        tape, tls = self._tapes.get(message["what"]), self._sealed(message)
        if tape is None:  # it couldn't be begun, or is forgotten
            self._say(message["n"], {"code": "aborted", "reason": "there is nothing recorded", "sent": 0})
            return
        seat = self._seat(message["n"])
        seat.serve(tape.file, tls)
        seat.successor(message)

    def forget(self, number: int) -> None:
        """Nobody needs this recording any more."""
        tape = self._tapes.pop(number, None)
        if tape is not None:
            tape.stop(tape.close)

    # At a host.

    def join(
        self, message: "Message", rsync: "Optional[rsyncs.Rsync]", dest: bytes, basis: bytes = b""
    ) -> "Message":
        """Take a place in a chain; answers with the port at which the predecessor is awaited."""
        number, tls = message["n"], self._sealed(message)
        seat = self._seat(number)
        try:
            return {"port": seat.join(rsync, message, dest, basis, tls), "more": True}
        except rsyncs.Refusal as refusal:
            return {"code": refusal.code, "reason": refusal.reason}
        finally:
            if not seat.begun:  # it will never say that it is over
                del self._seats[number]

    def predecessor(self, message: "Message") -> "Message":
        """Await another one; answers with the port, or that none is needed."""
        seat = self._seats.get(message["what"])
        try:
            return {"port": seat.await_predecessor(message)} if seat is not None else {}
        except ValueError:
            return {}

    def successor(self, message: "Message") -> None:
        """Pass it on to another one."""
        seat = self._seats.get(message["what"])
        if seat is not None:
            seat.successor(message)

    def signed(self, message: "Message") -> None:
        """What becomes of a request for a signature."""
        seat = self._seats.get(message["what"])
        if seat is not None:
            seat.signed(message)

    def last(self, number: int) -> None:
        """Pass it on to nobody."""
        seat = self._seats.get(number)
        if seat is not None:
            seat.last()

    def confirm(self, message: "Message") -> None:
        """What the digest of the root's stream is."""
        seat = self._seats.get(message["what"])
        if seat is not None:
            seat.confirm(message["digest"])

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
