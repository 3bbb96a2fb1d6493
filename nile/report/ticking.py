"""Lets a status line go on while nothing happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from nile.events import Event
from nile.report.renderer import Renderer

TICK_S = 0.25


class Ticking:
    """A renderer, and a thread that calls `tick` every `TICK_S` between its events, from the first one on.

    A lock keeps the two apart, so that neither writes into the other's line.
    """

    def __init__(self, renderer: Renderer, tick: Callable[[], None]) -> None:
        self._renderer = renderer
        self._tick = tick
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def handle(self, event: Event) -> None:
        """Show an event."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_ticking, name="nile-status", daemon=True)
            self._thread.start()
        with self._lock:
            self._renderer.handle(event)

    def finish(self) -> None:
        """Stop ticking, then finish."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._renderer.finish()

    def _keep_ticking(self) -> None:
        # A terminal that went away is found out by whoever writes what matters.
        with suppress(OSError, ValueError):
            while not self._over.wait(TICK_S):
                with self._lock:
                    self._tick()
