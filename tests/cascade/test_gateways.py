"""Gateways that hang where only they lead to."""

from __future__ import annotations

from nile.options import Timeouts
from tests.cascade.driven import Driven, placed, results
from tests.simulation.trees import tree, with_gateways

LEASE_S = 15.0


def chain(gates: dict[int, tuple[int, ...]], nodes: int = 4) -> Driven:
    """1 > 2 > 3 > 4 ..., all up; some reachable only through others."""
    plan = tree(list(range(nodes)), timeouts=Timeouts(connect_s=5.0, lease_s=LEASE_S))
    run = Driven(with_gateways(plan, gates))
    for node_id in range(1, nodes + 1):
        run.up(node_id)
        run.runs(node_id)
    return run


def test_a_gateway_inside_a_severed_subtree_is_called_from_outside() -> None:
    """1 and 3 are gateways to 2 and 4; 3 hangs below 2. When 1 is gone, 3 is the only way to 2."""
    run = chain({2: (1, 3), 4: (1, 3)})
    run.broke(0, 1)
    assert (0, 3, 2) in placed(run.pass_time(4.0))
    run.up(3, 2)
    taken = run.stands(3, 2, {4: 1}) + run.pass_time(2.0)
    assert (3, 2, 2) in placed(taken)
    run.up(2, 2)
    assert (2, 3) not in [(parent, child) for parent, child, _ in placed(run.stands(2, 2, {}))]
    assert set(results(run.pass_time(LEASE_S + 10.0))) == {"h0001"}


def test_one_behind_the_other() -> None:
    """To 2 leads 3, to 3 leads 4, and 4 hangs below both."""
    run = chain({2: (1, 3), 3: (1, 4)})
    run.broke(0, 1)
    assert (0, 4, 2) in placed(run.pass_time(4.0))
    run.up(4, 2)
    assert (4, 3, 2) in placed(run.stands(4, 2, {}) + run.pass_time(2.0))
    run.up(3, 2)
    assert (3, 2, 2) in placed(run.stands(3, 2, {}) + run.pass_time(2.0))


def test_one_that_needs_no_gateway_is_reached_from_outside_too() -> None:
    """3 and what is below it hang below 2, and don't need 1."""
    run = chain({2: (1,)})
    run.broke(0, 1)
    assert (0, 3, 2) in placed(run.pass_time(4.0))


def test_those_that_only_it_leads_to_wait_for_a_gateway_that_may_come_back() -> None:
    run = chain({2: (1,), 3: (1,), 4: (1,)})
    assert {child for _, child, _ in placed(run.broke(0, 1) + run.pass_time(4.0))} == {1}
