"""How a verdict is put into words."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from nile.events import Code, HostResult, Verdict
from nile.report.text import visible
from nile.topology.amounts import size

BY_VERDICT = {
    Verdict.OK: "ok",
    Verdict.FAILED: "failed",
    Verdict.TIMEOUT: "timed out",
    Verdict.UNREACHABLE: "unreachable",
    Verdict.LOST: "lost",
    Verdict.CANCELLED: "cancelled",
}

ALIKE = {
    Code.NAME: "its name is not known",
    Code.NO_ROUTE: "no route to it",
    Code.REFUSED: "it refuses connections",
    Code.CONNECT_TIMEOUT: "no answer in time",
}
"""What hosts have in common whose reasons differ by no more than addresses, ports and times."""


def reason(result: HostResult) -> str:
    """Why a host isn't ok, in one visible line; never empty."""
    if result.reason:
        return visible(result.reason)
    if result.signal is not None:
        return f"killed by {signal_name(result.signal)}"
    if result.rc is not None:
        return f"exit status {result.rc}"
    return str(result.code or BY_VERDICT[result.verdict])


def signal_name(number: int) -> str:
    """SIGKILL for 9; `signal N` where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def plural(number: int, word: str) -> str:
    """`1 host`, `2 hosts`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def totals(counts: Mapping[Verdict, int], without_verdict: int = 0) -> str:
    """`98 of 100 hosts ok, 1 failed, 1 unreachable`; hosts without a verdict are said to be so."""
    hosts = sum(counts.values()) + without_verdict
    parts = [f"{counts.get(Verdict.OK, 0)} of {plural(hosts, 'host')} ok"]
    parts += [
        f"{number} {words}"
        for verdict, words in BY_VERDICT.items()
        if verdict is not Verdict.OK and (number := counts.get(verdict, 0))
    ]
    return ", ".join(parts + [f"{without_verdict} without a verdict"] * bool(without_verdict))


def first_line(command: str) -> str:
    """A command on one line: `echo one ...` where there are more."""
    first, *more = command.strip().splitlines()
    return f"{first} ..." if more else first


def status(result: HostResult) -> str:
    """How the command ended: its exit status, the name of the signal, or "" where neither is known."""
    if result.signal is not None:
        return signal_name(result.signal)
    return "" if result.rc is None else str(result.rc)


def duration(seconds: float) -> str:
    """A wall time for people: `0.84 s`, `12.3 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def copied(copies: Mapping[str, Any]) -> str:
    """How far the copies of a run are, by its last `progress` (docs/reference/json.md)."""
    part = f"{100 * copies['part']:.0f} % of {size(copies['bytes_whole'])}"
    left = "" if copies["eta_s"] is None else f", {duration(copies['eta_s'])} left"
    return f"copied: {part}, {size(copies['bytes_per_s'])}/s{left}"
