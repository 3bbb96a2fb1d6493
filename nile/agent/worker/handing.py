"""A libtorrent, handed on by a worker that has one already: the taker listens, the giver dials (see meeting).

What comes is held against what the root says of it at once: who hands on anything else has wasted time, and
nothing more.
"""

import hashlib
import select

from nile.agent.worker.lookup import EVERYWHERE
from nile.agent.worker.meeting import Dial, Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Callable, Optional

    from nile.agent.worker.loop import Loop

COME_S = 10.0  # for the giver to come
LEAST_RATE = 256 * 1024  # bytes a second, all in all, below which the root does it, where as many may go
CHUNK = 1 << 16  # bytes
TELL_S = 5.0  # between two words that it gets on
ALLOWED = 0.8  # of what may go in a second: that goes at least


def _most_s(size: int, limit: int) -> float:
    """For so many bytes, of which no more than `limit` may go in a second; 0: as many as can."""
    return COME_S + size / (min(LEAST_RATE, ALLOWED * limit) if limit else LEAST_RATE)


class _Exchange:
    """What both sides are: one connection, and a time until which it has to be through."""

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._connection: "Optional[socket.socket]" = None
        self._timer = -1

    def close(self) -> None:
        """It is over."""
        self._loop.forget(self._timer)
        if self._connection is not None:
            self._loop.unwatch(self._connection.fileno())
            self._connection.close()
            self._connection = None

    def _end(self, reason: str) -> None:
        raise NotImplementedError

    def _begin(self, connection: "socket.socket") -> None:
        raise NotImplementedError

    def _met(self, connection: "Optional[socket.socket]", _: str, reason: str) -> None:
        if connection is None:
            self._end(reason)
            return
        self._connection = connection
        self._begin(connection)


class Take(_Exchange):
    """So many bytes of this digest (SHA-256): `taken(data, reason)` is called once; reason "": that is it.

    `port`: where they are awaited; `limit`: of who hands them (see Hand); `moved()` is called from time to
    time while they come. Raises OSError.
    """

    def __init__(
        self,
        loop: "Loop",
        secret: bytes,
        size: int,
        digest: bytes,
        port: int,
        limit: int,
        moved: "Callable[[], None]",
        taken: "Callable[[bytes, str], None]",
    ) -> None:
        """At this port; 0: any."""
        super().__init__(loop)
        self._size = size
        self._digest = digest
        self._limit = limit
        self._moved = moved
        self._taken = taken
        self._told_s = loop.now()
        self._came = bytearray()
        self._listener = Listener(loop, EVERYWHERE, secret, loop.now() + COME_S, self._met, port=port)
        self.port = self._listener.port

    def close(self) -> None:
        """Don't call `taken`."""
        self._listener.close()
        super().close()

    def _end(self, reason: str) -> None:
        self.close()
        came, self._came = bytes(self._came), bytearray()
        self._taken(came, reason)

    def _begin(self, connection: "socket.socket") -> None:
        late = self._loop.now() + _most_s(self._size, self._limit)
        self._timer = self._loop.at(late, lambda: self._end("it comes too slowly"))
        self._loop.watch(connection.fileno(), select.POLLIN, self._read)

    def _read(self, _: int) -> None:
        assert self._connection is not None
        try:
            data = self._connection.recv(min(CHUNK, self._size - len(self._came)))
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error.strerror or "it is broken")
            return
        self._came += data
        if not data:
            self._end("it broke off")
        elif len(self._came) == self._size:
            right = hashlib.sha256(self._came).digest() == self._digest
            self._end("" if right else "what came isn't what was to come")
        elif self._loop.now() >= self._told_s + TELL_S:
            self._told_s = self._loop.now()
            self._moved()


class Hand(_Exchange):
    """The giver's side: `over(reason)` is called once; "": all of it has gone.

    No more than `limit` bytes a second; 0: as many as go.
    """

    def __init__(
        self,
        loop: "Loop",
        data: bytes,
        address: str,
        port: int,
        secret: bytes,
        limit: int,
        over: "Callable[[str], None]",
    ) -> None:
        super().__init__(loop)
        self._limit = limit
        self._pause = -1
        self._left = memoryview(data)
        self._over = over
        late = loop.now() + _most_s(len(data), limit)
        self._timer = loop.at(late, lambda: self._end("it goes too slowly"))
        self._dial = Dial(loop, address, port, secret, loop.now() + COME_S, self._met)

    def close(self) -> None:
        """Don't call `over`, and keep nothing of it."""
        self._left = memoryview(b"")
        self._dial.close()
        self._loop.forget(self._pause)
        super().close()

    def _end(self, reason: str) -> None:
        self.close()
        self._over(reason)

    def _begin(self, _: "socket.socket") -> None:
        self._watch()

    def _watch(self) -> None:
        assert self._connection is not None
        self._loop.watch(self._connection.fileno(), select.POLLOUT, self._write)

    def _write(self, _: int) -> None:
        assert self._connection is not None
        try:
            sent = self._connection.send(self._left[:CHUNK])
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error.strerror or "it is broken")
            return
        self._left = self._left[sent:]
        if not self._left:
            self._end("")
        elif self._limit:
            self._loop.unwatch(self._connection.fileno())
            self._pause = self._loop.at(self._loop.now() + sent / self._limit, self._watch)
