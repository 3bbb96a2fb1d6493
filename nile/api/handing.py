"""A run's events on their way from its own thread to an event loop, and what ends it when that leaves."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from nile.events import HostOutput, HostResult, HostStarted, HostUp, Notice, RunEnded, RunStarted

if TYPE_CHECKING:
    from nile.api.runs import Run

RunEvent = RunStarted | HostUp | HostStarted | HostOutput | HostResult | Notice | RunEnded
"""What a run yields: RunStarted first, RunEnded last, one HostResult for every host asked for."""

MOST_HELD = 64
"""Events that wait for a program that is slow; no more of a host's output comes until it takes them."""


class Taken:
    """What an `async for` holds of a run: dropping it ends the run."""

    def __init__(self, here: Here) -> None:
        self._here = here

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        try:
            event = await self._here.next()
        except asyncio.CancelledError:
            await self._here.ended()
            raise
        if event is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """End the run, if it isn't over, and wait for that."""
        await self._here.ended()

    def __del__(self) -> None:
        self._here.leave()


class Here:
    """A run's events from the thread that it has of its own to an event loop."""

    def __init__(self, run: Run, events: Generator[RunEvent, None, None]) -> None:
        self._run = run
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._room = threading.Condition()
        self._held: deque[RunEvent] = deque()
        self._left = False
        self._over = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="nile-run", daemon=True)
        underway.add(self)
        self._thread.start()

    def taken(self) -> Taken:
        """Its iterator."""
        return Taken(self)

    async def next(self) -> RunEvent | None:
        """The next event; None behind the last one. Raises what ended the run otherwise."""
        while True:
            with self._room:
                if self._held:
                    event = self._held.popleft()
                    self._room.notify()
                    return event
                if self._over:
                    break
                self._woken.clear()
            await self._woken.wait()
        if self._error is not None:
            raise self._error
        return None

    def leave(self) -> None:
        """Nobody takes events any more: end the run, if it isn't over. Nothing is waited for."""
        with self._room:
            over, self._left = self._over or self._left, True
            self._held.clear()
            self._room.notify()
        if not over:
            self._run.cancel()

    async def ended(self) -> None:
        """The same, and wait until it is over; a task that is cancelled meanwhile hurries it."""
        self.leave()
        cancelled: asyncio.CancelledError | None = None
        while not self._over:
            try:
                await self._woken.wait()
                self._woken.clear()
            except asyncio.CancelledError as error:
                cancelled = error
                self._run.cancel(0.0)
        self._thread.join()
        if cancelled is not None:
            raise cancelled

    def close(self) -> None:
        """The same, for whom no event loop waits."""
        self.leave()
        self._thread.join()

    def _work(self) -> None:
        """In the thread: take events as they come, and wait where they aren't taken from here."""
        try:
            for event in self._events:
                with self._room:
                    self._room.wait_for(lambda: self._left or len(self._held) < MOST_HELD)
                    if not self._left:
                        self._held.append(event)
                self._wake()
        except BaseException as error:
            self._error = error
        finally:
            with self._room:
                self._over = True
            self._wake()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:
            pass  # the loop has ended


underway: WeakSet[Here | Generator[RunEvent, None, None]] = WeakSet()
"""Runs that somebody iterates over, or has left."""


@atexit.register
def _close_all() -> None:
    """While threads of this interpreter still run: end what is under way, and wait for it."""
    for each in list(underway):
        with suppress(ValueError):  # it is at work in a thread that nobody waits for
            each.close()
