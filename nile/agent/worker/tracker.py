"""A tracker for the peers of a run: HTTP on this worker's loop, a request for each connection.

Nobody is waited for: a request has so many bytes and seconds, an answer too;
there are so many connections at a time, in all and from one address, and who
came first goes first. An address that isn't of the plan is told so, whatever it asks.
"""

import _socket as socket
import errno
import select

from nile.agent.worker import announcing
from nile.agent.worker.lookup import EVERYWHERE, listening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional

    from nile.agent.worker.announcing import Reply
    from nile.agent.worker.loop import Loop
    from nile.agent.worker.register import Register

MOST_REQUEST = 8192  # bytes, with all of its headers
REQUEST_S = 10.0  # for all of it to come
ANSWER_S = 60.0  # for the answer to go
FAREWELL_S = 2.0  # for the peer to close
MOST_FAREWELL = 65536  # bytes that it may still send meanwhile
MOST_VISITS = 256
MOST_FROM_ONE = 8
MOST_STRANGERS = 100  # addresses that are remembered as not planned
PAUSE_S = 0.2  # for a descriptor to become free
_END = b"\r\n\r\n"
_TOO_LONG = announcing.Refused(431, "a request has %d bytes at most" % MOST_REQUEST)


class Visit:
    """One connection: a request, its answer, the end. `over(visit)` is called once it is closed."""

    def __init__(
        self,
        loop: "Loop",
        connection: socket.socket,
        answer: "Callable[[bytes], Reply]",
        over: "Callable[[Visit], object]",
    ) -> None:
        self._loop = loop
        self._socket = connection
        self._answer = answer
        self._over = over
        self._said = bytearray()
        self._going: "List[memoryview]" = []
        self._timer = -1
        self._next(REQUEST_S, select.POLLIN, self._read)

    def close(self) -> None:
        """Wait no more."""
        if self._socket.fileno() >= 0:
            self._loop.forget(self._timer)
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._over(self)

    def _next(self, patience_s: float, mask: int, handler: "Callable[[int], None]") -> None:
        self._loop.forget(self._timer)
        self._timer = self._loop.at(self._loop.now() + patience_s, self.close)
        self._loop.watch(self._socket.fileno(), mask, handler)

    def _came(self, most: int) -> "Optional[bytes]":
        """What the peer sent: b"" at its end, None if there is nothing yet."""
        try:
            return self._socket.recv(most)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _read(self, _: int) -> None:
        data = self._came(MOST_REQUEST + 1 - len(self._said))
        if data is None:
            return
        begin = max(0, len(self._said) - len(_END))
        self._said += data
        end = self._said.find(_END, begin)
        if 0 <= end <= MOST_REQUEST - len(_END):
            self._reply(self._answer(bytes(self._said[:end])))
        elif len(self._said) > MOST_REQUEST:
            self._reply(announcing.refusal(_TOO_LONG))
        elif not data:
            self.close()

    def _reply(self, reply: "Reply") -> None:
        self._going = [memoryview(reply.head()), memoryview(reply.body)]
        self._next(ANSWER_S, select.POLLOUT, self._write)

    def _write(self, _: int) -> None:
        try:
            while self._going:
                sent = self._socket.send(self._going[0])
                self._going[0] = self._going[0][sent:]
                if not self._going[0]:
                    del self._going[0]
            self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        # What it sent behind its request would, unread, break the connection before the answer has arrived.
        self._said.clear()
        self._next(FAREWELL_S, select.POLLIN, self._drain)

    def _drain(self, _: int) -> None:
        data = self._came(4096)
        if data is None:
            return
        self._said += data
        if not data or len(self._said) > MOST_FAREWELL:
            self.close()


class Tracker:
    """Answers from `register` at a port, until `close`. Raises OSError where it can't be had.

    `stranger(address)` is called for each address that came and isn't planned, once.
    """

    def __init__(
        self,
        loop: "Loop",
        register: "Register",
        stranger: "Callable[[str], None]",
        address: str = EVERYWHERE,
        port: int = 0,
    ) -> None:
        """`port` 0 is any that is free: see `self.port`."""
        self._loop = loop
        self._register = register
        self._stranger = stranger
        self._strangers: "Dict[str, None]" = {}
        self._visits: "Dict[Visit, str]" = {}  # with the address; the oldest comes first
        self._pause = -1
        self._socket = listening(address, port)
        self.port: int = self._socket.getsockname()[1]
        self._watch()

    def close(self) -> None:
        """Answer nobody any more."""
        self._loop.forget(self._pause)
        for visit in list(self._visits):
            visit.close()
        if self._socket.fileno() >= 0:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _watch(self) -> None:
        self._loop.watch(self._socket.fileno(), select.POLLIN, self._accept)

    def _accept(self, _: int) -> None:
        try:
            connection, whence = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
            return  # else it is gone again
        connection.setblocking(False)
        address = whence[0]
        theirs = [visit for visit, other in self._visits.items() if other == address]
        if len(theirs) >= MOST_FROM_ONE:
            theirs[0].close()
        elif len(self._visits) >= MOST_VISITS:
            next(iter(self._visits)).close()
        visit = Visit(self._loop, connection, lambda head: self._answer(head, address), self._visits.pop)
        self._visits[visit] = address

    def _make_room(self) -> None:
        if self._visits:
            next(iter(self._visits)).close()
        else:  # it would be told of it again at once
            self._loop.unwatch(self._socket.fileno())
            self._pause = self._loop.at(self._loop.now() + PAUSE_S, self._watch)

    def _answer(self, head: bytes, address: str) -> "Reply":
        if not self._register.admits(address) and address not in self._strangers:
            if len(self._strangers) < MOST_STRANGERS:
                self._strangers[address] = None
                self._stranger(address)
        return announcing.answer(self._register, head, address, self._loop.now())
