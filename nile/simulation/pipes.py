"""Connections between simulated hosts: two byte pipes, in order, with latency, rate and a bounded buffer.

A pipe can be closed (the reader sees the end after the last byte) or cut
(from then on nothing arrives, and neither side is told: packets vanish).
Where the network is blocked, what was written waits until it is mended.

Lost packets are sent again, as TCP does it: they cost time, and what follows
waits behind them. What Nile writes is small and has nothing behind it that
would show the loss early, so each costs the time-out of a retransmission, which
doubles while it happens again. (In the midst of a flood TCP is quicker; its
congestion window, which shrinks, isn't simulated.)
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from nile.simulation.clock import Clock
from nile.simulation.network import Network

SWALLOWED = 2_200_000
"""Bytes that an ssh channel takes although the other side doesn't read."""
RETRANSMIT_S = 0.2
"""TCP's shortest time-out of a retransmission (Linux, TCP_RTO_MIN)."""
RETRANSMIT_MOST_S = 120.0
"""Its longest (TCP_RTO_MAX)."""


class Place(Protocol):
    """Where an end of a pipe stands: a host, or the root. Nothing is delivered where it is frozen."""

    @property
    def id(self) -> int:
        """A node's id; 0 is the root."""

    frozen: bool
    struck: bool
    """Some fault befalls it, or the way to it."""
    waiting: list[Callable[[], None]]
    """Calls to make once it thaws."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a pipe is like: `rate` in bytes a second, None for no bound; `loss` of packets, 0 to 1."""

    latency_s: float = 0.001
    rate: float | None = None
    loss: float = 0.0

    def resent_s(self, rng: random.Random, packets: int = 1, first_s: float = RETRANSMIT_S) -> float:
        """What the loss costs so many packets, each of which waits for the one before."""
        delay_s = 0.0
        for _ in range(packets if self.loss else 0):
            timeout_s = first_s
            while rng.random() < self.loss:
                delay_s += timeout_s
                timeout_s = min(RETRANSMIT_MOST_S, 2 * timeout_s)
        return delay_s


@dataclass(frozen=True, slots=True)
class Ground:
    """What all pipes of a cluster share."""

    clock: Clock
    network: Network
    rng: random.Random = field(default_factory=lambda: random.Random(0))


class Pipe:
    """One direction, from `writer` to `reader`."""

    def __init__(self, ground: Ground, wire: Wire, writer: Place, reader: Place) -> None:
        self._clock = ground.clock
        self._network = ground.network
        self._rng = ground.rng
        self._wire = wire
        self._ways = writer.id, reader.id
        self._reader = reader
        self._chunks: deque[tuple[float, bytes | None]] = deque()
        self._arriving = False
        self._free_at = 0.0
        self._cut = False
        self._closed = False
        self.queued = 0
        self.most_queued = 0
        self.on_data: Callable[[bytes], None] = _nobody
        self.on_end: Callable[[], None] = _nothing
        self.on_room: Callable[[], None] = _nothing

    @property
    def writable(self) -> bool:
        """Would a write be taken now?"""
        return self.queued < SWALLOWED and not self._closed

    def write(self, data: bytes) -> None:
        """Bytes for the other side."""
        if self._closed:
            return
        size = len(data)
        self.queued += size
        if self.queued > self.most_queued:
            self.most_queued = self.queued
        self._push(data, size)

    def close(self) -> None:
        """The reader sees the end, after all that was written."""
        if not self._closed:
            self._closed = True
            self._push(None, 0)

    def cut(self) -> None:
        """Nothing arrives any more."""
        self._cut = True

    def _push(self, data: bytes | None, size: int) -> None:
        wire, free_at = self._wire, self._clock.now
        if self._free_at > free_at:
            free_at = self._free_at
        if wire.rate:
            free_at += size / wire.rate
        self._free_at = free_at
        resent_s = wire.resent_s(self._rng) if wire.loss else 0.0
        self._chunks.append((free_at + wire.latency_s + resent_s, data))
        if not self._arriving:
            self._expect()

    def _expect(self) -> None:
        """Have the next chunk arrive when it is due."""
        self._arriving = True
        delay_s = self._chunks[0][0] - self._clock.now
        self._clock.after(max(0.0, delay_s), self._arrive)

    def _arrive(self) -> None:
        self._arriving = False
        if self._cut:
            return
        if self._reader.frozen:
            self._arriving = True
            self._reader.waiting.append(self._arrive)
            return
        if not self._network.passes(*self._ways):
            self._arriving = True
            self._network.when_mended(self._arrive)
            return
        was_full = self.queued >= SWALLOWED
        data, ended = self._due()
        self.queued -= len(data)
        if data:
            self.on_data(data)
        if ended:
            self.on_end()
            return
        if self._chunks and not self._arriving:
            self._expect()
        if was_full and self.writable:
            self.on_room()

    def _due(self) -> tuple[bytes, bool]:
        """The bytes that are there by now, and whether the end follows them."""
        chunks, now = self._chunks, self._clock.now
        if len(chunks) == 1 and chunks[0][0] <= now:
            data = chunks.popleft()[1]
            return (b"", True) if data is None else (data, False)
        there: list[bytes] = []
        while chunks and chunks[0][0] <= now:
            chunk = chunks.popleft()[1]
            if chunk is None:
                return b"".join(there), True
            there.append(chunk)
        return there[0] if len(there) == 1 else b"".join(there), False


class Connection:
    """Two pipes: `down` to the child, `up` to the parent."""

    def __init__(self, ground: Ground, wire: Wire, parent: Place, child: Place) -> None:
        self.down = Pipe(ground, wire, parent, child)
        self.up = Pipe(ground, wire, child, parent)

    def close(self) -> None:
        """Both sides see its end."""
        self.down.close()
        self.up.close()

    def cut(self) -> None:
        """Packets vanish, both ways."""
        self.down.cut()
        self.up.cut()


def _nobody(_: bytes) -> None:
    """Nobody listens yet."""


def _nothing() -> None:
    """Nobody cares."""
