"""The smallest tree that leads to hosts behind gateways: gateways, one behind the other, and the hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nile.options import Limits, Timeouts
from nile.topology.model import ROOT_ID, HostSpec, Plan, PlanNode


def plan_behind(
    specs: Sequence[HostSpec],
    lookup: Callable[[str], HostSpec],
    limits: Limits,
    timeouts: Timeouts,
    *,
    choice: int = 0,
) -> Plan:
    """A plan in which `specs` are asked for and only gateways stand above them.

    Of several gateways each host takes number `choice`, counted around. The
    gateways must not loop (a route file's don't, see `reach.levels`).
    """
    chains = {spec.name: _chain(spec, lookup, choice) for spec in specs}
    stages: dict[str, int] = {}
    parents: dict[str, str | None] = {}
    known: dict[str, HostSpec] = {}
    for chain in chains.values():
        for stage, spec in enumerate(chain, 1):
            known.setdefault(spec.name, spec)
            stages.setdefault(spec.name, stage)
            parents.setdefault(spec.name, chain[stage - 2].name if stage > 1 else None)
    names = sorted(known, key=lambda name: stages[name])
    ids = {name: number for number, name in enumerate(names, 1)}
    nodes = tuple(
        PlanNode(
            id=ids[name],
            host=name,
            parent=ids.get(parents[name] or "", ROOT_ID),
            stage=stages[name],
            asked=name in chains,
            children=tuple(ids[child] for child in names if parents[child] == name),
        )
        for name in names
    )
    return Plan(nodes, known, limits, timeouts)


def _chain(spec: HostSpec, lookup: Callable[[str], HostSpec], choice: int) -> list[HostSpec]:
    """The gateways before a host, the outermost first, and the host itself."""
    chain = [spec]
    while chain[0].via:
        chain.insert(0, lookup(chain[0].via[choice % len(chain[0].via)]))
    return chain
