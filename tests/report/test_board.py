"""The view of a live run: what is on it, and that it fits the terminal whatever the run is."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from nile.cascade import Outstanding, Waits
from nile.control import Standing
from nile.events import (
    CopyProgress,
    Event,
    HostResult,
    HostStarted,
    HostUp,
    Notice,
    Paced,
    RunStarted,
    Verdict,
)
from nile.options import Pacing
from nile.report.board import WAITS_FOR, board, shares
from nile.report.waiting import WAITS

HOSTS = tuple(f"n{number:03}" for number in range(1, 601))
GATEWAYS = HOSTS[:24]


def six_hundred() -> dict[str, Any]:
    """600 hosts after 41 seconds: most are done, some failed, others are at all that hosts may be at."""
    events: list[Event] = [RunStarted("3a6e0c71" * 4, "yum -y update", None, HOSTS, (), at=1000.0)]
    events += [HostUp(host, "root", 1, 0.1, 0.5) for host in GATEWAYS]
    events += [HostUp(host, "n001", 2, 0.6, 3.0) for host in HOSTS[24:590]]
    events += [HostStarted(host, 3.5) for host in HOSTS[:580]]
    events += [HostResult(host, Verdict.OK, rc=0, stage=1 if host in GATEWAYS else 2) for host in HOSTS[:560]]
    events += [HostResult(host, Verdict.FAILED, rc=3, stage=2) for host in HOSTS[560:563]]
    refused = "connection refused"
    events += [HostResult(HOSTS[599], Verdict.UNREACHABLE, stage=2, reason=refused)]
    events += [Notice("its clock is off by 3 h", HOSTS[3])]
    standing = Standing("3a6e0c71" * 4)
    standing.take(events)
    outstanding = [Outstanding(host, 2, "n001", Waits.COMMAND, 3.5) for host in HOSTS[563:580]]
    outstanding += [Outstanding(host, 2, "n002", Waits.TURN, 3.0) for host in HOSTS[580:590]]
    outstanding += [Outstanding(HOSTS[590], 2, "n003", Waits.LOGIN, 0.5)]
    outstanding += [Outstanding(host, 2, "n003", Waits.QUEUE, 0.5) for host in HOSTS[591:599]]
    return standing.status(1041.2, outstanding)


def drawn(status: dict[str, Any], columns: int = 80, rows: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=columns, height=rows, color_system=None)
    with console.capture() as capture:
        console.print(board(status, columns, rows))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_six_hundred_hosts_on_eighty_columns_and_24_rows() -> None:
    lines = drawn(six_hundred())
    assert lines[0] == "run 3a6e0c71  running for 41.2 s  yum -y update"
    assert lines[2] == "560 ok, 4 not ok, 17 running, 10 up, 9 not reached, of 600"
    text = "\n".join(lines)
    assert " STAGE HOSTS OK NOT OK RUNNING UP NOT REACHED" in " " + " ".join(lines[4].split())
    assert [line.split()[:7] for line in lines[5:7]] == [
        ["1", "24", "24", "0", "0", "0", "0"],
        ["2", "576", "536", "4", "17", "10", "9"],
    ]
    for said in ("failed", "exit status 3", "n[561-563]", "unreachable", "connection refused", "n600"):
        assert said in text
    assert "the login by n003" in text
    assert "its command" in text
    assert "n[564-580]" in text
    assert "n004: its clock is off by 3 h" in text


def test_who_has_waited_longest_comes_first_and_the_most_that_broke() -> None:
    lines = drawn(six_hundred())
    broke = lines.index(next(line for line in lines if line.startswith("BROKE")))
    assert lines[broke + 1].startswith("failed")
    waiting = lines.index(next(line for line in lines if "WAITS FOR" in line))
    assert [line.split()[2] for line in lines[waiting + 1 : waiting + 5]] == ["40.7", "40.7", "38.2", "37.7"]


def test_the_bar_shows_even_the_only_one() -> None:
    bar = drawn(six_hundred())[1]
    assert len(bar) == 80
    assert {mark: bar.count(mark) > 0 for mark in "#x=-."} == dict.fromkeys("#x=-.", True)
    assert bar.startswith("#" * 70)


def test_a_pause_and_copies_are_said() -> None:
    standing = Standing("ab12")
    standing.take([RunStarted("ab12", "nile sync", None, ("n1",), (), at=0.0)])
    standing.take(
        [CopyProgress(1, 0, 10 << 20, 40 << 20, 0.25, 5 << 20, 6.0), Paced("p", pacing=Pacing(paused=True))]
    )
    lines = drawn(standing.status(2.0))
    assert "paused: no further logins and starts" in lines
    assert "copied: 25 % of 40.0 MiB, 5.0 MiB/s, 6.00 s left" in lines


def test_what_nodes_say_gives_the_terminal_no_orders() -> None:
    standing = Standing("ab12")
    bad = HostResult("n\x1b1", Verdict.LOST, reason="\x1b]0;title\x07[bold]")
    standing.take([RunStarted("ab12", "a\x1bb", None, ("n\x1b1",), (), at=0.0), bad, Notice("\x9bm")])
    text = "\n".join(drawn(standing.status(2.0)))
    assert not set(text) & {"\x1b", "\x9b", "\x07"}
    assert "\\x1b]0;title\\x07[bold]" in text


def test_before_it_begins_there_is_little_to_see() -> None:
    assert drawn(Standing("ab12").status(1.0))[0].startswith("run ab12  beginning")


def test_all_that_hosts_wait_for_has_words() -> None:
    assert set(WAITS_FOR) == set(WAITS) == {str(waits) for waits in Waits}


@given(columns=st.integers(20, 300), rows=st.integers(3, 80), kinds=st.integers(0, 40))
def test_it_fits(columns: int, rows: int, kinds: int) -> None:
    status = six_hundred()
    status["broke"] = [
        {"verdict": "failed", "reason": f"why {n} " * 9, "hosts": [f"n{n}"]} for n in range(kinds)
    ]
    lines = drawn(status, columns, rows)
    assert len(lines) <= rows
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize(
    ("wanted", "room", "given"),
    [
        ([2, 3], 9, [2, 3]),
        ([1, 9, 9], 9, [1, 4, 4]),
        ([9, 1, 2], 7, [4, 1, 2]),
        ([5, 5], 3, [2, 1]),
        ([5, 5], 0, [0, 0]),
        ([], 5, []),
    ],
)
def test_who_wants_little_gets_it(wanted: list[int], room: int, given: list[int]) -> None:
    assert shares(wanted, room) == given


@pytest.mark.parametrize("rows", range(5, 30))
def test_a_table_that_is_there_says_something(rows: int) -> None:
    lines = drawn(six_hundred(), 80, rows)
    for head in ("STAGE  HOSTS   OK", "BROKE", "STAGE  HOSTS     FOR", "NOTICES"):
        for place in (n for n, line in enumerate(lines) if line.startswith(head)):
            assert not lines[place + 1].startswith("and ")
            assert lines[place + 1].strip()


def test_what_is_left_out_is_counted() -> None:
    status = six_hundred()
    status["broke"] = [{"verdict": "failed", "reason": f"why {n}", "hosts": [f"n{n}"]} for n in range(30)]
    lines = drawn(status)
    shown = sum(line.startswith("failed") for line in lines)
    assert f"and {30 - shown} more" in lines
