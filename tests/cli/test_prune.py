"""`nile prune`."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nile.cli.keeping import keeping
from nile.cli.prune import age_s, command
from nile.events import HostOutput, RunEnded
from nile.store import Recorder, RunContext, Store
from nile.store.records import process_identity
from nile.topology.refusal import Refusal
from tests.store import sample

DAY_S = 24 * 3600.0


@pytest.fixture
def runs(state: Path) -> list[str]:
    """Four runs, begun 40, 30, 20 and 0 days ago."""
    names = []
    for number, days in enumerate((40, 30, 20, 0)):
        names.append(f"{number:08x}")
        with Recorder(state) as recorder:
            recorder.record(
                [
                    sample.started(names[-1], at=time.time() - days * DAY_S),
                    HostOutput("n1", "stdout", 0, os.urandom(400_000)),
                    RunEnded(names[-1]),
                ]
            )
    return names


def prune(*args: str) -> Result:
    return CliRunner().invoke(command, args, catch_exceptions=False)


def left(state: Path) -> list[str]:
    with Store(state) as store:
        return [run.run for run in reversed(store.runs())]


def test_by_age_and_number(state: Path, runs: list[str]) -> None:
    assert prune("--older-than", "25d", "-n").stdout.startswith("would remove 2 runs, begun from ")
    assert left(state) == runs
    assert prune("--older-than", "25d", "--keep", "3").stdout.startswith("removed 1 run, ")
    assert left(state) == runs[1:]
    assert prune("--keep", "1").stdout.startswith("removed 2 runs, ")
    assert prune("--older-than", "1w").stdout == "no run is to be removed\n"
    assert left(state) == runs[3:]


def test_what_a_killed_run_left_that_was_to_leave_nothing(state: Path, runs: list[str]) -> None:
    left_over, alive = state.parent / "unkept-dead", state.parent / "unkept-alive"
    for place, process in ((left_over, os.getpid()), (alive, os.getpid())):
        place.mkdir()
        (place / "process").write_text(process_identity(process) + ("1" if place is left_over else ""))
    prune("-n")
    assert left_over.exists()
    prune("--keep", "9")
    assert (left_over.exists(), alive.exists()) == (False, True)
    (alive / "process").write_text(process_identity(os.getpid()) + "1")
    with keeping({}, RunContext.here(()), ""):
        assert not alive.exists(), "a run that is recorded removes it, too"


def test_what_was_killed_before_it_said_whose_it_is_goes_after_a_week(state: Path, runs: list[str]) -> None:
    old, new = state.parent / "unkept-old", state.parent / "unkept-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 8 * 86400,) * 2)
    prune("--keep", "9")
    assert (old.exists(), new.exists()) == (False, True), "one may just be being made"


def test_by_size(state: Path, runs: list[str]) -> None:
    result = prune("--max-size", "1M")
    assert result.stdout.startswith("removed 2 runs, ")
    assert left(state) == runs[2:]
    assert "; its cap is 1.0 GiB\n" in result.stderr


def test_the_cap_lasts(state: Path, runs: list[str]) -> None:
    assert "its cap is 1.0 MiB" in prune("--cap", "1M").stderr
    assert left(state) == runs[2:]
    assert prune().stdout == "no run is to be removed\n"
    assert "its cap is none" in prune("--cap", "none").stderr


def test_words_that_it_doesnt_take() -> None:
    assert age_s("2w") == 14 * DAY_S
    assert age_s("90m") == 5400
    with pytest.raises(Refusal):
        age_s("90")
    for words in (("--older-than", "x"), ("--max-size", "-1"), ("--cap", "much")):
        assert prune(*words).exit_code == 2


def test_without_a_cap_nothing_goes_that_nobody_chose(state: Path, runs: list[str]) -> None:
    for words in (("--cap", "none", "-n"), ("--cap", "none"), (), ("-n",)):
        assert prune(*words).stdout == "no run is to be removed\n"
        assert left(state) == runs
    assert prune("--cap", "none", "--keep", "1").stdout.startswith("removed 3 runs, ")
    assert left(state) == runs[3:]
