"""Processor cores that all hosts share, as those of a lab on one machine do."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from nile.simulation.clock import Clock, Timer


class Cores:
    """`count` cores, shared evenly by whatever runs: nothing gets more than one of them.

    What each piece of work has got of a core since the beginning is the same
    for all that run together, so it is kept once (`_served`, in core seconds),
    and a piece is done when that reaches what it was at its start plus its work.
    """

    def __init__(self, clock: Clock, count: int) -> None:
        self._clock = clock
        self._count = count
        self._served = 0.0
        self._at = clock.now
        self._serial = 0
        self._running: list[tuple[float, int, Callable[[], None]]] = []
        self._timer: Timer | None = None

    def run(self, work_s: float, done: Callable[[], None]) -> None:
        """Have so many core seconds of work done, and then a call made."""
        self._advance()
        self._serial += 1
        heapq.heappush(self._running, (self._served + work_s, self._serial, done))
        self._expect()

    def _pace(self) -> float:
        return min(1.0, self._count / len(self._running))

    def _advance(self) -> None:
        now = self._clock.now
        if self._running:
            self._served += (now - self._at) * self._pace()
        self._at = now

    def _expect(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._running:
            rest_s = max(0.0, self._running[0][0] - self._served)
            self._timer = self._clock.after(rest_s / self._pace(), self._finish)

    def _finish(self) -> None:
        self._advance()
        due, _, done = heapq.heappop(self._running)
        self._served = max(self._served, due)  # what is lost in rounding
        self._expect()
        done()
