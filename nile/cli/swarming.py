"""Which swarm is meant: what `nile swarm status` and `nile swarm stop` share."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

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
