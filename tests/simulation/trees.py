"""Plans for simulations: trees of any shape."""

from __future__ import annotations

import random
from dataclasses import replace

from nile.options import Limits, Timeouts
from nile.topology.model import HostSpec, Plan, PlanNode

TIMES = Timeouts(connect_s=5.0, lease_s=15.0)


def tree(
    parents: list[int],
    not_asked: frozenset[int] = frozenset(),
    limits: Limits = Limits(),  # noqa: B008  (frozen)
    timeouts: Timeouts = TIMES,
) -> Plan:
    """A plan from a list of parents: `parents[i]` is the id of the parent of node `i + 1`, 0 the root."""
    children: dict[int, list[int]] = {}
    stages = [0]
    for node_id, parent in enumerate(parents, start=1):
        children.setdefault(parent, []).append(node_id)
        stages.append(stages[parent] + 1)
    nodes = tuple(
        PlanNode(
            node_id,
            f"h{node_id:04}",
            parent,
            stages[node_id],
            node_id not in not_asked,
            tuple(children.get(node_id, ())),
        )
        for node_id, parent in enumerate(parents, start=1)
    )
    specs = {node.host: HostSpec(node.host, node.host, node.host) for node in nodes}
    return Plan(nodes, specs, limits, timeouts)


def with_spare(plan: Plan, behind: tuple[int, ...]) -> Plan:
    """The same plan with one more gateway, outside of the tree, for the zone of these hosts."""
    spare = PlanNode(len(plan.nodes) + 1, "spare", 0, 0, asked=False)
    specs = {**plan.specs, "spare": HostSpec("spare", "spare", "spare")}
    for node_id in behind:
        name = plan.node(node_id).host
        specs[name] = replace(specs[name], via=(*specs[name].via, "spare"))
    return replace(plan, specs=specs, spares=(spare,))


def with_gateways(plan: Plan, via: dict[int, tuple[int, ...]]) -> Plan:
    """The same plan, in which some hosts are reachable only through others: ids of the gateways by id."""
    specs = dict(plan.specs)
    for node_id, gateways in via.items():
        name = plan.node(node_id).host
        specs[name] = replace(specs[name], via=tuple(plan.node(each).host for each in gateways))
    return replace(plan, specs=specs)


def square(hosts: int, limits: Limits | None = None, timeouts: Timeouts = TIMES) -> Plan:
    """Two stages, near the square root of the number of hosts wide."""
    relays = max(1, round(hosts**0.5))
    parents = [0] * relays + [1 + index % relays for index in range(hosts - relays)]
    return tree(parents, limits=limits or Limits(), timeouts=timeouts)


def any_tree(rng: random.Random, hosts: int, limits: Limits, timeouts: Timeouts = TIMES) -> Plan:
    """A tree of a random shape, at most four stages deep; some relays only relay."""
    parents: list[int] = []
    stages = [0]
    candidates = [0] * max(1, hosts // 20)
    for node_id in range(1, hosts + 1):
        parent = rng.choice(candidates)
        parents.append(parent)
        stages.append(stages[parent] + 1)
        if stages[node_id] < 4:
            candidates.append(node_id)
    relays = sorted(set(parents) - {0})
    not_asked = frozenset(node_id for node_id in relays if rng.random() < 0.2)
    return tree(parents, not_asked, limits, timeouts)


def any_zone(rng: random.Random, plan: Plan) -> Plan:
    """The same tree, in which what is below some of the root's relays is reachable only through these."""
    tops = [node for node in plan.nodes if node.parent == 0 and node.children]
    gates = rng.sample(tops, min(len(tops), rng.choice((1, 2, 2, 3))))
    via: dict[int, tuple[int, ...]] = {}
    todo = [child for gate in gates for child in gate.children]
    while todo:
        node = plan.node(todo.pop())
        via[node.id] = tuple(gate.id for gate in gates)
        todo += node.children
    return with_gateways(plan, via)
