"""Virtual time: a queue of calls, each due at a moment; one thread, no waiting."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timer:
    """A call that is due at `at` seconds, and that can be cancelled."""

    __slots__ = ("_arguments", "_call", "at")

    def __init__(self, at: float, call: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.at = at
        self._call: Callable[..., object] | None = call
        self._arguments = arguments

    def cancel(self) -> None:
        """It won't happen."""
        self._call = None

    def fire(self) -> None:
        """Make the call, unless it was cancelled; once."""
        call, self._call = self._call, None
        if call is not None:
            call(*self._arguments)


class Clock:
    """Seconds since the simulation began. Calls due at one moment happen in the order they were made."""

    def __init__(self) -> None:
        self.now = 0.0
        self._serial = 0
        self._queue: list[tuple[float, int, Timer]] = []

    def after(self, delay_s: float, call: Callable[..., object], *arguments: object) -> Timer:
        """Have `call(*arguments)` made in `delay_s` seconds."""
        at = self.now + delay_s
        self._serial += 1
        timer = Timer(at, call, arguments)
        heapq.heappush(self._queue, (at, self._serial, timer))
        return timer

    def run(self, until: Callable[[], bool], limit_s: float) -> bool:
        """Let time pass until `until()` holds, or until `limit_s`: False then, or when nothing is due."""
        queue, pop = self._queue, heapq.heappop
        while not until():
            if not queue or queue[0][0] > limit_s:
                return False
            self.now, _, timer = pop(queue)
            timer.fire()
        return True

    def pass_until(self, at: float) -> None:
        """Let time pass until `at`, whatever happens."""
        self.run(lambda: False, at)
        self.now = max(self.now, at)
