"""One connection between a parent and a child, seen from either end.

A link is always drained. What may be in flight is bounded by windows instead:
bulk frames are sent only up to an absolute number of bytes that the other side
has granted, and it grants more as the bytes leave its own memory. Control
frames aren't counted and go first, so a flood of output delays no heartbeat.
Bulk of several origins takes turns, origin by origin, so no host starves
another. A direction that was silent for a second sends a ping; any byte is life.
"""

from nile.agent import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Tuple

BULK_WINDOW = 256 * 1024
GRANT_STEP = 64 * 1024
CONTROL_STEP = 64 * 1024  # whoever writes cuts off the front of what it got, again and again
PING_S = 1.0
_PING = wire.Frame(wire.PING).encode()
_WATCHED = wire.LINK_TYPES | wire.BULK  # frames that this layer has to do with
LATE_S = 1.5  # a tick comes within a second; whatever it is later than that, this process was kept from


class Link:
    """Framing, windows, turns and pings of one connection. `limit` bounds an incoming frame."""

    def __init__(self, limit: int, now: float) -> None:
        self._decoder = wire.Decoder(limit)
        self._control = bytearray()
        self._bulk: "dict[int, list[Tuple[wire.Frame, Optional[Callable[[], None]]]]]" = {}
        self._turns: "list[int]" = []
        self._sent = 0  # bulk bytes, ever
        self.granted = BULK_WINDOW
        self._taken = 0  # bulk bytes of the other side that left our memory, ever
        self._told = 0  # of these, how many the other side knows of
        self._received = 0
        self.last_in = now
        self.last_out = now
        self._ticked_at = now

    def receive(self, data: bytes, now: float) -> "list[wire.Frame]":
        """Frames for the layer above; raises WireError when the other side breaks the rules."""
        self.last_in = now
        frames = self._decoder.feed(data)
        return [frame for frame in frames if frame.type not in _WATCHED or self._is_for_above(frame)]

    def _is_for_above(self, frame: wire.Frame) -> bool:
        if frame.type == wire.WINDOW:
            granted = frame.value()
            if not isinstance(granted, int):
                raise wire.WireError("a window that is no number")
            self.granted = max(self.granted, granted)
        elif frame.type in wire.BULK:
            self._received += len(frame.body)
            # The last frame may begin inside the window, and holds a few bytes more than a chunk.
            if self._received - self._taken > BULK_WINDOW + 2 * wire.CHUNK:
                raise wire.WireError("more bulk than the window allows")
        return frame.type not in wire.LINK_TYPES

    def take(self, size: int) -> None:
        """`size` bulk bytes that came in left this process's memory: grant as many anew."""
        self._taken = min(self._taken + size, self._received)  # a link before this one may have had them
        if self._taken - self._told >= GRANT_STEP:
            self._told = self._taken
            self.send(wire.Frame(wire.WINDOW, body=wire.dumps(self._taken + BULK_WINDOW)))

    def send(self, frame: wire.Frame, sent: "Optional[Callable[[], None]]" = None) -> None:
        """Queue a frame. `sent()` is called when a bulk frame leaves the queue."""
        if frame.type not in wire.BULK:
            self._control += frame.encode()
            return
        queue = self._bulk.get(frame.origin)
        if queue is None:
            queue = self._bulk[frame.origin] = []
            self._turns.append(frame.origin)
        queue.append((frame, sent))

    def drop(self) -> None:
        """This link is over: nothing that waits for it will leave, and no longer takes room."""
        for queue in self._bulk.values():
            for _, sent in queue:
                if sent is not None:
                    sent()
        self._bulk.clear()
        del self._turns[:], self._control[:]

    def rest(self) -> bytes:
        """The beginning of a frame that hasn't arrived whole."""
        return self._decoder.rest()

    def waiting(self) -> int:
        """Bytes of control frames that wait to be pulled."""
        return len(self._control)

    def pending(self) -> bool:
        """Would `pull` give anything?"""
        return bool(self._control) or (bool(self._turns) and self._sent < self.granted)

    def pull(self, now: float) -> bytes:
        """The next bytes to write: of control frames, else one bulk frame, else nothing."""
        if self._control:
            data = bytes(memoryview(self._control)[:CONTROL_STEP])
            del self._control[:CONTROL_STEP]
        elif self._turns and self._sent < self.granted:
            data = self._pull_bulk()
        else:
            return b""
        self.last_out = now
        return data

    def _pull_bulk(self) -> bytes:
        origin = self._turns.pop(0)
        queue = self._bulk[origin]
        frame, sent = queue.pop(0)
        if queue:
            self._turns.append(origin)
        else:
            del self._bulk[origin]
        self._sent += len(frame.body)
        if sent is not None:
            sent()
        return frame.encode()

    def tick(self, now: float) -> None:
        """Queue a ping where this direction was silent; call it once a second or more often.

        What this process slept through, or was kept from, is no silence of the other side.
        """
        self.last_in = min(now, self.last_in + max(0.0, now - self._ticked_at - LATE_S))
        self._ticked_at = now
        if now - self.last_out >= PING_S and not self._control:
            self._control += _PING
