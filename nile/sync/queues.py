"""By whom each host that waits for a copy is to be served, and who is being served. Pure."""

from __future__ import annotations

from collections import defaultdict

from nile.cascade.tree import Tree as Hosts
from nile.sync.demand import Demand
from nile.sync.lines import Line
from nile.sync.roster import Roster
from nile.sync.targets import Step, Target
from nile.topology.model import ROOT_ID

AT_ONE_TIME = 4
"""Copies that one node gives at one time: more share its uplink, and each of them ends later."""


class Queues:
    """Hosts that wait, by who serves them: those first that have most to serve in turn.

    `over_links`: a host is served only by the one above it, or by the root. Only those queues are looked at
    of which something may have changed; `again` has all of them looked at.
    """

    def __init__(self, targets: Roster, hosts: Hosts, demand: Demand, over_links: bool) -> None:
        self._targets = targets
        self._hosts = hosts
        self._demand = demand
        self._over_links = over_links
        self._seen = -1
        self._lines: defaultdict[int, Line[Target]] = defaultdict(Line)
        self._anew: dict[Target, None] = {}
        """Those that are in none of them yet."""
        self._look: dict[int, None] = {}
        """Ids of givers that may have something to do."""
        self._served: defaultdict[int, dict[Target, None]] = defaultdict(dict)
        targets.watch(self._moved)

    def served_by(self, giver: int) -> list[Target]:
        """Those to whom a node copies now."""
        return sorted(self._served.get(giver, ()), key=lambda each: each.id)

    def again(self) -> None:
        """Some time has passed: who couldn't be served may be able to be."""
        for giver, line in self._lines.items():
            line.again()
            self._look[giver] = None

    def next(self, t: float) -> list[tuple[Target, int]]:
        """Who can be served now, and by whom; each is said once, and has to be begun."""
        if self._seen != self._hosts.changes:
            self._seen = self._hosts.changes
            for line in self._lines.values():
                self._anew.update(dict.fromkeys(line.leave()))
        self._place()
        look, self._look = self._look, {}
        ready = [(target, giver) for giver in look for target in self._ready(giver, t)]
        return sorted(ready, key=lambda each: (-self._demand.weight(each[0].id), each[0].id))

    def _place(self) -> None:
        while self._anew:
            target, _ = self._anew.popitem()
            if target.step is Step.DIFFERS:
                giver = self._above(target)
                self._lines[giver].join(-self._demand.weight(target.id), target.id, target)
                self._look[giver] = None

    def _ready(self, giver: int, t: float) -> list[Target]:
        has_it = giver == ROOT_ID or self._targets[giver].step is Step.SAME
        if not has_it or not self._hosts.attached(giver):
            return []
        line, ready = self._lines[giver], list[Target]()
        while len(self._served[giver]) + len(ready) < AT_ONE_TIME:
            target = line.take(
                lambda each: each.step is Step.DIFFERS,
                lambda each: t >= each.not_before_s and self._hosts.attached(each.id),
            )
            if target is None:
                break
            ready.append(target)
        return ready

    def _above(self, target: Target) -> int:
        """The next one above it that has, or may yet have, a copy; the root always has."""
        node_id = self._hosts[target.id].parent
        while node_id != ROOT_ID:
            above = self._targets.get(node_id)
            usable = above is not None and above.rsync and above.step not in (Step.CLOSING, Step.OVER)
            if above is not None and above.has_more:
                return ROOT_ID  # it would give what is its own, too
            if usable and node_id not in target.failed_from:
                return node_id
            if self._over_links:
                return ROOT_ID  # only from there, and from its parent, there are links to it
            node_id = self._hosts[node_id].parent
        return ROOT_ID

    def _moved(self, target: Target, before: Step) -> None:
        if before is Step.COPYING and target.giver is not None:
            self._served[target.giver].pop(target, None)
            self._look[target.giver] = None
        match target.step:
            case Step.DIFFERS:
                self._anew[target] = None
            case Step.COPYING if target.giver is not None:
                self._served[target.giver][target] = None
            case Step.SAME if not target.has_more:
                self._look[target.id] = None
            case Step.SAME | Step.CLOSING | Step.OVER:
                if line := self._lines.get(target.id):
                    self._anew.update(dict.fromkeys(line.leave()))
