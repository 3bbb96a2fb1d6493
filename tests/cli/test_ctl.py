"""A run under way, seen and ended from another terminal, on a lab of loopback hosts."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nile.events import Event, RunEnded, RunStarted
from nile.lab import Lab
from tests.cluster.running import Nile
from tests.lab.helpers import eventually

HOSTS = [f"h{number:03}" for number in range(1, 5)]
WAITS = ("-w", "h[001-004]", "--", 'test "$NILE_HOST" = h001 && exit 3; echo begun; sleep 60')


@pytest.fixture
def nile(loopback_lab: Lab, tmp_path: Path) -> Nile:
    return Nile(loopback_lab, tmp_path)


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
        assert "h[002-004] (3)" in seen.lines()[-1]
        stopped = nile.command("stop", "last", "--grace", "0.5s")
        assert stopped.code == 0, stopped.err
        assert "is over: 0 of 4 hosts ok, 1 failed, 3 cancelled" in stopped.out
        assert run.wait().code == 130
    assert list((nile.state / "nile" / "control").iterdir()) == []
    after = nile.command("stop", "last")
    assert after.code == 2
    assert "it has ended" in after.err


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
