"""Sites for planner tests: random ones for hypothesis, and what must hold of every plan for them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from nile.options import Limits
from nile.topology.model import ROOT_ID, HostSpec, Plan, RelayRole
from nile.topology.reach import can_log_in
from nile.topology.routes import Routes


def host(
    name: str,
    *,
    relay: str = "yes",
    via: tuple[str, ...] = (),
    switch: str | None = None,
    groups: tuple[str, ...] = (),
) -> HostSpec:
    """A host at its own name."""
    return HostSpec(name, name, name, relay=RelayRole(relay), via=via, switch=switch, groups=groups)


def site(*hosts: HostSpec, limits: Limits | None = None) -> Routes:
    """Routes with these hosts."""
    return Routes(source="site", hosts={one.name: one for one in hosts}, limits=limits or Limits())


@dataclass(frozen=True)
class World:
    """A site, and hosts to ask for."""

    routes: Routes
    asked: tuple[str, ...]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Up to 60 hosts in racks, some behind gateways, also gateways behind gateways, and any limits."""
    hosts: list[HostSpec] = []
    gateways: list[str] = []
    for rack in range(draw(st.integers(1, 5))):
        via: tuple[str, ...] = ()
        behind: bool = draw(st.booleans())
        if gateways and behind:
            via = tuple(draw(st.lists(st.sampled_from(gateways), min_size=1, max_size=3, unique=True)))
        for number in range(draw(st.integers(0, 12))):
            role = draw(st.sampled_from(["yes", "yes", "yes", "no", "only"]))
            hosts.append(host(f"r{rack}n{number}", relay=role, via=via, switch=f"s{rack}"))
            if role != "no" and draw(st.booleans()):
                gateways.append(hosts[-1].name)
    limits = Limits(
        branches=draw(st.integers(1, 12)), parallel=draw(st.integers(1, 8)), stages=draw(st.integers(1, 5))
    )
    able = [one.name for one in hosts if one.relay is not RelayRole.ONLY] or ["x1"]
    asked = draw(st.lists(st.sampled_from(able), min_size=1, unique=True))
    return World(site(*hosts, limits=limits), tuple(asked))


def check(plan: Plan, routes: Routes, asked: tuple[str, ...], *, branches: int | None = None) -> None:
    """Assert what holds of every plan."""
    limits = routes.limits
    hosts = [node.host for node in plan.nodes]
    assert len(hosts) == len(set(hosts)), "a host stands in the tree twice"
    assert {node.host for node in plan.asked()} == set(asked)
    spares = [node.host for node in plan.spares]
    assert plan.specs.keys() == {*hosts, *spares}
    assert len(hosts) + len(spares) == len(plan.specs), "a spare gateway stands in the tree too"
    assert [plan.node(node.id) for node in plan.spares] == list(plan.spares)
    gateways = {name for spec in plan.specs.values() for name in spec.via}
    able = {name for name in gateways if routes.spec(name).relay is not RelayRole.NO}
    assert able - set(hosts) == set(spares), "spares are the gateways that have no place in the tree"
    for position, node in enumerate(plan.nodes, 1):
        assert node.id == position
        assert node.parent < node.id, "a parent comes after its child"
        parent = plan.node(node.parent) if node.parent != ROOT_ID else None
        assert node.stage == (parent.stage + 1 if parent else 1) <= limits.stages
        assert parent is None or node.id in parent.children
        assert len(node.children) <= (branches or limits.branches)
        assert node.asked or node.children, "a host that wasn't asked for carries nobody"
        spec = routes.spec(node.host)
        assert can_log_in(routes.spec(parent.host) if parent else None, spec)
        assert not node.children or spec.relay is not RelayRole.NO
        assert not node.asked or spec.relay is not RelayRole.ONLY
        if spec.via:
            assert set(plan.path(node.id)) & set(spec.via), "no gateway is on the path"
    assert len(plan.children(ROOT_ID)) <= (branches or limits.branches)
