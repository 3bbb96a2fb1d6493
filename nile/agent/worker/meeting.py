"""How two workers find each other: one listens, one dials, and both prove that they know a secret.

The root gives both the same secret, once, out of band; nothing else opens the
port, and it is closed as soon as the right one came.

    dialler   a nonce of 32 bytes
    listener  a nonce of 32 bytes
    dialler   BLAKE2b-256 of "dialler" + both nonces (the dialler's first), keyed by the secret
    listener  BLAKE2b-256 of "listener" + both nonces (the dialler's first), keyed by the secret

The roles differ, so that nothing can be reflected; a stranger who says
nothing, or nonsense, holds nobody up. Given a `sealing.Tls`, all of this and
what follows goes through TLS, in which both have shown the run's identity
first. Else it is neither encrypted nor signed.
"""

import _socket as socket
import errno
import os
import select

from nile.agent.worker import hashing
from nile.agent.worker.lookup import LookUp, listening
from nile.agent.worker.sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple, Union

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.sealing import Sealed, Tls

    Connection = Union[socket.socket, Sealed]
    Met = Callable[[Any, str, str], None]  # a socket, or with TLS a Sealed, or None

NONCE = 32  # bytes, as many as a proof has
MOST_PENDING = 16  # strangers at a time; the next one takes the place of the oldest
PAUSE_S = 0.2  # for a descriptor to become free
PATIENCE_S = 15.0  # for a stranger to prove itself
DEAD_S = 120  # a peer that doesn't answer for so long, or takes nothing (a slow disk), is gone
_CODES = {
    errno.ECONNREFUSED: "refused",
    errno.EHOSTUNREACH: "no-route",
    errno.ENETUNREACH: "no-route",
    errno.EADDRNOTAVAIL: "no-route",
    errno.EACCES: "no-route",  # a rule of this host's forbids it
    errno.EPERM: "no-route",
    errno.ETIMEDOUT: "timeout",
}


class Introduction:
    """One side of the proof, without a socket: `begin`, then `feed` exactly what was read."""

    def __init__(self, secret: bytes, role: str, nonce: bytes) -> None:
        """`role` is "dialler" or "listener"; `nonce`: NONCE bytes that were never used before."""
        self._secret = secret
        self._role = role
        self._nonce = nonce
        self._theirs = b""
        self._read = b""
        self.proven = False
        self.failed = False

    @property
    def wanted(self) -> int:
        """Bytes that may still be read of the peer: not one more, the rest isn't ours."""
        return NONCE - len(self._read)

    @property
    def answered(self) -> bool:
        """Has the peer said its nonce?"""
        return bool(self._theirs)

    def begin(self) -> bytes:
        """What to say first."""
        return self._nonce if self._role == "dialler" else b""

    def feed(self, data: bytes) -> bytes:
        """The peer said that; what to answer. Sets `proven` or `failed` when it is over."""
        self._read += data
        if self.wanted > 0:
            return b""
        word, self._read = self._read, b""
        if not self._theirs:
            self._theirs = word
            return self._nonce if self._role == "listener" else self._proof("dialler")
        other = "dialler" if self._role == "listener" else "listener"
        self.proven = hashing.same(word, self._proof(other))
        self.failed = not self.proven
        return self._proof("listener") if self.proven and self._role == "listener" else b""

    def _proof(self, role: str) -> bytes:
        both = [self._nonce, self._theirs]
        if self._role == "listener":
            both.reverse()
        return hashing.proof(self._secret, role.encode() + b"".join(both))


