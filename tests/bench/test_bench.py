"""The bench itself: what it counts, what it refuses to count, and that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import document, faults, meter
from tests.bench.results import Result, Scenario, Stage, Target
from tests.bench.site import Sample, site
from tests.bench.spent import by_program, descendants
from tests.bench.tools import COLD, NILE, PDSH, XARGS, Case, answered

HOSTS = tuple(f"h{number:03}" for number in range(1, 10))


def _meter(tmp_path: Path, *command: str) -> dict[str, float]:
    result = tmp_path / "result.json"
    subprocess.run([sys.executable, "-I", meter.__file__, str(result), *command], check=True, timeout=60)
    return dict(json.loads(result.read_text()))


BURN = "import time\nwhile time.process_time() < 0.1: pass"


def test_meter_counts_descendants_that_nobody_waited_for(tmp_path: Path) -> None:
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-ISc', {BURN!r}])"
    measured = _meter(tmp_path, sys.executable, "-ISc", orphan)
    assert measured["cpu_s"] >= 0.1
    assert (measured["rc"], measured["killed"]) == (0, 0)


def test_meter_tells_exit_codes_and_kills_what_stays(tmp_path: Path) -> None:
    measured = _meter(tmp_path, "sh", "-c", "sleep 600 & exit 3")
    assert (measured["rc"], measured["killed"]) == (3, 1)
    assert _meter(tmp_path, "sh", "-c", "kill -9 $$")["rc"] == 137


@pytest.mark.parametrize(
    ("output", "hosts"),
    [
        ("h001: h001\nh002: h002\n", {"h001", "h002"}),
        ("h001\nroot\nh0011\n", {"h001"}),
        ("[1] 10:00:00 [SUCCESS] h001\n", set()),
        ("h001: command not found\n\n", set()),
    ],
)
def test_only_an_answer_counts(output: str, hosts: set[str]) -> None:
    assert answered(output, HOSTS) == hosts


def _slice(name: str, pid: int, milliseconds: int) -> str:
    return (
        f" x-1 [000] d.h.. 1.0: sched_stat_runtime: comm={name} pid={pid} runtime={milliseconds}000000 [ns]\n"
    )


def _fork(parent: int, child: int) -> str:
    return (
        f" x-1 [000] ..... 1.0: sched_process_fork: comm=x y pid={parent} child_comm=x y child_pid={child}\n"
    )


def test_account_counts_descendants_under_their_last_name() -> None:
    trace = [
        _slice("sshd: a b", 5, 1),
        _fork(5, 6),
        _slice("sh", 6, 5),
        _slice("hostname", 6, 1),
        _fork(1, 7),
    ]
    trace += [_slice("hostname", 7, 2), _slice("stranger", 8, 9), _fork(8, 9), _slice("stranger", 9, 9)]
    trace += [_slice("bench", 1, 9)]
    assert by_program(trace, roots={1}, known={5}) == {"sshd: a b": (1, 0.001), "hostname": (2, 0.008)}


def test_descendants_are_found() -> None:
    with subprocess.Popen(["sh", "-c", "cat; :"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdin
        assert shell.stdout
        shell.stdin.write(b"ready")
        shell.stdin.flush()
        assert shell.stdout.read(5) == b"ready"
        (cat,) = descendants({shell.pid})
        assert shell.pid in descendants({os.getpid()})
        assert cat in descendants({os.getpid()})
        shell.stdin.close()


def test_every_tool_is_told_the_same(tmp_path: Path) -> None:
    case = Case(HOSTS, "root", 7, tmp_path)
    case.write_files()
    for tool in COLD:
        words = " ".join([*tool.command(case), *tool.environment(case).values()])
        assert "hostname -s" in words
        if tool is not NILE:  # its window and ssh options are in the route file
            assert f"-F {case.ssh_config}" in words
            assert "7" in words.replace("-P", " ").split()
    assert (tmp_path / "topology.conf").read_text().splitlines() == [
        "[routes]",
        "root: h001,h002,h003",
        "h001,h002,h003: h004,h005,h006,h007,h008,h009",
    ]


# Named like the peer, but its version can be asked where the peer isn't installed.
FAKE_PDSH = replace(PDSH, version=XARGS.version)


def _result(*samples: tuple[str, Sample]) -> Result:
    scenario = Scenario("Cold", "Text.", 0.0, (Target("pdsh", "wall", 0.6), Target("pdsh", "cpu", 0.5)))
    return Result(scenario, 64, {name: [s for n, s in samples if n == name] for name, _ in samples})


def test_page_has_medians_ratios_and_aims() -> None:
    result = _result(
        ("nile", Sample(1.0, 0.3)),
        ("nile", Sample(9.0, 0.3)),
        ("nile", Sample(2.0, 0.3)),
        ("pdsh", Sample(4.0, 0.5)),
    )
    text = document.page(
        [result], [Stage(1, (0.1, 0.2), (0.3, 0.4), (0.5, 0.6))], {}, 9, 3, [NILE, PDSH, XARGS]
    )
    assert "| pdsh | 4.00 (4.00 to 4.00) | 0.50 | 0.50 (0.50 to 0.50) | 0.60 |" in text
    assert "| nile | 2.00 (1.00 to 9.00) |  |" in text
    assert "| wall at most 0.6 times pdsh | 0.50 | met |" in text
    assert "| cpu at most 0.5 times pdsh | 0.60 | missed |" in text
    assert "| 1 | 0.10, 0.20 | 0.30, 0.40 | 0.50, 0.60 |" in text
    assert "OpenSSH" in text


def test_a_run_that_went_wrong_counts_nowhere() -> None:
    result = _result(("nile", Sample(1.0, 0.3)), ("pdsh", Sample(0.1, 0.1, "3 hosts did not answer")))
    assert list(result.failures()) == ["pdsh: 3 hosts did not answer"]
    text = document.page([result], [], {}, 9, 1, [NILE, FAKE_PDSH])
    assert result.ratio("pdsh", "wall") is None
    assert "isn't counted: pdsh: 3 hosts did not answer" in text


def test_account_is_a_table_a_host() -> None:
    accounts = {"nile": {"python3": (20, 0.09), "sshd": (9, 0.9)}, "xargs ssh": {"sshd": (9, 0.45)}}
    text = document.page([], [], accounts, 9, 1, [XARGS])
    assert (
        "| sshd | 100.0 | 9 | 50.0 | 9 |\n| python3 | 10.0 | 20 | 0.0 | 0 |\n| all | 110.0 |  | 50.0 |  |"
        in text
    )


def _aftermath(tool: str, alive: int, ended_s: float | None) -> faults.Aftermath:
    return faults.Aftermath(tool, "a fault", True, alive, 1, 2, 3, ended_s)


def test_the_section_of_faults_has_its_place_and_leaves_the_others_alone() -> None:
    page = document.page([_result(("nile", Sample(1.0, 0.3)))], [], {}, 9, 1, [NILE])
    first = document.faults([_aftermath("nile", 0, 1.2), _aftermath("pdsh", 27, None)], faults.CONTENDERS, 9)
    assert "| a fault | nile | 0 | 1 | 2 | 3 | 1 |" in first
    assert "| a fault | pdsh | 27 | 1 | 2 | 3 | hung |" in first
    both = document.with_section(page, first)
    assert [line for line in both.splitlines() if line.startswith("## ")] == [
        "## Cold",
        document.FAULTS_TITLE,
        "## Machine and versions",
    ]
    assert document.section_of(both, document.FAULTS_TITLE) == first
    assert document.section_of(page, document.FAULTS_TITLE) == ""
    second = document.faults([_aftermath("nile", 4, 1.2)], faults.CONTENDERS, 9)
    assert document.with_section(both, second) == document.with_section(page, second)
    assert both.replace(first + "\n", "") == page


@pytest.mark.parametrize(
    ("said", "output", "hosts"),
    [
        (
            faults.said_by_nile,
            '{"event": "up", "host": "h001"}\n{"event": "result", "host": "h002"}',
            {"h002"},
        ),
        (faults.said_by_pdsh, "h001: done\npdsh@root: h002: ssh exited with exit code 255", {"h001", "h002"}),
        (faults.said_by_pdsh, "pdsh@root: h001: command in progress\nsending SIGTERM to ssh h002", set()),
        (faults.said_by_clush, "clush: h[001-002,005]: command timeout", {"h001", "h002", "h005"}),
        (faults.said_by_clush, "Keyboard interrupt.\nclush: in progress(2): h[001-002]", set()),
        (faults.said_by_taktuk, "h003 h004:4 h005:5: Connection lost", {"h003", "h004", "h005"}),
        (faults.said_by_taktuk, "h0012: xh001 /var/h001x", set()),
    ],
)
def test_who_has_a_verdict(said: faults.Verdicts, output: str, hosts: set[str]) -> None:
    assert said(output) == hosts


@pytest.mark.cluster
def test_faults_are_met_and_what_is_left_is_seen() -> None:
    """Nile leaves nothing; ssh by itself leaves everything, so what is counted can be told apart."""
    flat = faults.Contender(XARGS, (), "-a", faults.said_by_pdsh, "", "", relays=False)
    terminated = next(fault for fault in faults.FAULTS if fault.strike is faults.terminate)
    with site(4, 8, 0.0, faults.SSH_OPTIONS, faults.TIMEOUTS) as where:
        left = faults.meet(where, flat, terminated, after_s=0.5)
        none = faults.meet(where, faults.CONTENDERS[0], terminated, after_s=2.0)
    assert (left.alive, left.unjudged, left.twice, left.never) == (12, 4, 0, 0)
    assert (none.alive, none.unjudged, none.twice, none.never) == (0, 0, 0, 0)


@pytest.mark.cluster
def test_the_bench_runs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    few = ["--timings", "--hosts", "4", "--repeat", "1", "--only", "nile", "xargs ssh"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.exec_bench", *few, "--write", str(page)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text == done.stdout.removesuffix("\n")
    assert "| sshd |" in text
    assert "## When each stage is done" in text
