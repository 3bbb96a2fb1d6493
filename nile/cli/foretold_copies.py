"""What `nile plan --sync` tells of a copy: the source is read, and no host is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from nile.cli.copying import places
from nile.cli.swarmoptions import can_seed
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.sync.forecast import Foreseen
    from nile.topology.model import Plan

NAMES_SHOWN = 12
"""Hosts of a chain that are named one by one."""
ANYWHERE = "/srv"
"""Taken for the destination where none is given: it changes nothing of what is foretold."""


def foreseen(plan: Plan, source: str, dest: str | None, rate: float) -> Foreseen:
    """Read the source, and foresee the copy; raises UsageError where the source can't be read."""
    from nile.agent.worker.messages import CantError
    from nile.agent.worker.packing import MOST_ENTRIES
    from nile.agent.worker.patterns import Patterns
    from nile.agent.worker.trees import Source
    from nile.sync.forecast import foresee

    sources, _ = places((source, dest or ANYWHERE))
    read = Source(sources, Patterns([]))
    try:
        read.read(checksum=False, most=MOST_ENTRIES)
    except CantError as error:
        raise UsageError(str(error), where="--sync", remedy=error.fields["remedy"]) from None
    if read.manifest.missing or read.manifest.unreadable:
        reason, remedy = read.why_not()
        raise UsageError(reason, where="--sync", remedy=remedy)
    return foresee(plan, read.manifest.totals().bytes, rate, can_seed=can_seed())


def lines(found: Foreseen, source: str, dest: str | None, logins_s: float) -> Iterator[str]:
    """For people; `logins_s` is what comes before."""
    from nile.report.table import table
    from nile.report.text import visible
    from nile.report.wording import duration
    from nile.sync.options import Method
    from nile.topology.amounts import size

    to = f" to {visible(dest)}" if dest else ""
    yield f"copy of {visible(os.fsdecode(source))}{to}: {size(found.size)}, if hosts have nothing of it"
    yield f"method: {found.method}: {found.why}"
    if found.method is Method.SWARM:
        yield "data path: from host to host as it turns out: 1.8 to 3 F/R, where that was measured"
    else:
        yield f"data path: root > {' > '.join(_chain(found))}"
    on_all = f"{size(found.rate)}/s on every port and uplink"
    yield f"F/R: {size(found.size)} at {on_all}: {duration(found.least_s)}"
    yield (
        f"predicted: as a stream {duration(found.stream_s)}, by rsync from host to host "
        f"{duration(found.rsync_s)}, after logins of {duration(logins_s)}"
    )
    yield ""
    headings = ("UPLINK OF", "HOSTS", "STREAM IN", "OUT", "RSYNC IN", "OUT")
    rows = [
        (
            visible(each.name),
            str(each.hosts or ""),
            *map(size, (each.stream_in, each.stream_out, each.rsync_in, each.rsync_out)),
        )
        for each in found.uplinks
    ]
    yield from table(headings, rows, headings[1:])


def _chain(found: Foreseen) -> list[str]:
    """Names in their order; of many hosts those that follow each other in one place, folded."""
    from nile.report import heading

    if len(found.chain) <= NAMES_SHOWN:
        return [name for name, _ in found.chain]
    runs = groupby(found.chain, key=lambda host: host[1])
    return [f"{place}: {heading(name for name, _ in hosts)}" for place, hosts in runs]


def as_dict(found: Foreseen) -> dict[str, Any]:
    """The contract of `sync` in `nile plan --json` (docs/reference/json.md)."""
    return {
        "method": str(found.method),
        "why": found.why,
        "bytes": found.size,
        "bytes_per_s": found.rate,
        "least_s": round(found.least_s, 6),
        "stream_s": round(found.stream_s, 6),
        "rsync_s": round(found.rsync_s, 6),
        "chain": [name for name, _ in found.chain],
        "uplinks": [
            {
                "of": each.name,
                "hosts": each.hosts,
                "stream_in": each.stream_in,
                "stream_out": each.stream_out,
                "rsync_in": each.rsync_in,
                "rsync_out": each.rsync_out,
            }
            for each in found.uplinks
        ],
    }