class Handshake:
    """An introduction over a connection, which stays open. `over(code, reason)` once; code "": proven."""

    def __init__(
        self,
        loop: "Loop",
        connection: "Connection",
        introduction: Introduction,
        deadline: float,
        over: "Callable[[str, str], None]",
    ) -> None:
        self._loop = loop
        self._socket = connection
        self._introduction = introduction
        self._over = over
        self._timer = loop.at(deadline, lambda: self._end("timeout", "it didn't introduce itself in time"))
        if isinstance(connection, socket.socket):
            self._introduce()
        else:
            loop.watch(connection.fileno(), select.POLLOUT, self._seal)

    def cancel(self) -> None:
        """Look at it no more."""
        self._loop.forget(self._timer)
        self._loop.unwatch(self._socket.fileno())

    def _end(self, code: str, reason: str) -> None:
        self.cancel()
        self._over(code, reason)

    def _seal(self, _: int) -> None:
        """First of all, let TLS do its part."""
        connection: "Any" = self._socket
        try:
            connection.handshake()
        except BlockingIOError:
            self._loop.watch(connection.fileno(), connection.wants, self._seal)
        except OSError as error:
            self._end(*self._broke(error))
        else:
            self._introduce()

    def _introduce(self) -> None:
        self._loop.watch(self._socket.fileno(), select.POLLIN, self._read)
        self._say(self._introduction.begin())

    def _say(self, words: bytes) -> None:
        try:
            self._socket.send(words)  # so few that a new connection always takes them
        except OSError:
            pass  # the end is noticed by reading

    def _read(self, _: int) -> None:
        introduction = self._introduction
        try:
            data = self._socket.recv(introduction.wanted)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(*self._broke(error))
            return
        if not data:
            self._end(*self._hung_up("it hung up"))
            return
        self._say(introduction.feed(data))
        if introduction.failed:
            self._end("secret", "it doesn't know the secret of this meeting")
        elif introduction.proven:
            self._end("", "")

    def _broke(self, error: OSError) -> "Tuple[str, str]":
        if error.errno == errno.EPROTO:
            return "tls", str(error.strerror)
        return self._hung_up(error.strerror or "it is broken")

    def _hung_up(self, reason: str) -> "Tuple[str, str]":
        if self._introduction.answered:
            return "secret", "it doesn't accept our secret"
        return "dropped", reason


class Listener:
    """A port at which one peer is awaited; `port` says which.

    `met(connection, code, reason)` is called once: with a non-blocking socket
    (a Sealed, if there is `tls`) and "", or with None and the code `timeout`.
    `lookup.EVERYWHERE` is at all addresses that we have. Raises OSError where the address isn't ours.
    """

    def __init__(
        self,
        loop: "Loop",
        address: str,
        secret: bytes,
        deadline: float,
        met: "Met",
        tls: "Optional[Tls]" = None,
        port: int = 0,
    ) -> None:
        self._loop = loop
        self._tls = tls
        self._secret = secret
        self._met = met
        self._pending: "Dict[Connection, Handshake]" = {}
        self._socket = listening(address, port)
        self.port: int = self._socket.getsockname()[1]
        self._watch()
        self._timer = loop.at(deadline, lambda: self._end(None, "timeout", "nobody came in time"))
        self._pause = -1

    def close(self) -> None:
        """Wait no more; `met` isn't called."""
        self._loop.forget(self._timer)
        self._loop.forget(self._pause)
        for connection in list(self._pending):
            self._drop(connection)
        if self._socket.fileno() >= 0:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _end(self, connection: "Optional[Connection]", code: str, reason: str) -> None:
        self.close()
        self._met(connection, code, reason)

    def _watch(self) -> None:
        self._loop.watch(self._socket.fileno(), select.POLLIN, self._accept)

    def _accept(self, _: int) -> None:
        try:
            connection, _whence = self._socket.accept()
        except OSError as error:
            full = error.errno in (errno.EMFILE, errno.ENFILE)
            if full and self._pending:
                self._drop(next(iter(self._pending)))
            elif full:  # it would be told of it again at once
                self._loop.unwatch(self._socket.fileno())
                self._pause = self._loop.at(self._loop.now() + PAUSE_S, self._watch)
            return  # else it is gone again
        connection.setblocking(False)
        tune(connection)
        if len(self._pending) >= MOST_PENDING:
            self._drop(next(iter(self._pending)))
        try:
            self._introduce(self._tls.server(connection) if self._tls is not None else connection)
        except OSError:
            pass  # TLS knows already that nothing comes of it

    def _introduce(self, connection: "Connection") -> None:
        introduction = Introduction(self._secret, "listener", os.urandom(NONCE))
        deadline = self._loop.now() + PATIENCE_S
        self._pending[connection] = Handshake(
            self._loop, connection, introduction, deadline, lambda code, _: self._judged(connection, code)
        )

    def _judged(self, connection: "Connection", code: str) -> None:
        if code:
            self._drop(connection)
        else:
            del self._pending[connection]
            self._end(connection, "", "")

    def _drop(self, connection: "Connection") -> None:
        self._pending.pop(connection).cancel()
        connection.close()


