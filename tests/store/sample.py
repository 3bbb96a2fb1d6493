"""A small run, for tests to record."""

from __future__ import annotations

from collections.abc import Sequence

from nile.events import (
    Code,
    Event,
    HostOutput,
    HostResult,
    HostStarted,
    HostUp,
    Leftover,
    Notice,
    RunEnded,
    RunStarted,
    Verdict,
)

HOSTS = ("n1", "n2", "n3")


def started(run: str = "5eed0001", hosts: Sequence[str] = HOSTS, at: float = 1000.0) -> RunStarted:
    return RunStarted(run, "uptime", "/etc/nile.yaml", tuple(hosts), ("gw",), at)


def ended(run: str = "5eed0001", *, interrupted: bool = False) -> RunEnded:
    counts = {Verdict.OK: 1, Verdict.FAILED: 1, Verdict.UNREACHABLE: 1}
    return RunEnded(run, counts, 1.5, interrupted)


OK = HostResult(
    "n1",
    Verdict.OK,
    rc=0,
    leftover=(Leftover(77, "sleep"), Leftover(78, "cat", killed=True), Leftover(79, "sudo", survived=True)),
    path=("root", "gw", "n1"),
    stage=2,
    t_connect_s=0.25,
    t_ready_s=0.5,
    t_end_s=1.25,
)
FAILED = HostResult(
    "n2",
    Verdict.FAILED,
    signal=9,
    code=Code.SIGNAL,
    reason="killed by SIGKILL",
    remedy="look who did it",
    path=("root", "n2"),
    stage=1,
)
UNREACHABLE = HostResult(
    "n3", Verdict.UNREACHABLE, code=Code.REFUSED, reason="connection refused", path=("root", "gw"), stage=2
)


def whole_run(run: str = "5eed0001") -> list[Event]:
    return [
        started(run),
        HostUp("gw", "root", 1, 0.1, 0.2),
        HostUp("n1", "gw", 2, 0.25, 0.5),
        HostStarted("n1", 0.6),
        HostOutput("n1", "stdout", 0, b"up 3 days\n"),
        HostOutput("n2", "stderr", 0, b"\xff\x00 not text"),
        HostOutput("n1", "stdout", 10, b"second line\n"),
        OK,
        FAILED,
        UNREACHABLE,
        Notice("a strange frame was dropped", "n2"),
        ended(run),
    ]
