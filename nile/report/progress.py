"""The status on a terminal: how many hosts are up, run the command, are done, aren't ok.

Of a run that copies: how much of it has come, how fast, and how long it will
yet take; below that a line for each of the hosts that are furthest behind.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from nile.events import (
    CopyProgress,
    Event,
    HostCopy,
    HostResult,
    HostStarted,
    HostUp,
    Paced,
    RunEnded,
    RunStarted,
    Verdict,
)
from nile.report.screen import Screen
from nile.report.text import visible
from nile.report.wording import duration, plural
from nile.topology.amounts import size

INTERVAL_S = 0.1
PATIENT_S = 5.0
"""Who looks on for longer wonders what goes on."""
LEAST_ROWS = 12
"""A terminal that has fewer gets no lines of hosts."""


class Progress:
    """Keeps the status line; shows nothing where standard error isn't a terminal.

    It redraws at most every `INTERVAL_S`, driven by events and by `tick`, which
    someone calls now and then so that the time goes on and a burst's last
    state is shown.
    """

    def __init__(
        self, screen: Screen, *, clock: Callable[[], float] = time.monotonic, hint: str = ""
    ) -> None:
        """`hint` is for a user who waits."""
        self._screen = screen
        self._hint = hint
        self._clock = clock
        self._began = clock()
        self._drawn = float("-inf")
        self._asked: frozenset[str] = frozenset()
        self._up: set[str] = set()
        self._running: set[str] = set()
        self._done = 0
        self._bad = 0
        self._copies: CopyProgress | None = None
        self._ended = self._paused = False

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
            case CopyProgress():
                self._copies = event
            case Paced():
                self._paused = bool(event.pacing.paused)
            case RunEnded():
                self.finish()
        self.tick()

    def tick(self) -> None:
        """Redraw if it is time to."""
        now = self._clock()
        if self._screen.has_status and not self._ended and now - self._drawn >= INTERVAL_S:
            self._drawn = now
            columns, rows = shutil.get_terminal_size()
            lines = self.lines(now) if rows >= LEAST_ROWS else [self.line(now)]
            self._screen.show_status(*(line[: columns - 1] for line in lines))

    def lines(self, now: float) -> list[str]:
        """The status at a time of the clock."""
        behind = self._copies.behind if self._copies else ()
        width = max((len(visible(copy.host)) for copy in behind), default=0)
        return [
            self.line(now) + self._hint * (now - self._began >= PATIENT_S),
            *(_copy(copy, width) for copy in behind),
        ]

    def line(self, now: float) -> str:
        """The first line of it."""
        if self._copies is not None:
            bad = f", {self._bad} not ok" if self._bad else ""
            elapsed = f"{now - self._began:.0f} s"
            return f"nile: {self._done}/{len(self._asked)} done{bad}, {_copies(self._copies)}, {elapsed}"
        relays = len(self._up - self._asked)
        up = f"{len(self._up) - relays} up" + (f" (and {plural(relays, 'relay')})" if relays else "")
        bad = f", {self._bad} not ok" if self._bad else ""
        return (
            f"nile: {self._done}/{len(self._asked)} done{bad}, {up}, {len(self._running)} running, "
            f"{'paused, ' * self._paused}{now - self._began:.0f} s"
        )

    def finish(self) -> None:
        """Take it away for good."""
        self._ended = True
        self._screen.hide_status()


def _copies(copies: CopyProgress) -> str:
    """`45 % of 480.0 MiB, 23.4 MiB/s, 12.0 s left`; once all has come, it is only checked yet."""
    if copies.complete == copies.hosts:
        return f"{size(copies.got)} have come, being checked"
    return f"{100 * copies.part:.0f} % of {size(copies.whole)}, {_speed(copies.rate, copies.eta_s)}"


def _copy(copy: HostCopy, width: int) -> str:
    """`  h007  31 % of 40.0 MiB, 2.1 MiB/s, 13.0 s left`"""
    part = 100 * copy.got / copy.whole if copy.whole else 100.0
    name = visible(copy.host).ljust(width)
    return f"  {name} {part:3.0f} % of {size(copy.whole)}, {_speed(copy.rate, copy.eta_s)}"


def _speed(rate: float, eta_s: float | None) -> str:
    return f"{size(rate)}/s" + ("" if eta_s is None else f", {_left(eta_s)} left")


def _left(seconds: float) -> str:
    """To a second: nobody knows it better."""
    return f"{seconds:.0f} s" if seconds < 99.5 else duration(seconds)
