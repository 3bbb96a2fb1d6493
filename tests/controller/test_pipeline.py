"""Events on their way through the store's thread to the caller's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from nile.cascade import Recorded
from nile.controller.pipeline import BATCH, SEEN_STEP, Pipeline
from nile.errors import StoreError, TakenOverError
from nile.events import Event, HostOutput, Notice

DEADLINE_S = 10.0


class Line:
    """A pipeline whose store can be held up or made to fail, and what it was told."""

    def __init__(self) -> None:
        self.recorded: list[Event] = []
        self.batches: list[int] = []
        self.stored: list[int] = []
        self.shown: list[int] = []
        self.may_record = threading.Event()
        self.may_record.set()
        self.recording = threading.Event()
        self.fails: Exception | None = None
        self.taken_over: list[Exception] = []
        self.pipeline = Pipeline(self._record, self.stored.append, self.shown.append, self.taken_over.append)

    def _record(self, events: Sequence[Event]) -> None:
        self.recording.set()
        assert self.may_record.wait(DEADLINE_S)
        if self.fails is not None:
            raise self.fails
        self.batches.append(len(events))
        self.recorded += events

    def put(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.pipeline.put(number, Notice(str(number)))
            self.pipeline.send()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    made.pipeline.start()
    yield made
    made.may_record.set()
    made.pipeline.end()
    made.pipeline._thread.join(DEADLINE_S)
    assert not made.pipeline._thread.is_alive()


def texts(events: Sequence[Event | None]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def test_all_events_in_order_stored_before_they_are_seen(line: Line) -> None:
    line.put(1, 5000)
    line.pipeline.end()
    seen: list[Event | None] = []
    for event in line.pipeline.events():
        assert event in line.recorded[len(seen) : len(seen) + 1]
        seen.append(event)
    assert texts(seen) == [str(number) for number in range(1, 5001)]
    assert line.stored == sorted(line.stored)
    assert line.stored[-1] == 5000
    assert line.shown == sorted(line.shown)
    assert line.shown[-1] == 5000


def test_what_waits_is_stored_in_one_batch_up_to_a_bound(line: Line) -> None:
    line.may_record.clear()
    line.put(1, 1)
    assert line.recording.wait(DEADLINE_S)
    line.put(2, BATCH + 101)
    line.pipeline.end()
    line.may_record.set()
    assert len(list(line.pipeline.events())) == BATCH + 101
    assert line.batches == [1, BATCH, 100]


def test_what_is_put_together_goes_on_together(line: Line) -> None:
    assert [line.pipeline.put(number, Notice(str(number))) for number in (1, 2, 3)] == [True, False, False]
    line.pipeline.send()
    line.pipeline.send()
    assert line.pipeline.put(4, Notice("4"))
    line.pipeline.end()
    assert texts(list(line.pipeline.events())) == ["1", "2", "3", "4"]
    assert (sum(line.batches), line.batches[0] >= 3) == (4, True)


def test_one_that_was_not_seen_yet_is_not_called_shown(line: Line) -> None:
    for number in (1, 2, 3):
        line.pipeline.put(number, Notice(str(number)))
    line.pipeline.end()
    events = line.pipeline.events()
    assert len([next(events) for _ in range(3)]) == 3
    assert line.shown == []
    assert list(events) == []
    assert line.shown == [3]


def test_the_room_that_output_took_is_given_back_before_all_that_waits_is_seen(line: Line) -> None:
    chunk = bytes(SEEN_STEP // 2)
    for number in range(1, 6):
        line.pipeline.put(number, HostOutput("h1", "stdout", (number - 1) * len(chunk), chunk))
    line.pipeline.end()
    told = [list(line.shown) for _ in line.pipeline.events()]
    assert told == [[], [], [2], [2], [2, 4]]
    assert line.shown == [2, 4, 5]


def test_idle_ticks_while_nothing_comes(line: Line) -> None:
    events = line.pipeline.events(idle_s=0.01)
    assert [next(events), next(events)] == [None, None]
    line.put(1, 1)
    first = next(event for event in events if event is not None)
    assert texts([first]) == ["1"]
    line.pipeline.end()
    assert [event for event in events if event is not None] == []


def test_a_store_that_fails_is_told_and_the_run_goes_on_to_its_end(line: Line) -> None:
    line.fails = OSError("no space left on device")
    line.put(1, 3)
    line.put(4, 5)
    line.pipeline.end()
    told, *others = [event for event in line.pipeline.events() if event is not None]
    assert isinstance(told, Notice)
    assert "no space left on device" in told.text
    assert texts(others) == ["1", "2", "3", "4", "5"]
    assert line.pipeline.failure is line.fails
    assert line.recorded == []
    assert line.stored[-1] == 5  # agents would wait for ever for what can't be kept
    assert line.shown[-1] == 5


def test_an_error_of_the_engine_is_raised(line: Line) -> None:
    line.put(1, 1)
    line.pipeline.end(RuntimeError("broken"))
    with pytest.raises(RuntimeError, match="broken"):
        list(line.pipeline.events())
    line.pipeline.drain()
    assert texts(line.recorded) == ["1"]


def test_a_reader_that_leaves_early_keeps_nobody_waiting(line: Line) -> None:
    line.put(1, 10)
    events = line.pipeline.events()
    next(events)
    close: Callable[[], None] = events.close  # type: ignore[attr-defined]
    close()
    line.put(11, 20)
    line.pipeline.end()
    line.pipeline.drain()
    assert line.stored[-1] == 20
    assert line.shown[-1] == 20
    assert len(line.recorded) == 20


def test_once_another_root_has_the_run_nothing_is_told_to_anybody(line: Line) -> None:
    line.fails = TakenOverError("another root has it")
    line.put(1, 3)
    line.pipeline.end()
    assert list(line.pipeline.events()) == []
    assert (line.stored, line.taken_over) == ([], [line.fails])
    assert line.pipeline.failure is line.fails


def test_a_decision_that_cant_be_kept_says_where_and_what_helps(line: Line) -> None:
    line.put(1, 1)
    assert next(line.pipeline.events())
    assert line.pipeline.recorded(7) == Recorded(7)
    line.fails = StoreError("can't record the run: disk is full", where="/s/runs.db", remedy="free 16 MiB")
    line.put(2, 2)
    notice = next(line.pipeline.events())
    assert isinstance(notice, Notice)
    assert notice.text.endswith("recorded: /s/runs.db: can't record the run: disk is full")
    kept = line.pipeline.recorded(8)
    assert (kept.kept, kept.remedy) == (False, "free 16 MiB")
    assert kept.reason == "/s/runs.db: can't record the run: disk is full"
