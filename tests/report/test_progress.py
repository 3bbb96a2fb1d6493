"""The status line: on a terminal only, gone whenever something is written, and at the end."""

from __future__ import annotations

import pytest

from nile.events import (
    CopyProgress,
    HostCopy,
    HostOutput,
    HostResult,
    HostStarted,
    HostUp,
    RunEnded,
    RunStarted,
    Verdict,
)
from nile.report import Live, Progress, Several
from nile.report.screen import ERASE, UP
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


MB = 1 << 20
COPIES = CopyProgress(
    3,
    1,
    60 * MB,
    120 * MB,
    0.5,
    10.0 * MB,
    6.0,
    (HostCopy("n12", 8 * MB, 40 * MB, 2.0 * MB, 16.0), HostCopy("n3", 0, 40 * MB, 0.0, None)),
)


def copying() -> tuple[Caught, Clock, Progress]:
    caught, clock = Caught(terminal=True), Clock()
    progress = Progress(caught.screen, clock=clock)
    progress.handle(STARTED)
    progress.handle(HostResult("n1", Verdict.OK))
    clock.now = 1.0
    progress.handle(COPIES)
    return caught, clock, progress


def test_copies_are_told_of_all_hosts_and_of_those_that_are_behind() -> None:
    _, _, progress = copying()
    assert progress.lines(9.0) == [
        "nile: 1/3 done, 50 % of 120.0 MiB, 10.0 MiB/s, 6 s left, 9 s",
        "  n12  20 % of 40.0 MiB, 2.0 MiB/s, 16 s left",
        "  n3    0 % of 40.0 MiB, 0 bytes/s",
    ]


def test_once_all_has_come_it_says_what_it_still_does() -> None:
    _, _, progress = copying()
    progress.handle(CopyProgress(3, 3, 120 * MB, 120 * MB, 1.0, 0.0, 0.0))
    assert progress.lines(9.0) == ["nile: 1/3 done, 120.0 MiB have come, being checked, 9 s"]


def test_all_lines_are_taken_away_from_the_last_one_up() -> None:
    caught, clock, progress = copying()
    assert caught.err.decode().split(ERASE)[-1].count("\r\n") == 2
    clock.now = 2.0
    progress.tick()
    assert caught.err.decode().count(ERASE + UP + UP + "nile: ") == 1
    progress.finish()
    assert caught.err.decode().endswith(ERASE + UP + UP)


def test_a_low_terminal_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setenv("COLUMNS", "80")
    caught, _, _ = copying()
    assert "n12" not in caught.err.decode()


def test_what_a_host_is_called_does_nothing_to_the_terminal() -> None:
    caught = Caught(terminal=True)
    progress = Progress(caught.screen, clock=Clock())
    progress.handle(CopyProgress(1, 0, 0, 9, 0.0, 0.0, None, (HostCopy("n\x1b[2J", 0, 9, 0.0, None),)))
    assert b"\x1b[2J" not in caught.err
