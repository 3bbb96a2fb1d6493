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
from nile.sync.ways import Ways


@dataclass(frozen=True, slots=True)
class Means:
    """See `course.Sync` for `address` and `secret`."""

    options: SyncOptions
    run: str
    hosts: Hosts
    address: Callable[[int, int], str]
    secret: Callable[[], bytes]
    asking: Asking = field(default_factory=Asking)
    ways: Ways = field(default_factory=lambda: Ways(Pace()))
    names: list[bytes] = field(default_factory=list)
    """What of the destination the source speaks of; known once that was read."""

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
            "max_delete": max_delete,
        }
        return {
            "dest": options.place,
            "temporary": TEMPORARY + self.run.encode(),
            "names": self.names,
            "copy": {**how, **copy},
        }
