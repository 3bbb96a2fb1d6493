"""`nile logs`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nile.cli.logs import command
from nile.errors import UsageError
from nile.events import HostOutput, RunEnded, Verdict
from nile.store import Recorder, RunContext
from nile.store.records import process_identity
from tests.cli.conftest import Record
from tests.store import sample


def logs(*args: str) -> Result:
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert result.exit_code == 0
    return result


VERDICTS = (
    b"nile: failed: n2 (1): killed by SIGKILL\n  look who did it\n"
    b"nile: unreachable: n3 (1): connection refused, by way of gw\n"
)


def test_output_comes_as_it_did_and_hosts_without_any_are_named(record: Record) -> None:
    record(sample.whole_run())
    result = logs("last")
    assert result.stdout_bytes == b"n1: up 3 days\nn1: second line\n"
    assert result.stderr_bytes == b"n2: \xff\x00 not text\n" + VERDICTS


def test_lines_of_hosts_come_in_the_order_of_arrival(record: Record) -> None:
    parts = [("n1", b"a\n"), ("n2", b"b\nc"), ("n1", b"d\n"), ("n2", b"e\n")]
    record([sample.started(), *(HostOutput(host, "stdout", 0, data) for host, data in parts[:2])])
    assert logs("last").stdout == "n1: a\nn2: b\nn2: c\n"


def test_some_hosts_only(record: Record) -> None:
    record(sample.whole_run())
    result = logs("last", "-w", "n[1,3]")
    assert result.stdout == "n1: up 3 days\nn1: second line\n"
    assert result.stderr == "nile: unreachable: n3 (1): connection refused, by way of gw\n"
    assert (
        logs("last", "-w", "n*!n3").stderr_bytes
        == b"n2: \xff\x00 not text\n" + VERDICTS.split(b"nile: un")[0]
    )


def test_failed_hosts_only(record: Record) -> None:
    record(sample.whole_run())
    result = logs("last", "--failed")
    assert (result.stdout, result.stderr_bytes) == ("", b"n2: \xff\x00 not text\n" + VERDICTS)


def test_equal_output_is_folded(record: Record) -> None:
    same = [HostOutput(host, "stdout", 0, b"6.1\n") for host in sample.HOSTS]
    record([sample.started(), *same])
    assert logs("last", "-b").stdout == "---------------\nn[1-3] (3)\n---------------\n6.1\n"
    assert logs("last", "-b", "-w", "n2").stdout == "---------------\nn2 (1)\n---------------\n6.1\n"


def test_hosts_of_a_root_that_died_have_no_verdict_and_count_as_failed(record: Record) -> None:
    record(sample.whole_run()[:8])
    assert logs("last", "--failed").stderr_bytes == (
        b"n2: \xff\x00 not text\nnile: no verdict: n[2-3] (2): the root died before it had one\n"
    )


def test_hosts_that_are_still_at_work_are_not_failed(state: Path, record: Record) -> None:
    record([sample.started("0000")])
    with Recorder(state, RunContext.here(())) as recorder:
        recorder.record(sample.whole_run()[:8])
        assert logs("last", "--failed").stderr_bytes == b""
        assert "nile: no verdict: n[2-3] (2): the run goes on" in logs("last", "-w", "n3,n2").stderr


def test_all_ok_says_nothing(record: Record) -> None:
    record([sample.started(hosts=["n1"]), sample.OK, RunEnded("5eed0001", {Verdict.OK: 1})])
    assert (logs("last", "--failed").output, logs("last").output) == ("", "")


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("n[3-9]", r"-w: n\[4-9\] was not asked for in run 5eed0001\n.*nile show"),
        ("gw", r"gw was not asked for"),
        ("@nope", r"-w: group @nope is unknown"),
        ("n[1-", r"-w: .*no host set"),
        ("", r"-w: a host set is empty"),
        ("n1!n1", r"-w: host set .* is empty"),
    ],
)
def test_hosts_that_had_no_part_are_an_error(record: Record, hosts: str, message: str) -> None:
    record(sample.whole_run())
    with pytest.raises(UsageError, match=message):
        logs("last", "-w", hosts)


def test_a_run_under_way_is_followed_to_its_end(state: Path) -> None:
    """Another process records; what comes behind the first look is shown, and each piece once."""
    context = RunContext(process=process_identity(os.getpid()))
    with Recorder(state, context) as recorder:
        recorder.record([sample.started(), HostOutput("n1", "stdout", 0, b"one\ntw")])
        words = [sys.executable, "-m", "nile", "logs", "--follow", "last"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"n1: one\n"
            recorder.record([HostOutput("n1", "stdout", 6, b"o\n"), HostOutput("n2", "stdout", 0, b"x\n")])
            assert sorted([process.stdout.readline(), process.stdout.readline()]) == [
                b"n1: two\n",
                b"n2: x\n",
            ]
            recorder.record([HostOutput("n3", "stdout", 0, b"last"), RunEnded(sample.started().run)])
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"n3: last\n")
    assert b"no verdict" in err


def test_what_cant_be_followed(record: Record) -> None:
    record(sample.whole_run())
    for option in ("-b", "--failed"):
        with pytest.raises(UsageError, match="--follow and"):
            CliRunner().invoke(command, ["--follow", option, "last"], catch_exceptions=False)
