"""Which renderers a run gets, and a status line that goes on by itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nile.events import Event, HostOutput, HostResult, RunEnded, RunStarted, Verdict
from nile.report import Progress, Style, Ticking, renderer_for, ticking
from nile.report.screen import ERASE
from tests.report.screens import Caught

RUN: list[Event] = [
    RunStarted("5eed", "id", None, ("n1", "n2"), (), 0.0),
    HostOutput("n1", "stdout", 0, b"same\n"),
    HostOutput("n2", "stdout", 0, b"same\n"),
    HostResult("n1", Verdict.OK, rc=0),
    HostResult("n2", Verdict.FAILED, rc=1),
    RunEnded("5eed", {Verdict.OK: 1, Verdict.FAILED: 1}, 1.0),
]
FAILED = "nile: failed: n2 (1): exit status 1\n"
TOTALS = "nile: 1 of 2 hosts ok, 1 failed, in 1.00 s (run 5eed)\n"


def shown(style: Style, *, terminal: bool = False) -> tuple[str, str]:
    def chunks(host: str, stream: str) -> Iterator[bytes]:
        yield b"same\n"

    caught = Caught(terminal=terminal)
    renderer = renderer_for(style, caught.screen, lambda host, stream, limit: (b"same\n", False), chunks)
    for event in RUN:
        renderer.handle(event)
    renderer.finish()
    return caught.out.decode(), caught.err.decode()


def test_output_is_live_by_default() -> None:
    assert shown(Style()) == ("n1: same\nn2: same\n", FAILED + TOTALS)


def test_folded() -> None:
    out, err = shown(Style(fold=True))
    assert out == "---------------\nn[1-2] (2)\n---------------\nsame\n"
    assert err == FAILED + TOTALS


def test_quiet_keeps_output_and_what_is_not_ok() -> None:
    assert shown(Style(quiet=True), terminal=True) == ("n1: same\nn2: same\n", FAILED)


def test_json_is_alone() -> None:
    out, err = shown(Style(json=True))
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert events == ["run", "output", "output", "result", "result", "summary"]
    assert err == ""
    assert ERASE not in "".join(shown(Style(json=True), terminal=True))


def test_a_terminal_has_a_status_line_until_the_end() -> None:
    _, err = shown(Style(), terminal=True)
    assert err.startswith(f"{ERASE}nile: 0/2 done")
    assert err.endswith(ERASE + FAILED + TOTALS)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.005)


def test_the_status_line_goes_on_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticking, "TICK_S", 0.005)
    caught, now = Caught(terminal=True), [0.0]
    progress = Progress(caught.screen, clock=lambda: now[0])
    renderer = Ticking(progress, progress.tick)
    renderer.handle(RUN[0])
    now[0] = 7.0
    wait_until(lambda: caught.err.decode().endswith("7 s"))
    renderer.finish()
    assert caught.err.decode().endswith(ERASE)
    assert "nile-status" not in [thread.name for thread in threading.enumerate()]


def test_a_terminal_that_is_gone_ends_the_ticking_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticking, "TICK_S", 0.005)
    ticked = threading.Event()

    def tick() -> None:
        ticked.set()
        raise BrokenPipeError

    renderer = Ticking(Progress(Caught().screen), tick)
    renderer.handle(RUN[0])
    assert ticked.wait(20)
    renderer.finish()


def test_a_renderer_without_events_can_be_finished() -> None:
    caught = Caught()
    Ticking(Progress(caught.screen), lambda: None).finish()
    assert caught.err == b""
