"""The root's ends of channels: sockets that lead to ports which only a node can reach.

See nile.agent.channel for the frames and windows, and nile.agent.carry for the
bridge between a socket and a channel, which is the same at both ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nile.agent import wire
from nile.agent.carry import Bridge, at_once
from nile.agent.channel import OWN, number_of, unpack_opened
from nile.agent.wire import Frame, WireError
from nile.events import Code
from nile.transport.base import LoginFailed

KINDS = frozenset({wire.OPENED, wire.CARRY, wire.CLOSE, wire.GRANT})
LOOPBACK = "127.0.0.1"
LISTEN_S = 30.0
"""How long a listener waits for its connection."""

_CODES = {code.value: code for code in (Code.NAME, Code.REFUSED, Code.NO_ROUTE, Code.CONNECT_TIMEOUT)}
_CLOSED = "the relay closed the connection before it was open"

SendDown = Callable[[int, int, bytes, Callable[[], None] | None], None]
"""(node id, frame type, body, sent): a frame to a node; `sent()` once a bulk one left the root's memory."""
Route = Callable[[int], tuple[int, ...]]
"""Ids from the root's own link down to a node."""
Told = Callable[["_Channel", LoginFailed | None], None]
"""How connecting went; called once."""


@dataclass(slots=True, eq=False)
class _Channel:
    number: int
    node_id: int
    route: tuple[int, ...]
    """The links that it was opened over: it ends with any of them."""
    told: Told | None
    """None once it was told."""
    bridge: Bridge | None = None


