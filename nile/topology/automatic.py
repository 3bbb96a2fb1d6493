"""Automatic trees: gateways obeyed, then hosts spread by the rule of `spread`.

Zones (hosts with the same gateways) are planned from the innermost outward: the hosts of a
zone are spread below some of its gateways, and each of these goes on, with
what it carries, as one host of its own zone; in the open zone everything is
spread below the root. Gateways that were asked for are taken first, for they
are in the tree anyhow; others are added until a zone of M hosts has near sqrt(M).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from nile.errors import PlanError
from nile.options import Limits
from nile.topology.hostsets import fold
from nile.topology.items import Item, NoRoom, Seat, loaded_item, plain_item
from nile.topology.model import ROOT_NAME, HostSpec, RelayRole
from nile.topology.reach import OPEN, Zone, levels, may_relay, zone
from nile.topology.shape import Tree
from nile.topology.spread import Spreader, capacity

Lookup = Callable[[str], HostSpec]


def plan_automatic(asked: Sequence[str], helpers: Iterable[str], spec: Lookup, limits: Limits) -> list[Tree]:
    """Trees to hang below the root, with every asked host once; raises `PlanError`.

    `helpers` are hosts known to be `relay: only`; they are used where they stand in a rack of asked hosts.
    """
    fitting = _fitting_helpers(asked, helpers, spec)
    failure: _ZoneFull | None = None
    for candidates in [fitting] if not fitting else [fitting, []]:
        for slack in range(limits.stages):
            try:
                return _Planner(asked, candidates, spec, limits, slack).trees()
            except _ZoneFull as full:
                failure = failure or full
    assert failure is not None
    raise _error(failure, asked, spec, limits)


class _ZoneFull(Exception):
    """A zone's hosts find no room."""

    def __init__(self, at: Zone, hosts: int) -> None:
        super().__init__(at, hosts)
        self.zone = at
        self.hosts = hosts


def rack(spec: HostSpec) -> str:
    """What hosts are kept together by: the switch, else the smallest group."""
    if spec.switch is not None:
        return f"switch {spec.switch}" + (f" at {spec.site}" if spec.site is not None else "")
    return f"group {spec.groups[0]}" if spec.groups else ""


def _fitting_helpers(asked: Iterable[str], helpers: Iterable[str], spec: Lookup) -> list[str]:
    """Helpers that are in a rack (and zone) of asked hosts."""
    places = {(rack(one), zone(one)) for one in map(spec, asked) if rack(one)}
    return [name for name in helpers if (rack(spec(name)), zone(spec(name))) in places]


