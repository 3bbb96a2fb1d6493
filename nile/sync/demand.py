"""For whom hosts are still needed: who hangs below them, and has yet to be served. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from nile.cascade.tree import Tree as Hosts
from nile.sync.roster import Roster
from nile.sync.targets import DONE, Step, Target
from nile.topology.model import ROOT_ID


class Demand:
    """Counts kept as hosts move on; made anew only where the tree has changed."""

    def __init__(self, targets: Roster, hosts: Hosts) -> None:
        self._targets = targets
        self._hosts = hosts
        self._seen = -1
        """How often the tree had changed when all of it was counted last."""
        self._weights: Counter[int] = Counter()
        self._wanting: Counter[int] = Counter()
        """By id: how many below it still want something."""
        self._idle: dict[Target, None] = {}
        """Those that have what the source has, and may have become of no more use."""
        targets.watch(self._moved)

    def weight(self, node_id: int) -> int:
        """Hosts below a host, itself included."""
        self._count()
        return self._weights[node_id]

    def idle(self) -> list[Target]:
        """Those that have what the source has, and serve nobody any more; by id, and each once."""
        self._count()
        idle, self._idle = self._idle, {}
        free = (each for each in idle if each.step is Step.SAME and not each.seeds)
        return sorted(
            (each for each in free if each.has_more or not self._wanting[each.id]), key=lambda each: each.id
        )

    def look_again(self, target: Target) -> None:
        """It seeds no more."""
        self._idle[target] = None

    def _count(self) -> None:
        if self._seen == self._hosts.changes:
            return
        self._seen = self._hosts.changes
        self._weights = Counter(
            above for host in self._hosts.hosts.values() for above in self._hosts.route(host.id)
        )
        wanting = (target for target in self._targets.values() if target.wanting)
        self._wanting = Counter(above for target in wanting for above in self._above(target))
        self._idle = dict.fromkeys(self._targets.at(Step.SAME))

    def _moved(self, target: Target, before: Step) -> None:
        if self._seen != self._hosts.changes:
            return  # all will be counted anew
        if (before in DONE) is target.wanting:
            more = 1 if target.wanting else -1
            for node_id in self._above(target):
                self._wanting[node_id] += more
                if not self._wanting[node_id] and (above := self._targets.get(node_id)) is not None:
                    self._idle[above] = None
        if target.step is Step.SAME:
            self._idle[target] = None

    def _above(self, target: Target) -> Iterator[int]:
        node_id = self._hosts[target.id].parent
        while node_id != ROOT_ID:
            yield node_id
            node_id = self._hosts[node_id].parent