class Tunnels:
    """All channels of one run; belongs to the event loop's thread. `ended()` is called as one ends.

    `code` gives what an agent needs for its first channel.
    """

    def __init__(
        self,
        send: SendDown,
        route: Route,
        code: Callable[[], Mapping[str, bytes]],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._code = code
        self._send = send
        self._route = route
        self._ended = ended
        self._last = secrets.randbelow(OWN // 2)  # a root before this one may have left some
        self._channels: dict[int, _Channel] = {}
        self._listeners: dict[socket.socket, asyncio.TimerHandle] = {}
        self._stranded: dict[int, int] = {}
        """Channels of which the other end may not know that they are over, and its node."""
        self._watch = _Watch()

    async def open(self, node_id: int, address: str, port: int) -> socket.socket:
        """A connected, non-blocking socket to that port as seen from the node; raises LoginFailed."""
        opened: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

        def told(channel: _Channel, failure: LoginFailed | None) -> None:
            if opened.done():
                self._end(channel)
            elif failure is not None:
                opened.set_exception(failure)
            else:
                ours, handed_out = socket.socketpair()
                handed_out.setblocking(False)
                opened.set_result(handed_out)
                self._connect(channel, ours)

        channel = self._open(node_id, address, port, told)
        try:
            return await opened
        except asyncio.CancelledError:
            if opened.done() and not opened.cancelled() and opened.exception() is None:
                opened.result().close()
            self._end(channel)
            raise

    def listen(self, node_id: int, port: int) -> int:
        """A port on this machine's loopback that leads to that one on the node's.

        It serves one connection, and nobody after `LISTEN_S`. What can't be reached is closed at once:
        who connects proves to the other end who it is, and hears no other reason.
        """
        loop = asyncio.get_running_loop()
        listener = socket.create_server((LOOPBACK, 0), backlog=1)
        listener.setblocking(False)
        self._listeners[listener] = loop.call_later(LISTEN_S, self._listen_no_more, listener)
        loop.add_reader(listener.fileno(), self._accept, listener, node_id, port)
        return int(listener.getsockname()[1])

    def frame(self, frame: Frame) -> None:
        """A frame of a node, of one of `KINDS`; raises WireError where it breaks the rules."""
        channel = self._channels.get(number_of(frame.body))
        if channel is None or channel.node_id != frame.origin:
            return  # closed meanwhile, or none of its business
        if channel.bridge is not None:
            channel.bridge.frame(frame.type, frame.body)
        elif frame.type == wire.OPENED:
            self._opened(channel, *unpack_opened(frame.body))
        else:
            why = _CLOSED if frame.type == wire.CLOSE else "the relay sent more than it may"
            self._end(channel, LoginFailed(Code.DROPPED, why))

    def look(self, frame: Frame) -> None:
        """A frame that the root got or sent: does it tell of a link that is over, or of one anew?"""
        if not (self._channels or self._stranded):
            return
        with contextlib.suppress(WireError, KeyError, TypeError):  # the cascade distrusts whoever sent it
            if frame.type == wire.LOST:
                self._cut(frame.origin, frame.fields()["child"])
            elif frame.type == wire.FORGET:
                for child_id in frame.fields()["children"]:
                    self._cut(frame.path[-1] if frame.path else 0, child_id)
            elif frame.type == wire.STATE:
                self._attached_anew(frame.origin)

    def relays(self) -> set[int]:
        """Ids of the nodes that carry something now."""
        return {channel.node_id for channel in self._channels.values()}

    def close(self) -> None:
        """End all of them, and all listeners."""
        for channel in list(self._channels.values()):
            self._end(channel)
        for listener in list(self._listeners):
            self._listen_no_more(listener)

    def _open(self, node_id: int, address: str, port: int, told: Told) -> _Channel:
        self._last += 1
        channel = _Channel(self._last, node_id, self._route(node_id), told)
        self._channels[channel.number] = channel
        body = {"channel": channel.number, "address": address, "port": port, "code": dict(self._code())}
        self._send(node_id, wire.OPEN, wire.dumps(body), None)
        return channel

    def _opened(self, channel: _Channel, code: str, reason: str) -> None:
        if not code:
            told, channel.told = channel.told, None
            assert told is not None
            told(channel, None)
            return
        failure = LoginFailed(_CODES.get(code, Code.DROPPED), f"the relay can't connect: {reason}")
        self._end(channel, failure, tell=False)

    def _connect(self, channel: _Channel, connection: socket.socket) -> None:
        """Bridge it to the other end, which is connected."""

        def over() -> None:
            channel.bridge = None
            self._end(channel, tell=False)

        def send(kind: int, body: bytes, sent: Callable[[], None] | None) -> None:
            self._send(channel.node_id, kind, body, sent)

        channel.bridge = Bridge(self._watch, channel.number, connection, send, over)

    def _end(
        self,
        channel: _Channel,
        failure: LoginFailed | None = None,
        *,
        tell: bool = True,
    ) -> None:
        if self._channels.pop(channel.number, None) is None:
            return
        if tell:
            self._send(channel.node_id, wire.CLOSE, channel.number.to_bytes(4, "big"), None)
        if channel.bridge is not None:
            channel.bridge.close()
        told, channel.told = channel.told, None
        if told is not None:
            told(channel, failure or LoginFailed(Code.DROPPED, _CLOSED))
        self._ended()

    # Listeners.

    def _accept(self, listener: socket.socket, node_id: int, port: int) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # it is gone again
        self._listen_no_more(listener)
        at_once(connection)

        def told(channel: _Channel, failure: LoginFailed | None) -> None:
            if failure is None:
                self._connect(channel, connection)
            else:
                connection.close()

        channel = self._open(node_id, LOOPBACK, port, told)
        asyncio.get_running_loop().call_later(LISTEN_S, self._give_up, channel)

    def _give_up(self, channel: _Channel) -> None:
        if channel.told is not None:
            self._end(channel)

    def _listen_no_more(self, listener: socket.socket) -> None:
        self._listeners.pop(listener).cancel()
        asyncio.get_running_loop().remove_reader(listener.fileno())
        listener.close()

    # Links that end.

    def _cut(self, parent_id: int, child_id: int) -> None:
        """The link between these two is over, and what went over it."""
        for channel in list(self._channels.values()):
            hops = (0, *channel.route)
            if (parent_id, child_id) in zip(hops, channel.route, strict=False):
                self._strand(channel)

    def _strand(self, channel: _Channel) -> None:
        self._stranded[channel.number] = channel.node_id
        self._end(channel, LoginFailed(Code.DROPPED, "a link on the way to it ended"), tell=False)

    def _attached_anew(self, node_id: int) -> None:
        """There is a way to it and to those below: they may still hold what went over another one."""
        for channel in list(self._channels.values()):
            if channel.route != self._route(channel.node_id):
                self._strand(channel)
        for number, far_id in list(self._stranded.items()):
            if node_id in self._route(far_id):
                del self._stranded[number]
                self._send(far_id, wire.CLOSE, number.to_bytes(4, "big"), None)


class _Watch:
    """What a bridge needs of an agent's loop (see nile.agent.loop.Agent), done with asyncio."""

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call `handler(0)` when `fd` is ready as `mask` says (select.POLLIN, POLLOUT)."""
        before, self._masks[fd] = self._masks.get(fd, 0), mask
        loop = asyncio.get_running_loop()
        if mask & ~before & select.POLLIN:
            loop.add_reader(fd, handler, 0)
        elif before & ~mask & select.POLLIN:
            loop.remove_reader(fd)
        if mask & ~before & select.POLLOUT:
            loop.add_writer(fd, handler, 0)
        elif before & ~mask & select.POLLOUT:
            loop.remove_writer(fd)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; it stays open."""
        self.watch(fd, 0, lambda _: None)
        del self._masks[fd]
