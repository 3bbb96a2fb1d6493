"""What all parts of a run that copies share: what is asked for, its hosts, and how they are asked. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nile.agent.worker.manifest import TEMPORARY
from nile.cascade.tree import Tree as Hosts
from nile.sync.asking import Asking
from nile.sync.options import SyncOptions
from nile.sync.pace import Pace
from nile.sync.paths import Paths
from nile.sync.ways import Ways

EACH_S = 0.01
"""For a host to rename a file, or to take one away: a slow disk takes as long."""
LEAST_RATE = 10e6
"""Bytes a second that a slow disk gives, where contents are compared or put together from what is there."""
MOST_TAKING_AWAY_S = 3600.0
"""A host may say that it has any number of files that are to go."""


@dataclass(slots=True)
class Bulk:
    """How much the source has: things, and bytes."""

    entries: int = 0
    size: int = 0
    sparse: int = 0
    """Of that, what there is in large files with holes."""
    unpackable: str = ""
    """Why no archive can have all of it."""


@dataclass(frozen=True, slots=True)
class Means:
    """See `course.Sync` for `secret`."""

    options: SyncOptions
    run: str
    hosts: Hosts
    paths: Paths
    secret: Callable[[], bytes]
    asking: Asking = field(default_factory=Asking)
    ways: Ways = field(default_factory=lambda: Ways(Pace()))
    names: list[bytes] = field(default_factory=list)
    """What of the destination the source speaks of; known once that was read."""
    bulk: Bulk = field(default_factory=Bulk)
    """So is that."""

    def work_s(self, doomed: int) -> float:
        """For how long a host may be at it while nothing is seen to pass; `doomed` files may have to go."""
        taking_away_s = min(MOST_TAKING_AWAY_S, doomed * EACH_S)
        return self.bulk.entries * EACH_S + self.bulk.size / LEAST_RATE + taking_away_s

    def terms(self, max_delete: int, **copy: Any) -> dict[str, Any]:
        """What is copied, and how, but for what is named: all that take part are told the same."""
        options = self.options
        how = {
            "delete": options.delete,
            "excludes": list(options.excludes),
            "checksum": options.checksum,
            "whole": options.whole,
            "numeric_ids": options.numeric_ids,
            "chown": options.chown,
            "bwlimit": 0,
            # What a new release has is all of this run: nothing there is to be protected.
            "max_delete": None if options.release else max_delete,
        }
        return {
            "dest": options.place,
            "temporary": TEMPORARY + self.run.encode(),
            "names": self.names,
            "copy": {**how, **copy},
        }
