"""Bytes that a relay carries between the root and a port that only the relay can reach.

The root speaks SSH over them itself, end to end: the relay sees ciphertext.
Only the root can open one, and only toward an address of the plan's.

    OPEN    down   {channel, address, port, code}   code: this module
    OPENED  up     {channel, code, reason}     code "" : connected
    CARRY   both   channel (u32), bytes
    CLOSE   both   {channel}
"""

import _signal
import _struct as struct
import os
import select

from nile.agent import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Callable, Dict, List, Tuple

    from nile.agent.loop import Agent

MOST_QUEUED = 64 * 1024  # bytes read from the port that still wait for the link
_CODES = {"ECONNREFUSED": "refused", "ETIMEDOUT": "connect-timeout", "EHOSTUNREACH": "no-route"}


class Channel:
    """One connection; `out` are (bytes, what to call once they are written)."""

    def __init__(self, number: int, connection: "socket.socket") -> None:
        self.number = number
        self.socket = connection
        self.out: "List[Tuple[bytes, Callable[[], None]]]" = []
        self.queued = 0


class Carrier:
    """The channels of one relay; `own` is its (id, epoch)."""

    def __init__(self, agent: "Agent", own: "Tuple[int, int]") -> None:
        self._agent = agent
        self.own = own
        self._dialling: "Dict[int, socket.socket]" = {}
        self._channels: "Dict[int, Channel]" = {}
        self.pids: "set[int]" = set()  # processes of ours that connect

    def frame(self, frame: wire.Frame, sent: "Callable[[], None]") -> None:
        """A frame of the root; `sent()` once its bytes left our memory."""
        if frame.type == wire.OPEN:
            body = frame.fields()
            self._open(body["channel"], body["address"], body["port"])
        elif frame.type == wire.CLOSE:
            self._end(frame.fields()["channel"])
        elif frame.type == wire.CARRY:
            self._write(frame.body, sent)

    def close(self) -> None:
        """End all of them, and what still connects."""
        for number in list(self._channels) + list(self._dialling):
            self._end(number)
        for pid in self.pids:
            try:
                os.kill(pid, _signal.SIGKILL)
            except OSError:
                pass  # gone

    def _open(self, number: int, address: str, port: int) -> None:
        """Connect in a process of its own: a name that resolves slowly must not hold up the tree."""
        import socket  # 10 ms that only a relay pays which does carry

        try:
            mine, theirs = socket.socketpair()
            pid = os.fork()
        except OSError as error:
            self._say(wire.OPENED, {"channel": number, "code": "dropped", "reason": error.strerror})
            return
        if pid == 0:
            _dial(address, port, theirs)
        self.pids.add(pid)
        theirs.close()
        mine.setblocking(False)
        self._dialling[number] = mine
        self._agent.watch(mine.fileno(), select.POLLIN, lambda _: self._dialled(number))

    def _dialled(self, number: int) -> None:
        import socket

        mine = self._dialling[number]
        try:
            word, rights, _flags, _from = mine.recvmsg(200, socket.CMSG_SPACE(4))
        except BlockingIOError:
            return
        del self._dialling[number]
        self._agent.unwatch(mine.fileno())
        mine.close()
        fds = [struct.unpack("i", data[:4])[0] for _level, kind, data in rights if kind == socket.SCM_RIGHTS]
        if fds:
            self._begin(Channel(number, socket.socket(fileno=fds[0])))
            self._say(wire.OPENED, {"channel": number, "code": "", "reason": ""})
        else:
            code, _, reason = (word or b"name ").decode("utf-8", "replace").partition(" ")
            self._say(wire.OPENED, {"channel": number, "code": code, "reason": reason})

    def _begin(self, channel: Channel) -> None:
        channel.socket.setblocking(False)
        self._channels[channel.number] = channel
        self._watch(channel)

    def _watch(self, channel: Channel) -> None:
        mask = (select.POLLIN if channel.queued < MOST_QUEUED else 0) | (select.POLLOUT if channel.out else 0)
        if mask:
            self._agent.watch(channel.socket.fileno(), mask, lambda events: self._ready(channel, events))
        else:
            self._agent.unwatch(channel.socket.fileno())  # poll would tell of a hang-up again and again

    def _ready(self, channel: Channel, events: int) -> None:
        if events & select.POLLOUT:
            self._flush(channel)
        if events & ~select.POLLOUT and channel.number in self._channels and channel.queued < MOST_QUEUED:
            self._read(channel)

    def _read(self, channel: Channel) -> None:
        try:
            data = channel.socket.recv(wire.CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(channel.number)
            self._say(wire.CLOSE, {"channel": channel.number})
            return
        channel.queued += len(data)
        self._watch(channel)
        body = struct.pack("!I", channel.number) + data
        self._agent.up(wire.Frame(wire.CARRY, self.own[0], self.own[1], (), body), self._sent(channel, data))

    def _sent(self, channel: Channel, data: bytes) -> "Callable[[], None]":
        def left() -> None:
            channel.queued -= len(data)
            if channel.number in self._channels:
                self._watch(channel)

        return left

    def _write(self, body: bytes, sent: "Callable[[], None]") -> None:
        channel = self._channels.get(struct.unpack_from("!I", body)[0])
        if channel is None:
            sent()
            return
        channel.out.append((body[4:], sent))
        self._flush(channel)

    def _flush(self, channel: Channel) -> None:
        while channel.out:
            data, sent = channel.out[0]
            try:
                count = channel.socket.send(data)
            except BlockingIOError:
                break
            except OSError:
                count = len(data)  # the end is noticed by reading
            if count < len(data):
                channel.out[0] = (data[count:], sent)
            else:
                del channel.out[0]
                sent()
        self._watch(channel)

    def _end(self, number: int) -> None:
        waiting = self._dialling.pop(number, None)
        if waiting is not None:
            self._agent.unwatch(waiting.fileno())
            waiting.close()
        channel = self._channels.pop(number, None)
        if channel is not None:
            self._agent.unwatch(channel.socket.fileno())
            channel.socket.close()
            for _data, sent in channel.out:
                sent()

    def _say(self, kind: int, value: "Any") -> None:
        self._agent.up(wire.Frame(kind, self.own[0], self.own[1], (), wire.dumps(value)))


def _dial(address: str, port: int, theirs: "socket.socket") -> None:
    """In a process of its own: connect, hand the connection over, exit. Never returns."""
    import socket

    for fd in (0, 1, 2):
        os.close(fd)  # the link must not stay open for our sake
    try:
        connection = socket.create_connection((address, port))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", connection.fileno()))]
        theirs.sendmsg([b"ok"], rights)
    except socket.gaierror as error:
        theirs.send(("name %s" % error.strerror).encode())
    except OSError as error:
        import errno

        code = _CODES.get(errno.errorcode.get(error.errno or 0, ""), "dropped")
        theirs.send(("%s %s" % (code, error.strerror)).encode())
    finally:
        os._exit(0)
