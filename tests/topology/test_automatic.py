"""Automatic trees."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nile.errors import PlanError
from nile.options import Limits
from nile.topology.hostsets import fold
from nile.topology.model import ROOT_ID, Plan, RelayRole, TreeMode
from nile.topology.plan import plan
from nile.topology.routes import Routes
from nile.topology.spread import capacity
from tests.topology.worlds import World, check, host, site, worlds


def names(count: int, prefix: str = "n") -> tuple[str, ...]:
    return tuple(f"{prefix}{number}" for number in range(count))


def drawn(tree: Plan) -> dict[str, str]:
    """Parent -> its children as a host set."""
    found = {"root": fold(tree.node(one).host for one in tree.children(ROOT_ID))}
    for node in tree.nodes:
        if node.children:
            found[node.host] = fold(tree.node(one).host for one in node.children)
    return found


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_every_plan_keeps_what_must_hold(world: World) -> None:
    try:
        tree = plan(world.routes, world.asked)
    except PlanError:
        with pytest.raises(PlanError, match=r"(?s)\n."):  # it has a remedy
            plan(world.routes, world.asked)
        return
    check(tree, world.routes, world.asked)
    assert plan(world.routes, world.asked) == tree, "the same question has two answers"


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_with_limits_large_enough_there_is_always_a_plan(world: World) -> None:
    routes = world.routes.override(limits=Limits(branches=200, parallel=4, stages=12))
    check(plan(routes, world.asked), routes, world.asked)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 400), st.integers(1, 20), st.integers(1, 6), st.integers(1, 20))
def test_hosts_that_are_alike_are_planned_exactly_if_they_fit(
    count: int, branches: int, stages: int, parallel: int
) -> None:
    routes = Routes(limits=Limits(branches=branches, parallel=parallel, stages=stages))
    asked = names(count)
    if count > capacity(branches, stages):
        with pytest.raises(PlanError, match=f"{count} hosts don't fit"):
            plan(routes, asked)
    else:
        check(plan(routes, asked), routes, asked)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 30), st.integers(0, 60), st.integers(1, 6), st.integers(1, 4))
def test_so_are_hosts_of_which_some_cant_relay(relays: int, leaves: int, branches: int, stages: int) -> None:
    able, unable = names(relays, "r"), names(leaves, "z")
    limits = Limits(branches=branches, stages=stages)
    routes = site(*map(host, able), *(host(one, relay="no") for one in unable), limits=limits)
    fits = fits_by_hand(relays, leaves, branches, stages)
    if not fits:
        with pytest.raises(PlanError):
            plan(routes, able + unable)
    else:
        check(plan(routes, unable + able), routes, unable + able)


def fits_by_hand(relays: int, leaves: int, branches: int, stages: int) -> bool:
    """Relays as high as they go, leaves into what is left: as roomy as a tree can be."""
    width, waiting = 1, relays + leaves
    for _ in range(stages):
        placed = min(width * branches, waiting)
        on = min(placed, relays)
        relays, waiting, width = relays - on, waiting - placed, on
    return not waiting


@pytest.mark.parametrize("count", [5, 9, 12, 16, 40, 64, 100, 144, 400, 600])
def test_near_the_square_root_of_n_branches(count: int) -> None:
    tree = plan(Routes(), names(count))
    branches = len(tree.children(ROOT_ID))
    assert math.sqrt(count) / 2 <= branches <= 2 * math.sqrt(count)
    sizes = [len(tree.node(one).children) for one in tree.children(ROOT_ID)]
    assert max(sizes) - min(sizes) <= 1, "branches are not balanced"


@pytest.mark.parametrize(("count", "branches", "stages"), [(100, 10, 2), (40, 6, 2), (4, 4, 1), (1, 1, 1)])
def test_known_shapes(count: int, branches: int, stages: int) -> None:
    tree = plan(Routes(), names(count))
    assert len(tree.children(ROOT_ID)) == branches
    assert max(node.stage for node in tree.nodes) == stages


def test_fewer_rounds_win_within_the_range() -> None:
    # 18 branches would be nearest to sqrt(320), but take a second round of logins at 16 at a time.
    tree = plan(Routes(limits=Limits(parallel=16, stages=2, branches=64)), names(320))
    assert len(tree.children(ROOT_ID)) <= 32
    assert rounds(tree, 16) == min(
        math.ceil(b / 16) + math.ceil((math.ceil(320 / b) - 1) / 16) for b in range(9, 36)
    )


def rounds(tree: Plan, parallel: int) -> int:
    """Login rounds on the longest path."""

    def below(children: tuple[int, ...]) -> int:
        if not children:
            return 0
        return math.ceil(len(children) / parallel) + max(below(tree.node(one).children) for one in children)

    return below(tree.children(ROOT_ID))


def test_those_with_most_below_them_are_logged_in_to_first() -> None:
    tree = plan(Routes(), names(97))
    sizes = [len(tree.node(one).children) for one in tree.children(ROOT_ID)]
    assert sizes == sorted(sizes, reverse=True)


def test_racks_are_kept_together() -> None:
    hosts = [host(f"r{rack}n{n}", switch=f"s{rack}") for n in range(24) for rack in range(4)]
    tree = plan(site(*hosts), tuple(one.name for one in hosts))
    for node in tree.nodes:
        if node.parent != ROOT_ID:
            assert node.host[:2] == tree.node(node.parent).host[:2]
    assert 6 <= len(tree.children(ROOT_ID)) <= 16


def test_small_racks_are_joined_whole() -> None:
    hosts = [host(f"r{rack}n{n}", switch=f"s{rack}") for rack in range(30) for n in range(5)]
    tree = plan(site(*hosts), tuple(one.name for one in hosts))
    branches: dict[str, set[str]] = {}
    for node in tree.nodes:
        branches.setdefault(node.host.split("n")[0], set()).add(tree.path(node.id)[1])
    assert all(len(heads) == 1 for heads in branches.values()), "a rack is split over branches"


def test_without_switches_the_smallest_group_is_the_rack() -> None:
    hosts = [host(f"g{g}n{n}", groups=(f"g{g}", "all")) for n in range(6) for g in range(3)]
    tree = plan(site(*hosts), tuple(one.name for one in hosts))
    for node in tree.nodes:
        if node.parent != ROOT_ID:
            assert node.host[:2] == tree.node(node.parent).host[:2]


def test_a_host_that_only_relays_carries_its_rack() -> None:
    hosts = [host(f"n{n}", switch="s") for n in range(9)] + [host("m", relay="only", switch="s")]
    tree = plan(site(*hosts), names(9))
    assert "m" in drawn(tree)
    assert not next(node for node in tree.nodes if node.host == "m").asked
    other = plan(site(*hosts[:9], host("m", relay="only", switch="t")), names(9))
    assert "m" not in other.specs, "it stands elsewhere"


def test_hosts_that_cant_relay_are_leaves_below_those_that_can() -> None:
    hosts = [host(f"n{n}", relay="no") for n in range(30)] + [host(f"m{n}") for n in range(3)]
    tree = plan(site(*hosts), names(30) + names(3, "m"))
    assert set(drawn(tree)) == {"root", "m0", "m1", "m2"}


def test_gateways_carry_their_hosts_evenly() -> None:
    hosts = [host("g0"), host("g1"), *(host(f"n{n}", via=("g0", "g1")) for n in range(22))]
    tree = plan(site(*hosts), tuple(one.name for one in hosts))
    assert drawn(tree) == {"root": "g[0-1]", "g0": "n[0-10]", "g1": "n[11-21]"}


def test_a_gateway_that_wasnt_asked_for_only_relays_and_one_is_enough_for_one_host() -> None:
    hosts = [host("g0"), host("g1"), *(host(f"n{n}", via=("g0", "g1")) for n in range(22))]
    tree = plan(site(*hosts), ("n3",))
    assert [(node.host, node.asked) for node in tree.nodes] == [("g0", False), ("n3", True)]
    tree = plan(site(*hosts), ("n3", "g1"))
    assert [(node.host, node.asked) for node in tree.nodes] == [("g1", True), ("n3", True)]


def test_gateways_behind_gateways() -> None:
    hosts = [host("a"), host("b", via=("a",)), host("c", via=("b",)), host("d", via=("c",))]
    routes = site(*hosts, limits=Limits(stages=4))
    assert plan(routes, ("d",)).path(4) == ("root", "a", "b", "c", "d")
    with pytest.raises(PlanError) as caught:
        plan(routes.override(limits=Limits(stages=3)), ("d",))
    assert caught.value.remedy is not None
    assert "--stages 4" in caught.value.remedy


def test_a_large_zone_goes_on_below_its_gateway() -> None:
    hosts = [host("g"), *(host(f"n{n}", via=("g",)) for n in range(200))]
    routes = site(*hosts)
    asked = names(200)
    check(plan(routes, asked), routes, asked)


def test_a_gateway_of_two_zones_has_room_for_so_many_only() -> None:
    first = [host(f"a{n}", via=("g",)) for n in range(6)]
    second = [host(f"b{n}", via=("g", "x")) for n in range(4)]
    routes = site(*first, *second, host("x", relay="no"), limits=Limits(branches=10, stages=2))
    asked = names(6, "a") + names(4, "b")
    check(plan(routes, asked), routes, asked)
    with pytest.raises(PlanError, match="hosts behind g,x don't fit"):
        plan(routes.override(limits=Limits(branches=9, stages=2)), asked)


def test_many_gateways() -> None:
    racks = [
        host(f"r{rack}n{n}", via=(f"r{rack}n0",) if n else (), switch=f"s{rack}")
        for rack in range(60)
        for n in range(10)
    ]
    routes = site(*racks)
    asked = tuple(one.name for one in racks)
    check(plan(routes, asked), routes, asked)


def test_a_gateway_named_nowhere_else() -> None:
    routes = site(*(host(f"n{n}", via=("door",)) for n in range(3)))
    assert drawn(plan(routes, names(3))) == {"root": "door", "door": "n[0-2]"}


@pytest.mark.parametrize(
    ("limits", "count", "message", "advice"),
    [
        (Limits(branches=2, stages=2), 10, "10 hosts don't fit", "--stages 3 or --branches 3"),
        (Limits(branches=1, stages=3), 4, "4 hosts don't fit", "--stages 4 or --branches 2"),
        (Limits(branches=25, stages=1), 26, "26 hosts don't fit", "--stages 2 or --branches 26"),
    ],
)
def test_what_doesnt_fit_says_which_limit_would_do(
    limits: Limits, count: int, message: str, advice: str
) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        plan(Routes(limits=limits), names(count))
    assert caught.value.remedy is not None
    assert advice in caught.value.remedy


def test_the_advice_for_leaves_is_branches_alone() -> None:
    routes = site(*(host(f"n{n}", relay="no") for n in range(30)))
    with pytest.raises(PlanError, match="30 of all being `relay: no`") as caught:
        plan(routes, names(30))
    assert caught.value.remedy is not None
    assert "--branches 30" in caught.value.remedy
    assert "stages" not in caught.value.remedy


def test_flat() -> None:
    flat = Routes(tree=TreeMode.FLAT)
    assert {node.stage for node in plan(flat, names(100)).nodes} == {1}
    assert (plan(flat, names(2)).flat, plan(Routes(), names(2)).flat) == (True, False)
    behind = site(host("n1", via=("g",))).override(tree=TreeMode.FLAT)
    with pytest.raises(PlanError, match="n1 is reachable only through g"):
        plan(behind, ("n1",))


def test_what_cant_be_asked_for() -> None:
    with pytest.raises(PlanError, match="no hosts"):
        plan(Routes(), ())
    with pytest.raises(PlanError, match="m: `relay: only` hosts run no commands"):
        plan(site(host("m", relay="only")), ("m",))
    assert len(plan(Routes(), ("n1", "n1")).nodes) == 1


def test_a_loop_of_gateways() -> None:
    routes = site(host("a", via=("b",)), host("b", via=("a",)))
    with pytest.raises(PlanError, match="reachable only through"):
        plan(routes, ("a",))


def test_no_gateway_may_relay() -> None:
    routes = site(host("a", via=("b",)), host("b", relay="no"))
    with pytest.raises(PlanError, match="none of the gateways b may relay"):
        plan(routes, ("a",))
    assert routes.spec("b").relay is RelayRole.NO
