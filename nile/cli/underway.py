"""Runs under way, as commands at other terminals find them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nile.cli import recorded
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.control import Remote
    from nile.store import RunRecord

LOOK_S = 0.2
"""How often it is looked whether a run is over."""


def until_over(remote: Remote, within_s: float) -> RunRecord | None:
    """Wait for its end; None where that doesn't come so soon."""
    from nile.store import RunState

    until = time.monotonic() + within_s
    with recorded.open_store() as store:
        while (record := store.run(remote.run)).state is RunState.RUNNING:
            if time.monotonic() >= until:
                return None
            time.sleep(LOOK_S)
    return record


@contextmanager
def root_of(reference: str) -> Iterator[Remote]:
    """The run's root, to be asked; UsageError where it doesn't answer: the run is over, or elsewhere."""
    from nile.control import NoAnswerError, RefusedError, Remote

    record = _record(reference)
    if refusal := _why_not(record):
        raise refusal
    where = f"run {record.run}"
    try:
        yield Remote(recorded.control_directory(), record.run)
    except RefusedError as error:
        raise UsageError(f"its root can't do that: {error}", where=where) from None
    except NoAnswerError as error:
        raise _no_answer(reference, error) from None


def check_ended(record: RunRecord) -> None:
    """UsageError where the run is over only in that its root died."""
    if record.ended_at is None and (refusal := _why_not(record)):
        raise refusal


def may_live(record: RunRecord) -> bool:
    """Is its root there, or where it can't be seen?"""
    from nile.store import RunState
    from nile.store.records import is_elsewhere

    elsewhere = record.ended_at is None and is_elsewhere(record.context.process)
    return elsewhere or record.state is RunState.RUNNING


def _why_not(record: RunRecord) -> UsageError | None:
    """Why nobody can answer for the run."""
    from nile.store import RunState
    from nile.store.records import is_elsewhere

    where = f"run {record.run}"
    if record.ended_at is not None:
        return UsageError("it has ended", where=where, remedy=f"`nile show {record.run}` shows how")
    if is_elsewhere(record.context.process):
        remedy = "ask on the machine where it was begun"
        return UsageError(
            "its root is on another machine, or was there before a boot", where=where, remedy=remedy
        )
    if record.state is RunState.UNFINISHED:
        return UsageError("its root is dead", where=where, remedy=_remedy(record))
    return None


def _remedy(record: RunRecord) -> str | None:
    """What to do about one whose root is dead."""
    from nile.controller import check_attachable
    from nile.errors import NileError

    try:
        with recorded.open_store() as store:
            check_attachable(store, record, time.time())
    except NileError as error:
        return error.remedy
    return f"`nile attach {record.run}` goes on with it, within its lease"


def _no_answer(reference: str, why: Exception) -> UsageError:
    """Its root was there, and yet didn't answer: perhaps it is over by now."""
    record = _record(reference)
    if refusal := _why_not(record):
        return refusal
    pid = record.context.process.split()[2]
    remedy = f"look on at its own terminal; `kill {pid}` ends it as Ctrl-C does"
    return UsageError(f"its root doesn't answer: {why}", where=f"run {record.run}", remedy=remedy)


def _record(reference: str) -> RunRecord:
    with recorded.open_store() as store:
        return store.run(reference)


def describe(status: dict[str, Any]) -> list[str]:
    """The lines of a status (see `nile.control.Standing.status`)."""
    from nile.report.text import visible
    from nile.report.waiting import WORDS
    from nile.report.wording import copied, duration, plural

    if status["state"] == "beginning":
        return [f"run {status['run']} is about to begin"]
    phases, verdicts = status["phases"], status["verdicts"]
    done = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items(), key=_bad_last))
    counts = [f"{phases[phase]} {WORDS[phase]}" for phase in WORDS if phases[phase]]
    counts.append(f"{phases['done']} done" + (f" ({done})" if done else ""))
    since = duration(status["elapsed_s"])
    lines = [
        f"run {status['run']}, {status['state']} for {since}: {visible(status['command'])}",
        f"{plural(status['hosts'], 'host')}: {', '.join(counts)}",
    ]
    lines += pace_of(status["pace"])
    if status["copies"]:
        lines.append(copied(status["copies"]))
    return [*lines, *_still_out(status), *_broke(status)]


def _broke(status: dict[str, Any]) -> list[str]:
    """Who isn't ok, and why: most hosts first."""
    from nile.events import Verdict
    from nile.report.folding import heading
    from nile.report.text import visible
    from nile.report.wording import BY_VERDICT

    groups = sorted(status["broke"], key=lambda group: -len(group["hosts"]))
    lines = [
        f"{BY_VERDICT[Verdict(group['verdict'])]}: {heading(group['hosts'])}: {visible(group['reason'])}"
        for group in groups
    ]
    more = [f"and {len(lines) - MOST_LINES} more kinds of failures"] if len(lines) > MOST_LINES else []
    return [*lines[:MOST_LINES], *more]


def pace_of(pace: dict[str, Any]) -> list[str]:
    """Whether it is paused, and how much goes on at one time."""
    said = [f"{pace['parallel']} logins of a node at a time"] if pace["parallel"] else []
    said += [f"the command on {pace['fanout']} hosts at one time"] if pace["fanout"] else []
    paused = (
        ["paused: no further logins and starts (`nile ctl RUN resume` goes on)"] if pace["paused"] else []
    )
    return [*paused, *([f"pace: {', '.join(said)}"] if said else [])]


def _bad_last(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != "ok", item[0]


def _still_out(status: dict[str, Any]) -> list[str]:
    """Hosts that have no verdict, by what they are at; how long the one has been that is at it longest."""
    from nile.report.folding import heading
    from nile.report.waiting import WORDS
    from nile.report.wording import duration

    by_phase: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for host in status["open"]:
        by_phase[host["phase"]].append(host)
    lines = []
    for phase, words in WORDS.items():
        if hosts := by_phase[phase]:
            longest = max(0.0, status["elapsed_s"] - min(host["since_s"] for host in hosts))
            names = heading(host["host"] for host in hosts)
            lines.append(f"{words}, for up to {duration(longest)}: {names}")
            lines += _waiting(hosts, status["elapsed_s"])
    return lines


MOST_LINES = 12


def _waiting(hosts: list[dict[str, Any]], elapsed_s: float) -> list[str]:
    """By stage: what these hosts wait for, and for how long; a line each, and not too many."""
    from nile.report.folding import heading
    from nile.report.waiting import WAITS, groups
    from nile.report.wording import duration

    lines = []
    for group in groups(hosts, elapsed_s):
        said = f"stage {group.stage}, {group.said(WAITS)}, for up to {duration(group.longest_s)}"
        lines.append(f"  {said}: {heading(group.hosts)}")
    more = [f"  and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []
    return [*lines[:MOST_LINES], *more]
