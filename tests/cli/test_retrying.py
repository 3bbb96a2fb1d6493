"""`nile exec --retry-failed`, and `--outdir`: on a lab of loopback hosts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nile.cli.retrying import AGAIN
from nile.events import HostResult, RunEnded, RunStarted, Verdict
from nile.lab import Lab
from nile.store import Recorder, RunContext
from nile.store.records import process_identity
from tests.cluster.running import Nile

pytestmark = pytest.mark.lab


@pytest.fixture
def nile(loopback_lab: Lab, tmp_path: Path) -> Nile:
    return Nile(loopback_lab, tmp_path)


def test_who_failed_gets_the_same_command_again(nile: Nile) -> None:
    """With that run's options, and those that are given now over them; also of a run that did so itself."""
    marks = nile.state / "marks"
    marks.mkdir()
    command = (
        f'cd {marks}; echo "$NILE_HOST" >> all; [ "$NILE_HOST" != h001 ] || exit 0;'
        '[ ! -e "mark-$NILE_HOST" ] || exit 0; touch "mark-$NILE_HOST";'
        "[ $NILE_HOST = h003 ] && exec sleep 60; exit 3"
    )
    first = nile.exec("-w", "h[001-003]", "-u", "1", "--grace", "0.5", "--", command)
    assert first.code == 4
    (run,) = [json.loads(line)["run"] for line in nile.command("runs", "--json").lines()]
    (marks / "mark-h002").unlink()
    again = nile.command("exec", "--retry-failed", "last", "--json", "-u", "20s")
    assert again.verdicts == {"h002": "failed", "h003": "ok"}
    assert again.events[0]["command"] == command
    told = json.loads(nile.command("runs", "--json", "-n", "1").lines()[0])
    assert told["argv"][-5:] == ["exec", "--retry-failed", run, "--json", "-u", "20s"][-5:]
    assert told["routes"] == str(nile.routes)
    third = nile.command("exec", "--retry-failed", "last", "--outdir", str(nile.state / "out"))
    assert third.code == 0, third.err
    assert sorted((marks / "all").read_text().split()) == ["h001", *["h002"] * 3, *["h003"] * 2]
    assert [path.name for path in (nile.state / "out").iterdir()] == ["h002.out"]
    last = nile.command("exec", "--retry-failed", "last")
    assert (last.code, "no host of run" in last.err) == (0, True)


def test_what_cant_go_with_it(nile: Nile) -> None:
    nile.exec("--stdin", "-w", "h001", "--", "cat; false", stdin=b"x")
    for words, says in (
        (["-w", "h001"], "-w can't go with --retry-failed"),
        (["--", "true"], "a command can't go with --retry-failed"),
        (["--script", "x"], "--script can't go with --retry-failed"),
        (["--per-host", "x"], "--per-host can't go with --retry-failed"),
        ([], "read standard input"),
    ):
        done = nile.command("exec", "--retry-failed", "last", *words)
        assert (done.code, says in done.err) == (2, True), done.err
    assert nile.command("exec", "--retry-failed", "last", "--stdin", stdin=b"y").lines() == ["h001: y"]
    nile.command(
        "sync", "--routes", str(nile.routes), "-w", "h001", str(nile.state / "nile"), str(nile.state / "to")
    )
    done = nile.command("exec", "--retry-failed", "last")
    assert (done.code, "wasn't begun by `nile exec`" in done.err) == (2, True)


def test_values_of_variables_are_given_again(nile: Nile) -> None:
    """They aren't recorded, and the root's own of that name are others."""
    nile.exec("-w", "h001", "--env", "HOME=there", "--", 'echo "$HOME"; false')
    done = nile.command("exec", "--retry-failed", "last")
    assert (done.code, done.out) == (2, "")
    assert "variables whose values aren't recorded: HOME" in done.err
    assert "--env HOME=..." in done.err
    assert nile.command("exec", "--retry-failed", "last", "--env", "HOME=here").lines() == ["h001: here"]


def test_the_verdicts_that_are_tried_again() -> None:
    assert set(Verdict) - AGAIN == {Verdict.OK, Verdict.LOST}


def test_a_host_that_is_lost_gets_it_again_only_if_that_does_no_harm(nile: Nile) -> None:
    argv = ("nile", "exec", "-r", str(nile.routes), "-w", "h[001-002]", "--", "echo again")
    with Recorder(nile.state / "nile" / "runs.db", RunContext(argv, str(nile.state))) as recorder:
        recorder.record(
            [
                RunStarted("ab" * 16, "echo again", str(nile.routes), ("h001", "h002", "h003"), (), 1000.0),
                HostResult("h001", Verdict.LOST),
                HostResult("h002", Verdict.OK, 0),
                RunEnded("ab" * 16),
            ]
        )
    done = nile.command("exec", "--retry-failed", "abab")
    assert "not tried again: h[001,003] (2): lost" in done.err
    assert (done.code, done.out) == (0, "")
    done = nile.command("exec", "--retry-failed", "abab", "--idempotent")
    assert sorted(done.lines()) == ["h001: again", "h003: again"]


def test_the_descriptor_of_a_password_was_that_runs(nile: Nile) -> None:
    """It is closed by now; one that is given now is looked at."""
    argv = ("nile", "exec", "-r", str(nile.routes), "-w", "h001", "--pass-fd", "63", "--", "echo again")
    with Recorder(nile.state / "nile" / "runs.db", RunContext(argv, str(nile.state))) as recorder:
        started = RunStarted("ab" * 16, "echo again", str(nile.routes), ("h001",), (), 1000.0)
        recorder.record([started, HostResult("h001", Verdict.FAILED, 1), RunEnded("ab" * 16)])
    done = nile.command("exec", "--retry-failed", "abab")
    assert (done.code, done.lines()) == (0, ["h001: again"]), done.err
    done = nile.command("exec", "--retry-failed", "abab", "--pass-fd", "63")
    assert (done.code, "descriptor 63 isn't open" in done.err) == (2, True)


def test_output_goes_to_files(nile: Nile) -> None:
    out = nile.state / "out"
    done = nile.exec(
        "-w", "h[001-002]", "--outdir", str(out), "--", "seq 100000; [ $NILE_HOST = h001 ] || echo e >&2"
    )
    assert done.code == 0
    whole = "".join(f"{number}\n" for number in range(1, 100_001))
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "h001.out": whole,
        "h002.out": whole,
        "h002.err": "e\n",
    }
    done = nile.exec("-w", "h001", "--outdir", str(nile.routes), "--", "true")
    assert (done.code, "File exists" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ([], "h001: h001\n"),
        (["-b"], "h001\n"),
        (["-L"], "h001: h001\n"),
        (["--diff", "-w", "h002"], "-h001\n+h002\n"),
        (["--json"], '"stdout": "h001\\n"'),
    ],
)
def test_a_run_that_is_not_recorded(nile: Nile, words: list[str], out: str) -> None:
    """It is shown all the same, and nothing of it is left; nor of one whose root was killed."""
    state = nile.state / "nile"
    (state / "unkept-dead").mkdir(parents=True)
    gone = " ".join([*process_identity(os.getpid()).split()[:2], "999999999", "1"])
    (state / "unkept-dead" / "process").write_text(gone)
    done = nile.exec("--no-store", "-w", "h001", *words, "--", "echo $NILE_HOST")
    assert done.code == 0
    assert out in done.out
    assert not list(state.glob("unkept*"))
    assert not (state / "runs.db").exists()
