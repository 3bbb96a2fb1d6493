"""What `nile plan --sync` tells of a copy: the source is read, and no host is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from nile.cli.copying import places
from nile.cli.swarmoptions import can_seed
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.agent.worker.manifest import Manifest
    from nile.agent.worker.trees import Source
    from nile.sync.forecast import Foreseen
    from nile.topology.model import Plan

NAMES_SHOWN = 12
"""Hosts of a chain that are named one by one."""
ANYWHERE = "/srv"
"""Taken for the destination where none is given: it changes nothing of what is foretold."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be copied. With `since`, which names a run, only what changed since that began."""

    sources: tuple[str, ...]
    dest: str | None = None
    excludes: tuple[str, ...] = ()
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Foretold:
    """A copy of what is `wanted`: so many `files`; of a patch, since which `run` they changed."""

    wanted: Wanted
    copy: Foreseen
    files: int
    run: str | None = None


def foreseen(plan: Plan, wanted: Wanted, rate: float) -> Foretold:
    """Read the source, and foresee the copy; raises UsageError where the source, or the run, isn't there."""
    from nile.cli import recorded
    from nile.sync.forecast import foresee

    source = _read(wanted)
    run, since_ns, holes = None, -1, source.holes()
    if wanted.since is not None:
        with recorded.open_store() as store:
            record = store.run(wanted.since)
        run, since_ns, holes = record.run, int(record.started_at * 1e9), 0  # rsync records what changed
    files, size = changed(source.manifest, since_ns)
    return Foretold(wanted, foresee(plan, size, rate, holes=holes, can_seed=can_seed()), files, run)


def _read(wanted: Wanted) -> Source:
    from nile.agent.worker.messages import CantError
    from nile.agent.worker.packing import MOST_ENTRIES
    from nile.agent.worker.patterns import Patterns
    from nile.agent.worker.trees import Source

    sources, _ = places((*wanted.sources, wanted.dest or ANYWHERE))
    try:
        patterns = Patterns(list(map(os.fsencode, wanted.excludes)))
    except ValueError as error:
        raise UsageError(str(error), where="--exclude-files", remedy="write it as for rsync(1)") from None
    read = Source(sources, patterns)
    try:
        read.read(checksum=False, most=MOST_ENTRIES)
    except CantError as error:
        raise UsageError(str(error), where="--sync", remedy=error.fields["remedy"]) from None
    if read.manifest.missing or read.manifest.unreadable:
        reason, remedy = read.why_not()
        raise UsageError(reason, where="--sync", remedy=remedy)
    return read


def changed(manifest: Manifest, since_ns: int) -> tuple[int, int]:
    """How many files were written to after that, by ctime, which nobody can set back; and their bytes."""
    from nile.agent.worker.manifest import FILE

    found = [
        entry.size
        for entry in manifest.entries
        if entry.kind == FILE
        and entry.group in (b"", entry.path)
        and manifest.marks[entry.path][0] > since_ns
    ]
    return len(found), sum(found)


def lines(told: Foretold, logins_s: float) -> Iterator[str]:
    """For people; `logins_s` is what comes before."""
    from nile.report.table import table
    from nile.report.text import visible
    from nile.report.wording import duration, plural
    from nile.sync.choosing import BEGINS_S
    from nile.sync.options import Method
    from nile.topology.amounts import size

    found, wanted = told.copy, told.wanted
    to = f" to {visible(wanted.dest)}" if wanted.dest else ""
    what = (
        f"{', '.join(map(visible, wanted.sources))}{to}: {size(found.size)} in {plural(told.files, 'file')}"
    )
    if told.run is None:
        yield f"copy of {what}, if hosts have nothing of it"
    else:
        yield f"patch of {what} that changed here since run {told.run} began"
    if found.streamed < found.size:
        yield f"holes: a stream sends {size(found.streamed)} of it, rsync and a swarm send all of it"
    yield "what hosts have of it only a run can tell: `nile sync -n` asks them, and writes nothing"
    yield f"method: {found.method}: {found.why}"
    if found.method is Method.SWARM:
        yield "data path: from host to host as it turns out"
    else:
        yield f"data path: root > {' > '.join(_chain(found))}"
    on_all = f"{size(found.rate)}/s on every port and uplink"
    yield f"F/R: {size(found.moved)} at {on_all}: {duration(found.least_s)}"
    yield (
        f"predicted: as a stream {duration(found.stream_s)}, by rsync from host to host "
        f"{duration(found.rsync_s)}, after logins of {duration(logins_s)}"
    )
    soonest, latest = map(duration, found.swarm_s)
    begins = f"and what it takes to begin: {BEGINS_S:g} s with 50 hosts"
    yield f"           as a swarm {soonest} to {latest}, {begins}"
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


def as_dict(told: Foretold) -> dict[str, Any]:
    """The contract of `sync` in `nile plan --json` (docs/reference/json.md)."""
    found = told.copy
    return {
        "method": str(found.method),
        "why": found.why,
        "since": told.run,
        "files": told.files,
        "bytes": found.size,
        "stream_bytes": found.streamed,
        "bytes_per_s": found.rate,
        "least_s": round(found.least_s, 6),
        "stream_s": round(found.stream_s, 6),
        "rsync_s": round(found.rsync_s, 6),
        "swarm_s": [round(seconds, 6) for seconds in found.swarm_s],
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
