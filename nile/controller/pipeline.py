"""Events on their way: from the engine's thread through the store's to the caller's.

What the caller sees is in the store already. Neither thread is ever waited for
by the engine; how much may be under way is bounded by the links' windows.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

from nile.cascade import Recorded
from nile.errors import NileError, TakenOverError
from nile.events import Event, HostOutput, Notice

BATCH = 2000
SEEN_STEP = 64 * 1024
"""Bytes of output that the caller may have seen before the engine hears of it."""
Numbered = tuple[int, Event]


class Pipeline:
    """`record` commits a batch, in a thread of its own.

    `observe` is told of all of them too, in that thread, whether the store takes them or not.
    `stored(n)` and `shown(n)` are called in the store's and in the caller's
    thread: everything up to number n is; `taken_over(error)` in the store's.
    """

    def __init__(
        self,
        record: Callable[[Sequence[Event]], None],
        stored: Callable[[int], object],
        shown: Callable[[int], object],
        taken_over: Callable[[Exception], object],
        observe: Callable[[Sequence[Event]], None] = lambda _: None,
    ) -> None:
        self._record = record
        self._stored = stored
        self._shown = shown
        self._taken_over = taken_over
        self._observe = observe
        self.failure: Exception | None = None
        """Why the store records no more. The run goes on: its commands matter more than its record."""
        self._fresh: list[Numbered] = []
        self._to_store: queue.SimpleQueue[list[Numbered] | None] = queue.SimpleQueue()
        self._to_show: queue.SimpleQueue[list[Numbered] | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._store, name="nile-store", daemon=True)

    def start(self) -> None:
        """Begin to take events."""
        self._thread.start()

    def put(self, number: int, event: Event) -> bool:
        """The next event, from the engine's thread. Is it the first one that waits for `send`?"""
        self._fresh.append((number, event))
        return len(self._fresh) == 1

    def send(self) -> None:
        """On with all that was put: what comes together wakes the other threads once."""
        fresh, self._fresh = self._fresh, []
        if fresh:
            self._to_store.put(fresh)

    def end(self, error: BaseException | None = None) -> None:
        """There will be no more; `error` is raised in the caller's thread."""
        self.send()
        if error is not None:
            self._to_show.put(error)
        self._to_store.put(None)

    def events(self, idle_s: float | None = None) -> Iterator[Event | None]:
        """In the caller's thread: all events, in order, until the end. Raises what went wrong elsewhere.

        With `idle_s`, None after every so many seconds without an event.
        """
        while True:
            try:
                item = self._to_show.get(timeout=idle_s)
            except queue.Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            try:
                yield from self._shows(item)
            finally:  # whoever looks no more has seen it all
                self._shown(item[-1][0])

    def _shows(self, batch: list[Numbered]) -> Iterator[Event]:
        """The engine hears of its end, and before that as soon as it gives room to hosts that wait for it."""
        seen = 0
        for number, event in batch:
            yield event
            seen += len(event.data) if isinstance(event, HostOutput) else 0
            if seen >= SEEN_STEP:
                self._shown(number)
                seen = 0

    def recorded(self, decision: int) -> Recorded:
        """What became of the record of a decision that has come so far."""
        failure = self.failure
        if not isinstance(failure, NileError):
            return Recorded(decision, kept=failure is None)
        return Recorded(decision, False, _in_one_line(failure), failure.remedy or "")

    def drain(self) -> None:
        """Nobody looks any more: pass everything as shown, until the end."""
        while (item := self._to_show.get()) is not None:
            if isinstance(item, list):
                self._shown(item[-1][0])

    def _store(self) -> None:
        for batch in self._batches():
            if self.failure is None:
                self._try_to_record(batch)
            if isinstance(self.failure, TakenOverError):
                break  # nothing may be told to anybody any more
            # Also where nothing can be kept any more: the run has to come to its end.
            self._stored(batch[-1][0])
            self._observe([event for _, event in batch])
            self._to_show.put(batch)
        self._to_show.put(None)

    def _try_to_record(self, batch: list[Numbered]) -> None:
        try:
            self._record([event for _, event in batch])
        except TakenOverError as error:
            self.failure = error
            self._taken_over(error)
        except Exception as error:  # raised again by the engine, once the run is over
            self.failure = error
            text = f"the run goes on, but nothing more of it is recorded: {_in_one_line(error)}"
            self._to_show.put([(0, Notice(text))])

    def _batches(self) -> Iterator[list[Numbered]]:
        """Whatever waits, up to a bound, at one time."""
        while (batch := self._to_store.get()) is not None:
            while len(batch) < BATCH and not self._to_store.empty():
                following = self._to_store.get()
                if following is None:
                    yield batch
                    return
                batch += following
            yield batch


def _in_one_line(error: Exception) -> str:
    """What is wrong, and where; the remedy is said in the end."""
    if not isinstance(error, NileError):
        return str(error)
    return f"{error.where}: {error.message}" if error.where else error.message
