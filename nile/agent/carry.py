"""The ends of channels: sockets, bridged over a link (see nile.agent.channel). Sent with the first OPEN.

The root speaks SSH over some of them, end to end: a relay sees ciphertext.
"""

import _signal
import _socket
import _struct as struct
import errno
import os
import select

from nile.agent import channel, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

    from nile.agent.loop import Agent

    Send = Callable[[int, bytes, Optional[Callable[[], None]]], None]

_CODES = {errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "connect-timeout", errno.EHOSTUNREACH: "no-route"}


class Bridge:
    """A connection at this end; `send(type, body, sent)` reaches the other. `over()`: both are done.

    `loop` has `watch` and `unwatch` (see nile.agent.loop.Agent).
    A connection that reads no more is still read to its end: its last words may say why.
    """

    def __init__(
        self,
        loop: "Any",
        number: int,
        connection: "_socket.socket",
        send: "Send",
        over: "Callable[[], None]",
    ) -> None:
        self._loop = loop
        self._channel = channel.Channel(number)
        self._socket = connection
        self._send = send
        self._over = over
        self._out = bytearray()
        self._deaf = False  # it reads no more
        self._said_end = False
        connection.setblocking(False)
        self._settle()

    def frame(self, kind: int, body: bytes) -> None:
        """A CARRY, GRANT or CLOSE of the other end. Where it breaks the rules the channel ends."""
        try:
            if kind == wire.CARRY:
                self._out += self._channel.receive(body)
            elif kind == wire.GRANT:
                self._channel.grant(body)
            elif kind == wire.CLOSE:
                self._channel.close()
        except wire.WireError:
            self._abort()
        self._flush()

    def close(self) -> None:
        """End it at this end; nobody is told."""
        if self._socket.fileno() >= 0:
            self._channel.close()
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._over()

    def _abort(self) -> None:
        """End it at both."""
        self._send(wire.CLOSE, self._channel.close(), None)
        self.close()

    def _settle(self) -> None:
        """Wait for what may happen next, or end."""
        fd = self._socket.fileno()
        if fd < 0:
            return
        mask = (select.POLLIN if self._channel.room() else 0) | (select.POLLOUT if self._out else 0)
        if mask:
            self._loop.watch(fd, mask, self._ready)
        elif self._said_end and not self._channel.gives:
            self.close()
        else:
            self._loop.unwatch(fd)  # poll would tell of a hang-up again and again

    def _ready(self, _events: int) -> None:
        room = self._channel.room()
        if room:
            self._read(room)
        if self._out:
            self._flush()

    def _read(self, room: int) -> None:
        try:
            data = self._socket.recv(room)
        except BlockingIOError:
            return
        except OSError:
            data = b""
            self._deaf = True
        if self._deaf and not data:
            self._abort()
            return
        size = len(data)
        self._send(wire.CARRY, self._channel.give(data), lambda: self._left(size))
        self._settle()

    def _left(self, size: int) -> None:
        self._channel.left(size)
        self._settle()

    def _flush(self) -> None:
        if self._socket.fileno() < 0:
            return
        try:
            while self._out and not self._deaf:
                size = self._socket.send(self._out)
                del self._out[:size]
                grant = self._channel.took(size)
                if grant:
                    self._send(wire.GRANT, grant, None)
            if not self._out and not self._channel.takes and not self._said_end:
                self._said_end = True
                self._socket.shutdown(_socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._deaf = True
        if self._deaf:
            self._out.clear()
            if not self._channel.gives:
                self._abort()
        self._settle()


class Carrier:
    """The far ends at one node; `pids` are processes of ours that look up a name."""

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._dialling: "Dict[int, _socket.socket]" = {}
        self._bridges: "Dict[int, Bridge]" = {}
        self.pids: "set[int]" = set()

    def frame(self, frame: wire.Frame) -> None:
        """A frame of the near end."""
        if frame.type == wire.OPEN:
            body = frame.fields()
            self._open(body["channel"], body["address"], body["port"])
            return
        number = channel.number_of(frame.body)
        if number in self._bridges:
            self._bridges[number].frame(frame.type, frame.body)
        elif frame.type == wire.CLOSE:
            self._stop(number)

    def close(self) -> None:
        """End all of them, and what still connects."""
        for number in list(self._bridges) + list(self._dialling):
            self._stop(number)
        for pid in self.pids:
            try:
                os.kill(pid, _signal.SIGKILL)
            except OSError:
                pass  # gone

    def _stop(self, number: int) -> None:
        if number in self._bridges:
            self._bridges[number].close()
        waiting = self._dialling.pop(number, None)
        if waiting is not None:
            self._agent.unwatch(waiting.fileno())
            waiting.close()

    def _open(self, number: int, address: str, port: int) -> None:
        self._stop(number)  # of a root before this one, perhaps
        hints = 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST
        try:
            family, _, _, _, where = _socket.getaddrinfo(address, port, *hints)[0]
        except OSError:
            self._look_up(number, address, port)
            return
        try:
            connection = _socket.socket(family, _socket.SOCK_STREAM)
        except OSError as error:
            self._fail(number, error.errno or 0)
            return
        connection.setblocking(False)
        code = connection.connect_ex(where)
        if code == errno.EINPROGRESS:
            self._wait(number, connection, select.POLLOUT, self._connected)
        else:
            self._begin(number, connection, code)

    def _wait(self, number: int, waiting: "_socket.socket", mask: int, then: "Callable[[int], None]") -> None:
        self._dialling[number] = waiting
        self._agent.watch(waiting.fileno(), mask, lambda _: then(number))

    def _connected(self, number: int) -> None:
        connection = self._dialling.pop(number)
        self._agent.unwatch(connection.fileno())
        self._begin(number, connection, connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR))

    def _begin(self, number: int, connection: "_socket.socket", code: int = 0) -> None:
        if code:
            connection.close()
            self._fail(number, code)
            return
        self._say_opened(number, "", "")
        at_once(connection)

        def ended() -> None:
            del self._bridges[number]

        self._bridges[number] = Bridge(self._agent, number, connection, self._up, ended)

    def _look_up(self, number: int, name: str, port: int) -> None:
        """Connect in a process of its own: a name that resolves slowly must not hold up the tree."""
        if self._agent.branches is None:  # which tell the command's descendants from ours
            self._say_opened(number, "name", "only a relay looks up names")
            return
        import socket  # noqa: F401  (10 ms, once)

        try:
            mine, theirs = _socket.socketpair()
            pid = os.fork()
        except OSError as error:
            self._fail(number, error.errno or 0)
            return
        if pid == 0:
            _dial(name, port, theirs)
        self.pids.add(pid)
        theirs.close()
        mine.setblocking(False)
        self._wait(number, mine, select.POLLIN, self._looked_up)

    def _looked_up(self, number: int) -> None:
        try:
            word, rights, _flags, _from = self._dialling[number].recvmsg(200, _socket.CMSG_SPACE(4))
        except BlockingIOError:
            return
        self._stop(number)
        fds = [struct.unpack("i", data[:4])[0] for _level, _kind, data in rights]
        if fds:
            self._begin(number, _socket.socket(fileno=fds[0]))
        else:
            code, _, reason = (word or b"name ").decode("utf-8", "replace").partition(" ")
            self._say_opened(number, code, reason)

    def _fail(self, number: int, code: int) -> None:
        self._say_opened(number, _CODES.get(code, "dropped"), os.strerror(code))

    def _say_opened(self, number: int, code: str, reason: str) -> None:
        self._up(wire.OPENED, channel.pack_opened(number, code, reason), None)

    def _up(self, kind: int, body: bytes, sent: "Optional[Callable[[], None]]") -> None:
        core = self._agent.core
        self._agent.up(wire.Frame(kind, core.id, core.epoch, (), body), sent)


def at_once(connection: "_socket.socket") -> None:
    """Small pieces don't wait for the acknowledgement of those before them."""
    try:
        connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    except OSError:
        pass  # it is no TCP, or over already


def _dial(name: str, port: int, theirs: "_socket.socket") -> None:
    """In a process of its own: connect, hand the connection over, exit. Never returns."""
    import socket

    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd != theirs.fileno():  # no link, and no channel, must stay open for our sake
            try:
                os.close(fd)
            except OSError:
                pass  # the list itself
    try:
        connection = socket.create_connection((name, port))
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", connection.fileno()))]
        theirs.sendmsg([b"ok"], rights)
    except socket.gaierror as error:
        theirs.send(("name %s" % error.strerror).encode())
    except OSError as error:
        code = _CODES.get(error.errno or 0, "dropped")
        theirs.send(("%s %s" % (code, error.strerror)).encode())
    finally:
        os._exit(0)