@dataclass
class _Planner:
    """One attempt. `slack` stages are kept free below gateways, where these can't all be at the top."""

    asked: Sequence[str]
    helpers: Sequence[str]
    spec: Lookup
    limits: Limits
    slack: int

    def trees(self) -> list[Tree]:
        """The attempt's trees; raises `_ZoneFull`."""
        self._levels = levels(map(self.spec, [*self.asked, *self.helpers]), self.spec)
        self._spreader = Spreader(self.limits)
        self._asked = dict.fromkeys(self.asked)
        self._carried: dict[str, Tree] = {}  # gateways that carry hosts already
        members: dict[Zone, dict[str, None]] = {one: {} for one in self._levels}
        for name in [*self.helpers, *self.asked]:
            self._members(members, name)[name] = None
        for inner in sorted(
            (one for one in members if one), key=lambda one: (-self._levels[one], sorted(one))
        ):
            for gateway in self._below_gateways(inner, list(members[inner])):
                self._members(members, gateway).setdefault(gateway)
        root = Seat(Tree(ROOT_NAME), self.limits.branches, self.limits.stages)
        self._settle(OPEN, list(members[OPEN]), [root])
        return self._pruned(root.tree.below)

    def _members(self, members: dict[Zone, dict[str, None]], name: str) -> dict[str, None]:
        at = zone(self.spec(name))
        if at not in members:
            raise PlanError(
                f"{name} is reachable only through {fold(at)}, which can't be reached without it",
                remedy="one gateway of the loop must be reachable from outside: change its `via`",
            )
        return members[at]

    def _below_gateways(self, inner: Zone, hosts: list[str]) -> list[str]:
        """Spread a zone's hosts below its gateways; returns the gateways that carry them."""
        if not hosts:
            return []
        able = self._gateways(inner)
        first = max(1, min(len(able), math.ceil(math.sqrt(len(hosts)))))
        for count in range(first, len(able) + 1):
            seats = [self._seat(gateway, inner) for gateway in able[:count]]
            try:
                self._settle(inner, hosts, seats)
            except _ZoneFull:
                if count == len(able):
                    raise
                continue
            used = [seat.tree for seat in seats if seat.tree.below]
            self._carried.update((tree.host, tree) for tree in used)
            return [tree.host for tree in used]
        raise PlanError(
            f"none of the gateways {fold(inner)} may relay",
            remedy="take `relay: no` from one of them, or name others",
        )

    def _gateways(self, inner: Zone) -> list[str]:
        """A zone's gateways that can carry it, those that were asked for first."""
        level = self._levels[inner]
        able = [
            name
            for name in sorted(inner)
            if may_relay(self.spec(name)) and self._levels.get(zone(self.spec(name)), level) < level
        ]
        return sorted(able, key=lambda name: (name not in self._asked, name not in self._carried))

    def _seat(self, gateway: str, inner: Zone) -> Seat:
        tree = self._carried.get(gateway) or Tree(gateway)
        stages = self.limits.stages - self._levels[zone(self.spec(gateway))] - 1 - self.slack
        return Seat(tree, self.limits.branches - len(tree.below), stages)

    def _settle(self, at: Zone, hosts: list[str], seats: list[Seat]) -> None:
        try:
            self._spreader.settle([self._item(name) for name in hosts], seats, near_sqrt=at == OPEN)
        except NoRoom as error:
            raise _ZoneFull(at, len(hosts)) from error

    def _item(self, name: str) -> Item:
        spec = self.spec(name)
        if name in self._carried:
            return loaded_item(self._carried[name], rack(spec), self.limits.parallel)
        return plain_item(name, rack(spec), relay=may_relay(spec), only=spec.relay is RelayRole.ONLY)

    def _pruned(self, trees: Iterable[Tree]) -> list[Tree]:
        """Without helpers that carry nothing."""
        kept = [replace(tree, below=self._pruned(tree.below)) for tree in trees]
        return [tree for tree in kept if tree.below or tree.host in self._asked]


def _error(full: _ZoneFull, asked: Sequence[str], spec: Lookup, limits: Limits) -> PlanError:
    """Say what doesn't fit, and which limit, raised how far, would do."""
    behind = f" behind {fold(full.zone)}" if full.zone else ""
    leaves = sum(spec(name).relay is RelayRole.NO for name in asked)
    but = f", {leaves} of all being `relay: no`" if leaves else ""
    return PlanError(
        f"{full.hosts} hosts{behind} don't fit into a tree of limits.branches {limits.branches}"
        f" and limits.stages {limits.stages}{but}",
        remedy=_advice(lambda wider: _fits(asked, spec, wider), len(asked), limits),
    )


def _fits(asked: Sequence[str], spec: Lookup, limits: Limits) -> bool:
    for slack in range(min(limits.stages, 4)):
        try:
            _Planner(asked, [], spec, limits, slack).trees()
        except _ZoneFull:
            continue
        return True
    return False


def _advice(fits: Callable[[Limits], bool], hosts: int, limits: Limits) -> str:
    """Limits that were tried and do."""
    ways: list[str] = []
    for stages in range(limits.stages + 1, limits.stages + 4):
        if fits(replace(limits, stages=stages)):
            ways.append(f"--stages {stages}")
            break
    low, high = limits.branches + 1, hosts + 1
    while capacity(low, limits.stages) < hosts:  # cheaper than to plan with it
        low += 1
    if low <= high and fits(replace(limits, branches=high)):
        while low < high:
            middle = low if high > 2 * low else (low + high) // 2  # the lower bound is often the answer
            if fits(replace(limits, branches=middle)):
                high = middle
            else:
                low = middle + 1
        ways.append(f"--branches {high}")
    if not ways:
        return "raise both limits.branches and limits.stages"
    return f"raise one limit, in the route file or by {' or '.join(ways)}"
