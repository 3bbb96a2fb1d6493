"""From routes and the hosts asked for to the tree of one run."""

from __future__ import annotations

from collections.abc import Sequence

from nile.errors import PlanError
from nile.topology.automatic import plan_automatic
from nile.topology.explicit import plan_explicit
from nile.topology.hostsets import fold
from nile.topology.model import ROOT_ID, Plan, PlanNode, RelayRole, TreeMode
from nile.topology.reach import can_log_in, may_relay
from nile.topology.routes import Routes
from nile.topology.shape import Tree, number


def plan(routes: Routes, asked: Sequence[str]) -> Plan:
    """The tree in which every asked host stands exactly once, and further hosts only as relays.

    Deterministic. Children stand in the order in which their parent should log
    in to them, those with most work below first. Raises `PlanError` where limits, gateways or an explicit
    tree admit none.
    """
    names = tuple(dict.fromkeys(asked))
    if not names:
        raise PlanError("no hosts to plan for", remedy="name hosts with -w, -g or -a")
    if only := [name for name in names if routes.spec(name).relay is RelayRole.ONLY]:
        raise PlanError(f"{fold(only)}: `relay: only` hosts run no commands", remedy="leave them out with -x")
    nodes = number(_trees(routes, names), dict.fromkeys(names))
    spares = tuple(
        PlanNode(number, name, ROOT_ID, 0, asked=False)
        for number, name in enumerate(_spares(routes, [node.host for node in nodes]), len(nodes) + 1)
    )
    specs = {node.host: routes.spec(node.host) for node in (*nodes, *spares)}
    flat, drawn = (routes.tree is mode for mode in (TreeMode.FLAT, TreeMode.EXPLICIT))
    limits, timeouts = routes.limits, routes.timeouts
    return Plan(
        nodes, specs, limits, timeouts, routes.source, spares, flat, routes.peering, drawn, routes.audit
    )


def _spares(routes: Routes, names: Sequence[str]) -> list[str]:
    """Gateways of these hosts, and of the gateways themselves, that aren't among them."""
    seen = set(names)
    found: list[str] = []
    todo = list(names)
    while todo:
        for gateway in routes.spec(todo.pop()).via:
            if gateway not in seen and may_relay(routes.spec(gateway)):
                seen.add(gateway)
                todo.append(gateway)
                found.append(gateway)
    return sorted(found)


def _trees(routes: Routes, names: Sequence[str]) -> list[Tree]:
    if routes.tree is TreeMode.FLAT:
        return _flat(routes, names)
    if routes.tree is TreeMode.EXPLICIT:
        return plan_explicit(routes.drawn, names, routes.spec, routes.limits)
    helpers = [name for name, spec in routes.hosts.items() if spec.relay is RelayRole.ONLY]
    return plan_automatic(names, helpers, routes.spec, routes.limits)


def _flat(routes: Routes, names: Sequence[str]) -> list[Tree]:
    """All hosts directly below the root; limits.branches doesn't apply, for it bounds a tree."""
    for name in names:
        spec = routes.spec(name)
        if not can_log_in(None, spec):
            raise PlanError(
                f"{name} is reachable only through {fold(spec.via)}, so not in a flat tree",
                remedy="plan with --tree auto",
            )
    return [Tree(name) for name in names]
