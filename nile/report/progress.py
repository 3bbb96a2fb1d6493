"""One status line on a terminal: how many hosts are up, run the command, are done, aren't ok."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from nile.events import Event, HostResult, HostStarted, HostUp, RunEnded, RunStarted, Verdict
from nile.report.screen import Screen
from nile.report.wording import plural

INTERVAL_S = 0.1


class Progress:
    """Keeps the status line; shows nothing where standard error isn't a terminal.

    It redraws at most every `INTERVAL_S`, driven by events and by `tick`, which
    someone calls now and then so that the time goes on and a burst's last
    state is shown.
    """

    def __init__(self, screen: Screen, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._clock = clock
        self._began = clock()
        self._drawn = float("-inf")
        self._asked: frozenset[str] = frozenset()
        self._up: set[str] = set()
        self._running: set[str] = set()
        self._done = 0
        self._bad = 0
        self._ended = False

    def handle(self, event: Event) -> None:
        """Count an event and perhaps redraw."""
        match event:
            case RunStarted():
                self._asked = frozenset(event.hosts)
            case HostUp():
                self._up.add(event.host)
            case HostStarted():
                self._running.add(event.host)
            case HostResult():
                self._running.discard(event.host)
                self._done += 1
                self._bad += event.verdict is not Verdict.OK
            case RunEnded():
                self.finish()
        self.tick()

    def tick(self) -> None:
        """Redraw if it is time to."""
        now = self._clock()
        if self._screen.has_status and not self._ended and now - self._drawn >= INTERVAL_S:
            self._drawn = now
            columns = shutil.get_terminal_size().columns
            self._screen.show_status(self.line(now)[: columns - 1])

    def line(self, now: float) -> str:
        """The status line at a time of the clock."""
        relays = len(self._up - self._asked)
        up = f"{len(self._up) - relays} up" + (f" (and {plural(relays, 'relay')})" if relays else "")
        bad = f", {self._bad} not ok" if self._bad else ""
        return (
            f"nile: {self._done}/{len(self._asked)} done{bad}, {up}, {len(self._running)} running, "
            f"{now - self._began:.0f} s"
        )

    def finish(self) -> None:
        """Take the line away for good."""
        self._ended = True
        self._screen.hide_status()
