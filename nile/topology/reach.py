"""Which node can log in to which: the one rule about gateways.

A host with `via` is reachable only through one of those gateways. So its parent
is one of them, or a host with the very same gateways (which then is below one of
them itself, inside the same network). A host without `via` can be reached from
anywhere. Hosts with the same gateways form a zone; the root stands outside of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nile.topology.model import HostSpec, Plan, RelayRole

Zone = frozenset[str]
"""The gateways through which a zone's hosts are reachable; empty for the open zone."""

OPEN: Zone = frozenset()


def zone(spec: HostSpec) -> Zone:
    """The zone that a host is in."""
    return frozenset(spec.via)


def may_relay(spec: HostSpec) -> bool:
    """Whether a host may have children at all."""
    return spec.relay is not RelayRole.NO


def can_log_in(parent: HostSpec | None, child: HostSpec) -> bool:
    """Whether `parent` (None: the root) can log in to `child`; it says nothing of `relay`."""
    if not child.via:
        return True
    return parent is not None and (parent.name in child.via or zone(parent) == zone(child))


def may_log_in(plan: Plan, giver: int, taker: int) -> bool:
    """Whether one host of a plan may log in to another, be it above that in the tree or not; by ids."""
    parent, child = (plan.specs[plan.node(each).host] for each in (giver, taker))
    return not plan.flat and may_relay(parent) and can_log_in(parent, child)


def levels(specs: Iterable[HostSpec], lookup: Callable[[str], HostSpec]) -> dict[Zone, int]:
    """How many gateways stand one behind the other before each zone: 0 for the open one.

    Zones that loop (each gateway is reachable only through the zone itself) are left out.
    `lookup` gives a gateway's spec.
    """
    waiting = {zone(spec) for spec in specs}
    stack = list(waiting)
    while stack:
        for gateway in stack.pop():
            if (outer := zone(lookup(gateway))) not in waiting:
                waiting.add(outer)
                stack.append(outer)
    found: dict[Zone, int] = {OPEN: 0}
    waiting.discard(OPEN)
    level = 0
    while waiting:
        level += 1
        ready = {one for one in waiting if any(found.get(zone(lookup(g)), level) < level for g in one)}
        if not ready:
            break
        found.update(dict.fromkeys(ready, level))
        waiting -= ready
    return found
