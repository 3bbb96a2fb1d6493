"""Which swarm is meant, and how it ended: what `nile swarm status` and `nile swarm stop` share."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nile.cli import recorded
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.store import RunRecord, Store


def meant(reference: str) -> RunRecord:
    """The run of that name; "": the only swarm under way. UsageError where there is none, or several."""
    with recorded.open_store() as store:
        if reference:
            record = store.run(reference)
            if not is_swarm(store, record):
                remedy = f"`nile show {record.run}` and `nile ctl {record.run} status` say what it is"
                raise UsageError("it is no swarm", where=f"run {record.run}", remedy=remedy)
            return record
        found = [run for run in store.not_ended() if run.state == "running" and is_swarm(store, run)]
    if not found:
        remedy = "`nile swarm start` begins one; give RUN for one that has ended (`nile runs` lists them)"
        raise UsageError("no swarm is under way", remedy=remedy)
    if len(found) > 1:
        names = recorded.short_ids([run.run for run in found])
        listed = "; ".join(f"{names[run.run]} ({run.command})" for run in found)
        raise UsageError(f"{len(found)} swarms are under way: {listed}", remedy="name the one that is meant")
    return found[0]


def is_swarm(store: Store, record: RunRecord) -> bool:
    """By its command line; or it has chosen to be one, and said so, perhaps after a repository's name."""
    from nile.sync.wording import SWARM_OF

    words = record.context.argv[1:]
    if words[:1] == ("swarm",):
        return True
    if words[:1] != ("sync",):
        return False
    asked_for = "--method=swarm" in words or ("--method", "swarm") in pairwise(words)
    return asked_for or any(SWARM_OF in notice.text for notice in store.notices(record))


def end_of(record: RunRecord) -> tuple[dict[str, Any], list[str]]:
    """How a run ended that nobody answers for: as a status has it, and in lines."""
    with recorded.open_store() as store:
        record = store.run(record.run)
        notices = [f"{each.host}: {each.text}" if each.host else each.text for each in store.notices(record)]
        why = _why(store, record)
    return _status(record, notices), [_how(record), *(f"  {text}" for text in (*notices, *why))]


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
        "open": [],
        "copies": None,
        "swarm": None,
        "notices": notices[-20:],
    }
