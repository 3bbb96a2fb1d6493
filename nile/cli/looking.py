"""Looking on at a run from another terminal: where it stands, again and again, and at last how it ended."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nile.cli import recorded, underway
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.store import RunRecord, Store

EVERY_S = 1.0
"""How often it is looked."""
PART = 0.1
"""A root that takes long to answer has so many hosts that it is asked less often: this part of its time goes
into answers at most."""

State = tuple[dict[str, Any], list[str]]
"""A status; and, of a run that nobody answers for, lines that say how it ended."""


def state(record: RunRecord) -> State:
    """How it stands now. UsageError where its root may live, and doesn't answer here."""
    try:
        with underway.root_of(record.run) as remote:
            return remote.status(), []
    except UsageError:
        with recorded.open_store() as store:
            if underway.may_live(store.run(record.run)):
                raise  # it doesn't answer, or not here
        return end_of(record)


def states(record: RunRecord) -> Iterator[State]:
    """Again and again, until it has ended."""
    while True:
        asked_at = time.monotonic()
        found = state(record)
        took_s = time.monotonic() - asked_at
        yield found
        if found[1]:
            return
        time.sleep(max(EVERY_S, took_s / PART))


def end_of(record: RunRecord) -> tuple[dict[str, Any], list[str]]:
    """How a run ended that nobody answers for: as a status has it, and in lines that are fit to be shown."""
    from nile.report.text import visible

    with recorded.open_store() as store:
        record = store.run(record.run)
        notices = [f"{each.host}: {each.text}" if each.host else each.text for each in store.notices(record)]
        why = _why(store, record)
    return _status(record, notices), [_how(record), *(f"  {visible(text)}" for text in (*notices, *why))]


def _why(store: Store, record: RunRecord) -> list[str]:
    """Who isn't ok, and why: those together of whom the same is said."""
    from nile.events import Verdict
    from nile.report.folding import heading
    from nile.report.wording import BY_VERDICT, reason

    alike: defaultdict[str, list[str]] = defaultdict(list)
    for result in store.results(record):
        if result.verdict is not Verdict.OK:
            alike[f"{BY_VERDICT[result.verdict]}: {reason(result)}"].append(result.host)
    return [f"{heading(hosts)} {text}" for text, hosts in alike.items()]


def _how(record: RunRecord) -> str:
    from nile.report.text import visible
    from nile.report.wording import duration, totals

    said = totals(record.counts, record.without_verdict)
    if record.ended_at is None:
        return f"run {record.run}: its root is dead, and its hosts end within their lease; {said}"
    took = f" after {duration(record.wall_s)}" if record.wall_s is not None else ""
    how = "was interrupted" if record.interrupted else "ended"
    at = recorded.local_time(record.ended_at)
    return f"run {record.run} {how} at {at}{took}: {said} ({visible(record.command)})"


def _status(record: RunRecord, notices: list[str]) -> dict[str, Any]:
    """With the fields of one that is under way."""
    done = sum(record.counts.values())
    return {
        "run": record.run,
        "command": record.command,
        "state": str(record.state),
        "elapsed_s": record.wall_s or 0.0,
        "hosts": record.hosts,
        "phases": {"out": record.without_verdict, "up": 0, "running": 0, "done": done},
        "verdicts": {str(verdict): number for verdict, number in record.counts.items()},
        "pace": {"parallel": None, "fanout": None, "paused": False},
        "stages": [],
        "broke": [],
        "open": [],
        "copies": None,
        "swarm": None,
        "notices": notices[-20:],
    }
