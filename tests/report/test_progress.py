"""The status line: on a terminal only, gone whenever something is written, and at the end."""

from __future__ import annotations

import pytest

from nile.events import HostOutput, HostResult, HostStarted, HostUp, RunEnded, RunStarted, Verdict
from nile.report import Live, Progress, Several
from nile.report.screen import ERASE
from tests.report.screens import Caught


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


STARTED = RunStarted("5eed", "id", None, ("n1", "n2", "n3"), ("gw",), 0.0)


def test_it_counts_what_happens() -> None:
    clock = Clock()
    progress = Progress(Caught().screen, clock=clock)
    for event in (
        STARTED,
        HostUp("gw", "root", 1, 0.1, 0.2),
        HostUp("n1", "gw", 2, 0.1, 0.2),
        HostUp("n2", "gw", 2, 0.1, 0.2),
        HostStarted("n1", 0.3),
        HostStarted("n2", 0.3),
        HostResult("n1", Verdict.OK, rc=0),
        HostResult("n3", Verdict.UNREACHABLE),
    ):
        progress.handle(event)
    assert progress.line(5.0) == "nile: 2/3 done, 1 not ok, 2 up (and 1 relay), 1 running, 5 s"


def test_a_pipe_sees_nothing_of_it() -> None:
    caught = Caught()
    progress = Progress(caught.screen)
    progress.handle(STARTED)
    progress.finish()
    assert caught.err == b""


def test_it_gives_way_to_output_and_comes_back() -> None:
    caught, clock = Caught(terminal=True), Clock()
    report = Several([Live(caught.screen), Progress(caught.screen, clock=clock)])
    report.handle(STARTED)
    clock.now = 1.0
    report.handle(HostOutput("n1", "stdout", 0, b"hello\n"))
    first, second = (f"{ERASE}nile: 0/3 done, 0 up, 0 running, {at} s" for at in (0, 1))
    assert caught.order.getvalue().decode() == f"{first}{ERASE}n1: hello\n{second}"


def test_it_isnt_redrawn_for_every_event_but_a_tick_shows_the_last_state() -> None:
    caught, clock = Caught(terminal=True), Clock()
    progress = Progress(caught.screen, clock=clock)
    progress.handle(STARTED)
    progress.handle(HostUp("n1", "root", 1, 0.1, 0.2))
    assert caught.err.decode().count(ERASE) == 1
    clock.now = 0.2
    progress.tick()
    assert caught.err.decode().split(ERASE)[-1] == "nile: 0/3 done, 1 up, 0 running, 0 s"


def test_it_is_gone_for_good_at_the_end() -> None:
    caught, clock = Caught(terminal=True), Clock()
    progress = Progress(caught.screen, clock=clock)
    progress.handle(STARTED)
    progress.handle(RunEnded("5eed"))
    clock.now = 10.0
    progress.tick()
    assert caught.err.decode().endswith(" s" + ERASE)


def test_it_is_never_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    caught = Caught(terminal=True)
    Progress(caught.screen, clock=Clock()).handle(STARTED)
    assert caught.err.decode() == ERASE + "nile: 0/3 d"
