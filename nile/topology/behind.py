"""The trees that lead to hosts behind gateways by gateways alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from nile.options import Limits, Timeouts
from nile.topology.model import ROOT_ID, HostSpec, Plan, PlanNode
from nile.topology.reach import can_log_in
from nile.topology.shape import Tree, number


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


def from_root(plan: Plan) -> Plan:
    """The same hosts, and right below the root whoever it can log in to; the others stay below their relays.

    Relays that weren't asked for and carry nobody any more are left out. `limits.branches` doesn't apply.
    """
    trees = {node.host: Tree(node.host) for node in plan.nodes}
    below_root: list[Tree] = []
    for node in plan.nodes:
        free = node.parent == ROOT_ID or can_log_in(None, plan.specs[node.host])
        above = below_root if free else trees[plan.node(node.parent).host].below
        above.append(trees[node.host])
    asked = {node.host: None for node in plan.nodes if node.asked}
    nodes = number(_needed(below_root, asked), asked)
    kept = {node.host for node in (*nodes, *plan.spares)}
    return replace(plan, nodes=nodes, specs={name: plan.specs[name] for name in plan.specs if name in kept})


def _needed(trees: Iterable[Tree], asked: Collection[str]) -> list[Tree]:
    found = (Tree(tree.host, _needed(tree.below, asked)) for tree in trees)
    return [tree for tree in found if tree.below or tree.host in asked]