class Dial:
    """A connection to the listener at one of the addresses that a name has, tried one after the other.

    `met(connection, code, reason)` is called once: with a non-blocking socket
    (a Sealed, if there is `tls`) and "", or with None and why the last one
    failed: `name`, `refused`, `no-route`, `timeout`, `tls` (it doesn't speak
    it, or shows another identity), `secret`, `dropped`.
    """

    def __init__(
        self,
        loop: "Loop",
        address: str,
        port: int,
        secret: bytes,
        deadline: float,
        met: "Met",
        tls: "Optional[Tls]" = None,
    ) -> None:
        self._loop = loop
        self._tls = tls
        self._secret = secret
        self._met = met
        self._deadline = deadline
        self._places: "List[Tuple[int, Tuple[Any, ...]]]" = []
        self._socket: "Optional[Connection]" = None
        self._handshake: "Optional[Handshake]" = None
        self._failed = ("name", "it has no address")
        self._timer = loop.at(deadline, self._late)
        self._lookup = LookUp(loop, address, port, self._found)

    def close(self) -> None:
        """Give it up; `met` isn't called."""
        self._loop.forget(self._timer)
        self._lookup.close()
        self._hang_up()

    def _end(self, connection: "Optional[Connection]", code: str, reason: str) -> None:
        self.close()
        self._met(connection, code, reason)

    def _late(self) -> None:
        self._end(None, "timeout", "no answer in time")

    def _found(self, places: "List[Tuple[int, Tuple[Any, ...]]]", reason: str) -> None:
        self._places = places
        if reason:
            self._failed = ("name", reason)
        self._next()

    def _next(self) -> None:
        """Try the next address, for its share of the time that is left."""
        self._hang_up()
        if not self._places:
            self._end(None, *self._failed)
            return
        now = self._loop.now()
        share = max(0.0, self._deadline - now) / len(self._places)
        family, place = self._places.pop(0)
        self._loop.forget(self._timer)
        late = self._too_slow if self._places else self._late
        self._timer = self._loop.at(now + share, late)
        self._socket = connection = Socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        tune(connection)
        code = connection.connect_ex(place)
        if code in (0, errno.EINPROGRESS):
            self._loop.watch(connection.fileno(), select.POLLOUT, lambda _: self._connected(connection))
        else:
            self._fail(code)

    def _too_slow(self) -> None:
        self._failed = ("timeout", "no answer in time")
        self._next()

    def _fail(self, code: int) -> None:
        self._failed = (_CODES.get(code, "dropped"), os.strerror(code))
        self._next()

    def _connected(self, connection: socket.socket) -> None:
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._loop.unwatch(connection.fileno())
        if code:
            self._fail(code)
            return
        try:
            self._socket = self._tls.client(connection) if self._tls is not None else connection
        except OSError as error:
            self._judged("tls", str(error.strerror))
            return
        introduction = Introduction(self._secret, "dialler", os.urandom(NONCE))
        # The timer of this attempt ends it, if nothing does.
        self._handshake = Handshake(self._loop, self._socket, introduction, self._deadline, self._judged)

    def _judged(self, code: str, reason: str) -> None:
        if code:
            self._failed = (code, reason)
            self._next()
        else:
            connection, self._socket = self._socket, None
            self._end(connection, "", "")

    def _hang_up(self) -> None:
        if self._socket is not None:
            if self._handshake is not None:
                self._handshake.cancel()
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
        self._socket = self._handshake = None


def tune(connection: socket.socket) -> None:
    """Small words leave at once, and a dead peer is noticed after DEAD_S."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, DEAD_S // 4)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, DEAD_S // 12)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 9)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_S * 1000)
