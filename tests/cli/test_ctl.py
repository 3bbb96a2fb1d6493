"""A run under way, seen and ended from another terminal, on a lab of loopback hosts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nile.cascade import Outstanding
from nile.cli import commands, looking, stop, underway
from nile.control import Control, Standing
from nile.errors import NileError
from nile.events import CopyProgress, Event, RunEnded, RunStarted
from nile.lab import Lab
from nile.store import Recorder, RunContext
from tests.cluster.running import Nile
from tests.cluster.terminal import Terminal, command_on_terminal
from tests.lab.helpers import eventually

HOSTS = [f"h{number:03}" for number in range(1, 5)]
RUN = "0123456789abcdef0123456789abcdef"
WAITS = ("-w", "h[001-004]", "--", 'test "$NILE_HOST" = h001 && exit 3; echo begun; sleep 60')


@pytest.fixture
def nile(loopback_lab: Lab, tmp_path: Path) -> Nile:
    return Nile(loopback_lab, tmp_path)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def _status(nile: Nile) -> dict[str, Any]:
    done = nile.command("ctl", "last", "status", "--json")
    return json.loads(done.out) if done.code == 0 else {}


@pytest.mark.lab
def test_a_run_is_seen_and_ended_from_another_terminal(nile: Nile) -> None:
    phases = {"out": 0, "up": 0, "running": 3, "done": 1}
    with nile.started(*WAITS) as run:
        eventually(lambda: _status(nile).get("phases") == phases, "three of them run")
        status = _status(nile)
        assert status["verdicts"] == {"failed": 1}
        assert [host["host"] for host in status["open"]] == HOSTS[1:]
        seen = nile.command("ctl", "last", "status")
        assert "4 hosts: 3 running, 1 done (1 failed)" in seen.out
        assert "h[002-004] (3)" in seen.lines()[-2]
        assert seen.lines()[-1] == "failed: h001 (1): exit status 3"
        stopped = nile.command("stop", "last", "--grace", "0.5s")
        assert stopped.code == 0, stopped.err
        assert "is over: 0 of 4 hosts ok, 1 failed, 3 cancelled" in stopped.out
        assert run.wait().code == 130
    assert list((nile.state / "nile" / "control").iterdir()) == []
    after = nile.command("stop", "last")
    assert after.code == 2
    assert "it has ended" in after.err


@pytest.mark.lab
def test_a_run_is_looked_on_at_another_terminal_until_it_ends(nile: Nile, terminal: Terminal) -> None:
    with nile.started(*WAITS) as run:
        eventually(lambda: _status(nile).get("phases", {}).get("running") == 3, "three of them run")
        watching = command_on_terminal(nile, terminal, "ctl", "last", "status", "--watch")
        eventually(lambda: b"BROKE" in terminal.shown and b"its command" in terminal.shown, "it is drawn")
        terminal.type(b"\x03")
        assert watching.process.wait(20) == 0
        assert run.process.poll() is None
        assert b"\x1b[?1049l" in terminal.shown  # what was on the terminal before is there again
        before = len(terminal.shown)
        watching = command_on_terminal(nile, terminal, "ctl", "last", "status", "--watch")
        eventually(lambda: b"BROKE" in terminal.shown[before:], "it is drawn again")
        assert nile.command("stop", "last", "--grace", "0.5s").code == 0
        assert watching.process.wait(20) == 0
        # What a terminal is given is read in pieces: the end of it may come in another one.
        ended = (b"was interrupted at", b": 0 of 4 hosts ok, 1 failed, 3 cancelled")
        eventually(lambda: all(text in terminal.shown[before:] for text in ended), "how it ended")
        run.wait()


@pytest.mark.lab
def test_two_runs_at_once_dont_disturb_each_other(nile: Nile, tmp_path: Path) -> None:
    """On the same hosts, over the same relays: one is ended, the other one goes on to its end."""
    go, hosts = tmp_path / "go", [f"h{number:03}" for number in range(1, 7)]
    words = ("-w", "h[001-006]", "--branches", "2", "--json", "--")
    first = 'touch "$NILE_SCRATCH/first"; echo "$NILE_RUN"; sleep 600'
    other = f'while [ ! -e {go} ]; do sleep 0.1; done; echo "$NILE_RUN" $(ls "$NILE_SCRATCH")'

    def running() -> dict[str, str]:
        """The run ids of those whose command runs everywhere, by the command."""
        runs = [json.loads(text) for text in nile.command("runs", "--json").lines()]
        states = [json.loads(nile.command("ctl", run["run"], "status", "--json").out or "{}") for run in runs]
        return {one["command"]: one["run"] for one in states if one.get("phases", {}).get("running") == 6}

    with nile.started(*words, first) as one, nile.started(*words, other) as two:
        eventually(lambda: len(running()) == 2, "both run on all hosts")
        ids = running()
        assert nile.command("stop", ids[first], "--grace", "0.5s").code == 0
        ended = one.wait()
        assert (ended.code, set(ended.verdicts.values())) == (130, {"cancelled"})
        assert running() == {other: ids[other]}
        go.touch()
        done = two.wait().all_ok()
    assert {host: done.stdout_of(host) for host in done.results} == dict.fromkeys(hosts, f"{ids[other]}\n")
    assert {ended.stdout_of(host) for host in hosts} == {f"{ids[first]}\n"}
    assert max(len(result["path"]) for result in done.results.values()) > 2, "some hung below relays"


@pytest.mark.lab
def test_a_display_that_stands_still_hinders_nobody(nile: Nile) -> None:
    """Ctrl-Z stops the display only; whoever asks from elsewhere sees how the run goes on."""
    with nile.started("-w", "h001", "--", "echo begun; sleep 1; echo over; sleep 60") as run:
        eventually(lambda: _status(nile).get("phases", {}).get("running") == 1, "it runs")
        run.signal(signal.SIGTSTP)
        assert _status(nile)["state"] == "running"
        assert nile.command("stop", "last", "--grace", "0.2s").code == 0
        run.signal(signal.SIGTSTP)
        assert run.wait().code == 130


@pytest.mark.lab
def test_a_root_that_was_killed_is_told_from_one_that_lives(nile: Nile) -> None:
    with nile.started(*WAITS) as run:
        eventually(lambda: _status(nile).get("phases", {}).get("running") == 3, "three of them run")
        run.signal(signal.SIGKILL)
        run.wait()
    for words in (("ctl", "last", "status"), ("stop", "last")):
        done = nile.command(*words)
        assert done.code == 2
        assert "its root is dead" in done.err
        assert "nile attach" in done.err


@pytest.mark.lab
def test_after_an_attach_the_status_has_what_was_before(nile: Nile) -> None:
    phases = {"out": 0, "up": 0, "running": 3, "done": 1}
    with nile.started(*WAITS) as run:
        eventually(lambda: _status(nile).get("phases") == phases, "three of them run")
        run.signal(signal.SIGKILL)
        run.wait()
    with nile.begun("attach", "--json", "last") as run:
        eventually(lambda: _status(nile).get("phases") == phases, "they are known to run")
        status = _status(nile)
        assert status["verdicts"] == {"failed": 1}
        assert nile.command("stop", "last", "--grace", "0.5s").code == 0
        assert run.wait().code == 130


Record = Callable[[Sequence[Event]], None]


def test_a_run_on_another_machine_is_said_to_be_there(record: Record, ask: Callable[..., str]) -> None:
    record([RunStarted("ab12", "uptime", None, ("n1",), (), at=1000.0)])
    assert "its root is on another machine, or was there before a boot" in ask("ctl", "ab12", "status")


def test_a_run_that_is_over_is_said_to_be(record: Record, ask: Callable[..., str]) -> None:
    record([RunStarted("ab12", "uptime", None, ("n1",), (), at=1000.0), RunEnded("ab12")])
    assert "`nile show ab12` shows how" in ask("stop", "ab12")


def test_nothing_was_ever_recorded(state: Path, ask: Callable[..., str]) -> None:
    assert "no run is recorded yet" in ask("ctl", "last", "status")


@pytest.fixture
def ask(state: Path) -> Callable[..., str]:
    """A command that is refused; what it says."""
    from click.testing import CliRunner

    from nile.cli import commands
    from nile.errors import UsageError

    def ask(*words: str) -> str:
        result = CliRunner().invoke(commands, list(words))
        assert isinstance(result.exception, UsageError)
        return str(result.exception)

    return ask


def test_of_a_run_that_is_about_to_begin_nothing_else_is_told() -> None:
    assert underway.describe(Standing(RUN).status(time.time())) == [f"run {RUN} is about to begin"]


def test_of_copies_it_is_told_how_far_they_are_and_how_long_it_will_take() -> None:
    standing = Standing(RUN)
    begun = RunStarted(RUN, "nile sync", None, ("n1",), (), at=1000.0)
    for eta_s, left in ((6.0, ", 6.00 s left"), (None, "")):
        standing.take([begun, CopyProgress(1, 0, 10 << 20, 40 << 20, 0.25, 5 << 20, eta_s)])
        assert f"copied: 25 % of 40.0 MiB, 5.0 MiB/s{left}" in underway.describe(standing.status(1010.0))


def _under_way(state: Path) -> Path:
    """A run of this very process is recorded; where its root would answer."""
    with Recorder(state, RunContext.here(("nile",))) as recorder:
        recorder.record([RunStarted(RUN, "uptime", None, ("n1", "n2"), (), at=time.time())])
    return state.parent / "control"


def test_who_waits_for_the_end_is_told_who_is_still_out_and_doesnt_wait_for_ever(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop, "TELL_S", 0.1)
    monkeypatch.setattr(stop, "MOST_S", 0.6)
    control = Control(_under_way(state), RUN)
    control.observe([RunStarted(RUN, "uptime", None, ("n1", "n2"), (), at=time.time())])
    asked: list[float] = []
    with control.serving(asked.append):
        result = CliRunner().invoke(commands, ["stop", "last", "--grace", "0.1s"])
    assert asked == [0.1]
    assert isinstance(result.exception, NileError)
    assert result.exception.exit_code == 1
    assert "it was told to end, and isn't over 0.6 s after the grace" in str(result.exception)
    assert result.stderr.count("not reached yet, for up to") == 1
    assert "n[1-2] (2)" in result.stderr


def _watched(state: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Any:
    """What is said to whom no terminal shows it, of a run that ends after it was looked at three times."""
    monkeypatch.setattr(looking, "EVERY_S", 0.01)
    control = Control(_under_way(state), RUN)
    control.observe([RunStarted(RUN, "uptime", None, ("n1", "n2"), (), at=time.time())])
    looks: list[int] = []

    def look() -> Sequence[Outstanding]:
        looks.append(1)
        if len(looks) == 3:
            with contextlib.closing(sqlite3.connect(state)) as store, store:
                store.execute("UPDATE run SET ended_at = 1.0, wall_s = 2.0")
        return ()

    with control.serving(lambda _: None, outstanding=look):
        return CliRunner().invoke(commands, ["ctl", "last", "status", "--watch", *more])


def test_without_a_terminal_what_is_new_is_said_line_by_line(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _watched(state, monkeypatch)
    assert result.exit_code == 0
    assert result.output.count("2 hosts: 2 not reached yet, 0 done") == 1
    assert f"run {RUN} ended at" in result.output.splitlines()[-1]


def test_programs_get_a_line_each_time(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.loads(line) for line in _watched(state, monkeypatch, "--json").output.splitlines()]
    assert [line["state"] for line in lines] == ["running", "running", "running", "ended"]
    assert all(line.keys() == lines[0].keys() for line in lines)


def test_only_a_status_is_watched(ask: Callable[..., str]) -> None:
    assert "pause can't be watched" in ask("ctl", "last", "pause", "--watch")


def test_a_root_that_is_killed_amid_its_end_is_not_said_to_be_over(state: Path) -> None:
    def die(_: float) -> None:
        """Its record says from now on that it was another process, which is gone."""
        with contextlib.closing(sqlite3.connect(state)) as store, store:
            store.execute("UPDATE run SET process = replace(process, ?, ' 4194305 ')", (f" {os.getpid()} ",))

    with Control(_under_way(state), RUN).serving(die):
        result = CliRunner().invoke(commands, ["stop", "last"])
    assert "its root is dead" in str(result.exception)
