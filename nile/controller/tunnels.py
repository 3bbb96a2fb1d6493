"""The root's end of what relays carry: sockets that lead to ports which only a relay can reach.

See nile.agent.carry for the frames. Each direction is bounded by the windows
of the links on the way: bytes are read from the local socket only once those
before them have left the root's memory.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from nile.agent import wire
from nile.agent.wire import Frame, WireError
from nile.bootstrap import carrier_source
from nile.events import Code
from nile.transport.base import LoginFailed

KINDS = frozenset({wire.OPENED, wire.CARRY, wire.CLOSE})
MOST_WAITING = 1 << 20
"""Bytes of one channel that its reader hasn't taken; windows keep what agents send far below that."""

_CODES = {code.value: code for code in (Code.NAME, Code.REFUSED, Code.NO_ROUTE, Code.CONNECT_TIMEOUT)}

SendDown = Callable[[int, int, bytes, Callable[[], None] | None], None]
"""(relay id, frame type, body, sent): a frame to a relay; `sent()` once a bulk one left the root's memory."""


@dataclass(slots=True)
class _Channel:
    relay_id: int
    opened: asyncio.Future[None]
    local: socket.socket | None = None
    """The end that is ours, of a pair whose other end was handed out."""
    out: bytearray = field(default_factory=bytearray)


class Tunnels:
    """All channels of one run; belongs to the event loop's thread. `ended()` is called as one ends."""

    def __init__(self, send: SendDown, ended: Callable[[], None] = lambda: None) -> None:
        self._send = send
        self._ended = ended
        self._last = 0
        self._channels: dict[int, _Channel] = {}

    async def open(self, relay_id: int, address: str, port: int) -> socket.socket:
        """A connected, non-blocking socket to that port as seen from the relay; raises LoginFailed."""
        self._last += 1
        number = self._last
        channel = _Channel(relay_id, asyncio.get_running_loop().create_future())
        self._channels[number] = channel
        body = {"channel": number, "address": address, "port": port, "code": carrier_source()}
        self._send(relay_id, wire.OPEN, wire.dumps(body), None)
        try:
            await channel.opened
        except BaseException:
            self._end(number, tell=True)
            raise
        channel.local, handed_out = socket.socketpair()
        channel.local.setblocking(False)
        handed_out.setblocking(False)
        self._watch(number, channel)
        return handed_out

    def frame(self, frame: Frame) -> None:
        """A frame of a relay, of one of `KINDS`; raises WireError where it breaks the rules."""
        if frame.type == wire.CARRY:
            if len(frame.body) < 4:
                raise WireError("carried bytes of no channel")
            number = struct.unpack_from("!I", frame.body)[0]
        else:
            number = frame.fields().get("channel")
            if not isinstance(number, int):
                raise WireError("a channel that is no number")
        channel = self._channels.get(number)
        if channel is None or channel.relay_id != frame.origin:
            return  # closed meanwhile, or none of its business
        if frame.type == wire.CARRY:
            channel.out += frame.body[4:]
            self._write(number, channel)
            if len(channel.out) > MOST_WAITING:
                self._end(number, tell=True, why="the relay sent more than it may")
        elif frame.type == wire.CLOSE:
            self._end(number, tell=False)
        elif not channel.opened.done():
            _settle(channel.opened, frame.fields())

    def relays(self) -> set[int]:
        """Ids of the relays that carry something now."""
        return {channel.relay_id for channel in self._channels.values()}

    def close(self) -> None:
        """End all of them."""
        for number in list(self._channels):
            self._end(number, tell=False)

    def _watch(self, number: int, channel: _Channel) -> None:
        assert channel.local is not None
        loop = asyncio.get_running_loop()
        loop.add_reader(channel.local.fileno(), self._readable, number, channel)

    def _readable(self, number: int, channel: _Channel) -> None:
        assert channel.local is not None
        try:
            data = channel.local.recv(wire.CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(number, tell=True)
            return
        asyncio.get_running_loop().remove_reader(channel.local.fileno())
        self._send(channel.relay_id, wire.CARRY, struct.pack("!I", number) + data, lambda: self._sent(number))

    def _sent(self, number: int) -> None:
        channel = self._channels.get(number)
        if channel is not None and channel.local is not None:
            self._watch(number, channel)

    def _write(self, number: int, channel: _Channel) -> None:
        if channel.local is None:
            return
        loop = asyncio.get_running_loop()
        try:
            while channel.out:
                del channel.out[: channel.local.send(channel.out)]
        except BlockingIOError:
            loop.add_writer(channel.local.fileno(), self._write, number, channel)
            return
        except OSError:
            self._end(number, tell=True)
            return
        loop.remove_writer(channel.local.fileno())

    def _end(
        self, number: int, *, tell: bool, why: str = "the relay closed the connection before it was open"
    ) -> None:
        channel = self._channels.pop(number, None)
        if channel is None:
            return
        if tell:
            self._send(channel.relay_id, wire.CLOSE, wire.dumps({"channel": number}), None)
        if channel.local is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(channel.local.fileno())
            loop.remove_writer(channel.local.fileno())
            channel.local.close()
        if not channel.opened.done():
            channel.opened.set_exception(LoginFailed(Code.DROPPED, why))
            channel.opened.exception()  # it may be that nobody waits any more
        self._ended()


def _settle(opened: asyncio.Future[None], body: dict[str, object]) -> None:
    word = str(body.get("code", ""))
    if not word:
        opened.set_result(None)
        return
    reason = f"the relay can't connect: {str(body.get('reason', ''))[:200]}"
    opened.set_exception(LoginFailed(_CODES.get(word, Code.DROPPED), reason))
