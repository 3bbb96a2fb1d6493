"""Performs what the real relay core decides, over simulated connections: the root's and every relay's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nile.agent import wire
from nile.agent.handshake import Bundle
from nile.agent.relay import Relay
from nile.agent.wire import Frame
from nile.cascade.performing import Performer
from nile.simulation.clock import Clock, Timer
from nile.simulation.dialing import Dialer, Dialled
from nile.simulation.pipes import Connection, Place

BUNDLE = Bundle([("nile", b"pass\n")], [], "00")
Up = Callable[[Frame, int, Callable[[], None] | None], None]
"""A frame, the child that it came from (0: of this node's own), and what to call once a bulk one left."""


class SimBranches(Performer):
    """Children of one node. `up(frame, left)`: toward the root; `left()` once it is out of this memory."""

    def __init__(
        self,
        clock: Clock,
        own: tuple[int, int],
        place: Place,
        shared: dict[str, Any],
        dialer: Dialer,
        up: Up,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._own_id = own[0]
        self._place = place
        self._dialer = dialer
        self._up = up
        self._dials: dict[int, Dialled] = {}
        self._unsigned: dict[int, tuple[Dialled, Callable[[], None]]] = {}
        self._serials = 0
        self.buffered: dict[int, int] = {}
        self.most_buffered = 0
        nonce = (f"nonce{own[0]}x{serial}" for serial in range(1 << 30))
        self.relay = Relay(own, shared, BUNDLE, dialer.rng.random, lambda: next(nonce))

    def adopt(self, entries: Iterable[dict[str, Any]]) -> None:
        """More children."""
        self._perform(self.relay.adopt(list(entries), self._clock.now))

    def frame(self, frame: Frame) -> None:
        """A downward frame."""
        if frame.type == wire.SIGNED and not frame.path:
            dialled, go_on = self._unsigned.pop(frame.fields()["serial"], (None, None))
            if dialled is not None and go_on is not None and self._dials.get(dialled.child_id) is dialled:
                go_on()
            return
        self._perform(self.relay.frame(frame, self._clock.now))

    def tick(self) -> None:
        """Deadlines, pings and silence."""
        self._perform(self.relay.tick(self._clock.now))

    def take(self, child_id: int, size: int) -> None:
        """Bulk bytes of a child left this memory."""
        self.buffered[child_id] = self.buffered.get(child_id, 0) - size
        self._perform(self.relay.take(child_id, size))

    def orphaned(self) -> None:
        """Nobody above for now."""
        self._perform(self.relay.orphaned())

    def readopted(self, epoch: int) -> None:
        """Somebody above again."""
        self._perform(self.relay.attached(epoch))

    def parent_lost(self) -> None:
        """Nobody above any more."""
        self._perform(self.relay.parent_lost())

    def close(self) -> None:
        """The processes that hold the connections are gone: the children see their ends."""
        for child_id in list(self._dials):
            self._do_hangup(child_id)

    def vanish(self) -> None:
        """The power goes: no packet leaves any more."""
        for dialled in self._dials.values():
            self._dialer.decided(dialled)
            dialled.cut()
        self._dials.clear()

    def cut(self, child_id: int) -> None:
        """The cable to this child is cut."""
        if child_id in self._dials:
            self._dials[child_id].cut()

    def hang_up(self, child_id: int) -> None:
        """The `ssh` to this child is killed."""
        if child_id in self._dials:
            self.failed(self._dials[child_id], "link", "ssh was killed", False)

    # Effects of the relay core.

    def _do_up(self, frame: Frame) -> None:
        if frame.type == wire.HELLO:
            self._dialer.decided(self._dials[frame.origin])
        self._up(frame, 0, None)

    def _do_pass(self, frame: Frame, child_id: int) -> None:
        if frame.type not in wire.BULK:
            self._up(frame, child_id, None)
            return
        size = len(frame.body)
        self.buffered[child_id] = self.buffered.get(child_id, 0) + size
        self.most_buffered = max(self.most_buffered, self.buffered[child_id])
        self._up(frame, child_id, lambda: self.take(child_id, size))

    def _do_login(self, child_id: int, command: str) -> None:
        self._dials[child_id] = self._dialer.dial(self, self._place, child_id, command)

    def authenticate(self, dialled: Dialled, go_on: Callable[[], None]) -> None:
        """The root logs in by itself; a relay's login needs a signature of the root."""
        if not self._own_id:
            go_on()
            return
        if self._dials.get(dialled.child_id) is not dialled:
            return
        self._serials += 1
        self._unsigned[self._serials] = dialled, go_on
        epoch = self.relay.children[dialled.child_id].epoch
        login = {"child": dialled.child_id, "epoch": epoch, "serial": self._serials}
        body = {**login, "binds": [b"x"], "request": b"y"}
        own_id, own_epoch = self.relay._own
        self._up(Frame(wire.SIGN, own_id, own_epoch, (), wire.dumps(body)), 0, None)

    def opened(self, dialled: Dialled, connection: Connection) -> None:
        """The login went through: bytes go both ways from now on."""
        connection.up.on_data = lambda data: self._received(dialled, data)
        connection.up.on_end = lambda: self.failed(dialled, "link", "the connection ended", False)
        connection.down.on_room = lambda: self._do_flush(dialled.child_id)

    def _received(self, dialled: Dialled, data: bytes) -> None:
        if self._dials.get(dialled.child_id) is dialled:
            self._perform(self.relay.data(dialled.child_id, data, self._clock.now))

    def failed(self, dialled: Dialled, code: str, reason: str, retry: bool) -> None:
        """The login came to nothing, or the connection ended."""
        if self._dials.get(dialled.child_id) is dialled:
            del self._dials[dialled.child_id]
            self._dialer.decided(dialled)
            dialled.close()
            self._perform(self.relay.closed(dialled.child_id, code, reason, retry, self._clock.now))

    def _do_write(self, child_id: int, data: bytes) -> None:
        self._dials[child_id].down.write(data)

    def _do_flush(self, child_id: int) -> None:
        dialled = self._dials.get(child_id)
        link = self.relay.children[child_id].link
        if dialled is None or link is None:
            return
        while link.pending() and (pipe := dialled.down).writable:
            pipe.write(link.pull(self._clock.now))

    def _do_hangup(self, child_id: int) -> None:
        dialled = self._dials.pop(child_id, None)
        if dialled is not None:
            self._dialer.decided(dialled)
            dialled.close()


class Repeating:
    """A call that is due again and again, and that can be brought forward."""

    def __init__(self, clock: Clock, call: Callable[[], None]) -> None:
        self._clock = clock
        self._call = call
        self._timer: Timer | None = None

    def due_in(self, seconds: float) -> None:
        """Call in at most so many seconds."""
        at = self._clock.now + max(0.0, seconds)
        if self._timer is not None:
            if self._timer.at <= at:
                return
            self._timer.cancel()
        self._timer = self._clock.after(at - self._clock.now, self._fire)

    def stop(self) -> None:
        """No more calls."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        self._call()
