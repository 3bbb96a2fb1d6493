"""What a copy would be: the path of the data, the bytes over uplinks, and the time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nile.sync import Method
from nile.sync.forecast import Foreseen, Uplink, foresee
from nile.topology.model import Plan
from tests.simulation.trees import tree

SIZE = 1000
RATE = 100.0
"""F/R is 10 s."""


def switched(plan: Plan, switches: dict[int, str]) -> Plan:
    specs = dict(plan.specs)
    for node_id, switch in switches.items():
        name = plan.node(node_id).host
        specs[name] = replace(specs[name], switch=switch)
    return replace(plan, specs=specs)


def of(found: Foreseen, name: str) -> Uplink:
    (one,) = [uplink for uplink in found.uplinks if uplink.name == name]
    return one


def two_racks() -> Plan:
    """h1 above h3 and h4 on one switch, h2 above h5 and h6 on the other."""
    return switched(tree([0, 0, 1, 1, 2, 2]), dict.fromkeys((1, 3, 4), "a") | dict.fromkeys((2, 5, 6), "b"))


def test_a_chain_enters_each_switch_once() -> None:
    found = foresee(two_racks(), SIZE, RATE)
    assert found.method is Method.STREAM
    assert [name for name, _ in found.chain] == ["h0001", "h0003", "h0004", "h0002", "h0005", "h0006"]
    assert of(found, "switch a") == Uplink("switch a", 3, SIZE, SIZE, SIZE, 0)
    assert of(found, "switch b") == Uplink("switch b", 3, SIZE, 0, SIZE, 0)
    assert of(found, "root") == Uplink("root", 0, 0, SIZE, 0, 2 * SIZE)
    assert (found.least_s, found.stream_s) == (10.0, 10.0)


def test_of_holes_a_stream_has_nothing_to_move() -> None:
    found = foresee(two_racks(), SIZE, RATE, holes=900)
    assert (found.size, found.streamed, found.moved) == (SIZE, 100, 100)
    assert of(found, "switch a") == Uplink("switch a", 3, 100, 100, SIZE, 0)
    assert of(found, "root") == Uplink("root", 0, 0, 100, 0, 2 * SIZE)
    assert (found.least_s, found.stream_s, found.rsync_s, found.swarm_s) == (1.0, 1.0, 40.0, (18.0, 30.0))
    alone = foresee(tree([0]), SIZE, RATE, holes=900)
    assert (alone.moved, alone.least_s, alone.rsync_s) == (SIZE, 10.0, 10.0)


def test_by_rsync_each_port_serves_one_after_the_other() -> None:
    assert foresee(two_racks(), SIZE, RATE).rsync_s == 40.0  # 2 from the root, then 2 from each of these
    assert foresee(tree([0]), SIZE, RATE).rsync_s == 10.0
    assert foresee(tree([0, 1, 2]), SIZE, RATE).rsync_s == 30.0


def test_only_so_many_are_served_at_one_time_and_those_that_serve_others_first() -> None:
    # The one with a child is among the first four, which have it after 4; its child a round later.
    found = foresee(tree([0, 0, 0, 0, 0, 0, 6]), SIZE, RATE)
    assert found.rsync_s == 60.0


def test_a_tree_across_switches_loads_their_uplinks() -> None:
    # The tree goes to and fro between them, and so do copies that follow it; a chain doesn't.
    plan = switched(tree([0, 0, 1, 1, 2, 2]), {1: "a", 3: "b", 4: "a", 2: "b", 5: "a", 6: "b"})
    found = foresee(plan, SIZE, RATE)
    assert [place[-1] for _, place in found.chain] == ["a", "a", "a", "b", "b", "b"]
    assert of(found, "switch a") == Uplink("switch a", 3, SIZE, SIZE, 2 * SIZE, SIZE)
    assert (found.stream_s, found.rsync_s) == (10.0, 40.0)


def test_hosts_of_no_switch_stay_with_their_branch_in_a_chain() -> None:
    plan = switched(tree([0, 0, 0, 1, 2]), {1: "a", 3: "a"})
    found = foresee(plan, SIZE, RATE)
    assert [name for name, _ in found.chain] == ["h0001", "h0003", "h0004", "h0002", "h0005"]


def test_relays_pass_on_what_they_do_not_get() -> None:
    plan = switched(tree([0, 1, 1], not_asked=frozenset({1})), {1: "door", 2: "in", 3: "in"})
    found = foresee(plan, SIZE, RATE)
    assert [name for name, _ in found.chain] == ["h0002", "h0003"]
    assert of(found, "switch in").rsync_in == 2 * SIZE
    assert of(found, "root").rsync_out == 2 * SIZE


def test_hosts_of_no_switch_are_in_their_branches() -> None:
    found = foresee(tree([0, 0, 1]), SIZE, RATE)
    assert [uplink.name for uplink in found.uplinks] == ["root", "branch h0001", "branch h0002"]


def test_one_host_gets_no_stream() -> None:
    found = foresee(tree([0]), SIZE, RATE)
    assert found.method is Method.RSYNC
    assert "one host" in found.why


@pytest.mark.parametrize("size", [0, 1])
def test_nothing_takes_no_time(size: int) -> None:
    found = foresee(two_racks(), size, 1e9)
    assert found.stream_s == pytest.approx(0.0, abs=1e-6)
