"""A relay's own channels: what connects here is carried to a port of a child's. Sent with the first REACH.

    REACH    down   {number, child, port, code}            code: sources of modules, by name
    REACHED  up     {number, port} or {number, code, reason}

A listener serves one connection and is gone after that, or after a while. Who
connects proves to the far end who it is: a listener asks nobody.
"""

import _socket
import select

from nile.agent import carry, channel, wire
from nile.agent.child import UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Optional, Tuple

    from nile.agent.loop import Agent
    from nile.agent.relay import Relay

LOOPBACK = "127.0.0.1"
WAIT_S = 30.0  # from REACH until somebody connects, and again until the child's end is connected


class Reach:
    """The near ends at one relay; `perform` performs effects of the relay core."""

    def __init__(
        self, agent: "Agent", relay: "Relay", perform: "Callable[[Iterable[Tuple[Any, ...]]], None]"
    ) -> None:
        self._agent = agent
        self._relay = relay
        self._perform = perform
        self._code: "Dict[str, bytes]" = {}
        self._last = channel.OWN
        self._waiting: "Dict[int, Waiting]" = {}  # by the number that its channel has or is to have
        self._bridges: "Dict[int, carry.Bridge]" = {}

    def listen(self, body: "Dict[str, Any]") -> None:
        """A REACH: open a listener, and tell where."""
        number, child = body["number"], self._relay.children.get(body["child"])
        self._code = body["code"]
        if child is None or child.state != UP:
            self._say({"number": number, "code": "link", "reason": "there is no link to that host"})
            return
        listener = None
        try:
            listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            listener.bind((LOOPBACK, 0))
            listener.listen(1)
        except OSError as error:
            if listener is not None:
                listener.close()
            self._say({"number": number, "code": "agent", "reason": "no listener: %s" % error.strerror})
            return
        listener.setblocking(False)
        self._last += 1
        own = self._last
        self._wait(own, Waiting(listener, child.id, body["port"], False))
        self._agent.watch(listener.fileno(), select.POLLIN, lambda _: self._accept(own))
        self._say({"number": number, "port": listener.getsockname()[1]})

    def _say(self, body: "Dict[str, Any]") -> None:
        core = self._agent.core
        self._agent.up(wire.Frame(wire.REACHED, core.id, core.epoch, (), wire.dumps(body)))

    def _wait(self, own: int, waiting: "Waiting") -> None:
        waiting.until = self._agent.now() + WAIT_S
        self._waiting[own] = waiting

    def _accept(self, own: int) -> None:
        waiting = self._waiting[own]
        try:
            fd, _ = waiting.socket._accept()  # type: ignore[attr-defined]
        except OSError:
            return  # it is gone again
        self._drop(own)
        connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)
        carry.at_once(connection)
        self._wait(own, Waiting(connection, waiting.child, waiting.port, True))
        self._relay.channels[own] = waiting.child
        body = {"channel": own, "address": LOOPBACK, "port": waiting.port, "code": self._code}
        self._down(own, wire.OPEN, wire.dumps(body), None)

    def _down(self, own: int, kind: int, body: bytes, sent: "Optional[Callable[[], None]]") -> None:
        """To the child at the other end, if there still is one."""
        child = self._relay.channels.get(own)
        if child is not None:
            frame = wire.Frame(kind, 0, 0, (child,), body)
            self._perform(self._relay.frame(frame, self._agent.now(), sent))
        elif sent is not None:
            sent()

    def frame(self, frame: wire.Frame) -> None:
        """A frame of a child's, of a channel that leads to it. It may say what it likes."""
        own = channel.number_of(frame.body)
        if own in self._bridges:
            self._bridges[own].frame(frame.type, frame.body)
        elif own in self._waiting and frame.type == wire.OPENED:
            try:
                refused = channel.unpack_opened(frame.body)[0] != ""
            except wire.WireError:
                refused = True
            self._opened(own, refused)

    def _opened(self, own: int, refused: bool) -> None:
        if refused:
            self._give_up(own)
            return
        waiting = self._waiting.pop(own)

        def ended() -> None:
            del self._bridges[own]
            self._relay.channels.pop(own, None)

        def down(kind: int, body: bytes, sent: "Optional[Callable[[], None]]") -> None:
            self._down(own, kind, body, sent)

        self._bridges[own] = carry.Bridge(self._agent, own, waiting.socket, down, ended)

    def tick(self, now: float) -> None:
        """Nothing waits forever."""
        for own in [own for own in self._waiting if self._waiting[own].until <= now]:
            self._give_up(own)

    def _give_up(self, own: int) -> None:
        """What waits for its connection, or for the child's answer."""
        if own in self._relay.channels:
            self._down(own, wire.CLOSE, channel.Channel(own).close(), None)
            self._relay.channels.pop(own, None)
        self._drop(own)

    def _drop(self, own: int) -> None:
        waiting = self._waiting.pop(own, None)
        if waiting is not None:
            self._agent.unwatch(waiting.socket.fileno())
            waiting.socket.close()

    def orphaned(self) -> None:
        """Nobody above for now: who was to connect may never hear where. What is connected goes on."""
        for own in [own for own in self._waiting if not self._waiting[own].accepted]:
            self._drop(own)

    def lost(self, child_id: int) -> None:
        """The link to a child is gone."""
        for own in [own for own in self._waiting if self._waiting[own].child == child_id]:
            self._drop(own)
        for own in [own for own, child in self._relay.channels.items() if child == child_id]:
            del self._relay.channels[own]
            if own in self._bridges:
                self._bridges[own].close()


class Waiting:
    """A listener that waits for its connection, or a connection that waits for the child's end."""

    def __init__(self, waiting: "_socket.socket", child: int, port: int, accepted: bool) -> None:
        self.socket = waiting
        self.child = child
        self.port = port
        self.accepted = accepted
        self.until = 0.0
