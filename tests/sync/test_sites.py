"""Sites in a swarm: whom the seed goes to there, and that nobody is told of who is elsewhere."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from nile.sync.addresses import AT_ONE_TIME
from nile.sync.apart import MOST_S, ranges
from nile.sync.racks import GATEWAYS, HELP_S
from nile.sync.swarmers import Swarmer
from nile.sync.watching import STILL_S
from nile.topology.model import ROOT_ID, Plan
from tests.simulation.trees import tree
from tests.sync.swarmed import Swarmed
from tests.sync.test_racks import SEED, Graph, in_racks
from tests.sync.test_streaming import all_ok, notices

TWELVE = tree([0] * 12)


def at_sites(plan: Plan, sites: str, *peering: str) -> Plan:
    """The same plan, its hosts at sites of one letter each, one after the other; "-": at none."""
    specs = dict(plan.specs)
    for node in plan.nodes:
        site = sites[(node.id - 1) * len(sites) // len(plan.nodes)]
        specs[node.host] = replace(specs[node.host], site=None if site == "-" else site)
    return replace(plan, specs=specs, peering=frozenset(map(frozenset, peering)))


def site(plan: Plan, node_id: int) -> str:
    return plan.specs[plan.node(node_id).host].site or "-"


def across(plan: Plan, links: set[frozenset[int]]) -> set[frozenset[str]]:
    """Which sites are connected."""
    found = {frozenset(site(plan, each) for each in link) for link in links if SEED not in link}
    return {each for each in found if len(each) > 1}


def seeded(links: set[frozenset[int]]) -> set[int]:
    return {each for link in links if SEED in link for each in link} - {SEED}


@pytest.mark.parametrize("racks", [0, 6])
def test_nobody_is_connected_to_another_site_and_the_seed_to_few_of_each(racks: int) -> None:
    plan = at_sites(in_racks(TWELVE, racks) if racks else TWELVE, "abc")
    order = random.Random(1).sample(range(1, 13), 12)
    told = Graph(plan, order)
    assert across(plan, told.links) == set()
    assert sorted(site(plan, each) for each in seeded(told.links)) == sorted("abc" * GATEWAYS)
    told.spread(20, random.Random(2))  # all get all


def test_those_that_peer_are_connected_by_the_same_few() -> None:
    plan = at_sites(TWELVE, "abc", "ab", "bc")
    told = Graph(plan, list(range(1, 13)))
    assert across(plan, told.links) == {frozenset("ab"), frozenset("bc")}
    ends = {
        each
        for link in told.links - {SEED}
        if len({site(plan, each) for each in link - {SEED}}) > 1
        for each in link
    }
    assert ends == seeded(told.links) == {1, 2, 5, 6, 9, 10}


def test_of_whom_nobody_said_where_they_are_is_a_site_of_its_own() -> None:
    plan = at_sites(TWELVE, "a-", "ab")
    assert across(plan, Graph(plan, list(range(1, 13))).links) == set()


def test_one_site_is_as_none() -> None:
    for racks in (1, 3):
        plan = in_racks(TWELVE, racks)
        assert Graph(at_sites(plan, "a"), list(range(1, 13))).links == Graph(plan, list(range(1, 13))).links


def test_switches_of_one_name_at_two_sites_are_two() -> None:
    plan = at_sites(in_racks(TWELVE, 1), "ab")
    assert across(plan, Graph(plan, list(range(1, 13))).links) == set()


def test_connections_that_are_enough_are_counted_and_nobody_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Graph(at_sites(in_racks(tree([0] * 6), 6), "aab", "ab"), [1, 2, 3, 4, 5, 6]).swarmers
    known = {each.id: len(it._all_for(each)) + it.racks.is_door(each.id) for each in it}
    monkeypatch.setattr(it, "_all_for", None)
    assert {each.id: it.racks.known_to(each.id) + it.racks.is_door(each.id) for each in it} == known


def test_where_those_are_lost_that_the_seed_goes_to_others_take_their_place() -> None:
    told = Graph(at_sites(in_racks(TWELVE, 6), "ab"), list(range(1, 13)))
    assert seeded(told.links) == {1, 2, 7, 8}
    for node_id in (7, 8):
        gone = told.swarmers.of(node_id)
        assert isinstance(gone, Swarmer)
        told.swarmers.remove(gone)
    new = {each.id for each in told.swarmers.new_gateways()}
    doors = {each for each in range(1, 13) if told.swarmers.racks.is_door(each)}
    assert doors == {1, 2, 9, 10}
    assert new >= {9, 10}


# A run.


def swarm(sites: str, *peering: str, **options: Any) -> Swarmed:
    return Swarmed(at_sites(TWELVE, sites, *peering), {}, **options)


def refused(it: Swarmed, node_id: int) -> tuple[bytes, ...]:
    """What its peer is told not to have anything to do with."""
    return next(tuple(message["refuse"]) for to, message in it.begun if to == node_id)


def span(first: int, last: int) -> bytes:
    return bytes([10, 0, 0, first, 10, 0, 0, last])


def test_all_get_it_and_refuse_the_addresses_of_other_sites() -> None:
    it = swarm("abc", "ab")
    it.run()
    all_ok(it)
    assert it.copies == []
    told = {frozenset({teller, other}) for teller, others in it.told for other in others}
    assert across(at_sites(TWELVE, "abc"), told) == {frozenset("ab")}
    assert refused(it, 1) == refused(it, 5) == (span(9, 12), b"")
    assert refused(it, 9) == (span(1, 8), b"")
    assert "no address is known" not in notices(it)


def test_where_there_is_but_one_nothing_is_asked_and_nothing_refused() -> None:
    it = swarm("a")
    it.run()
    all_ok(it)
    assert not it.when("addresses")
    assert not any("refuse" in message for _, message in it.begun)


def test_an_address_that_hosts_share_isnt_refused_and_one_that_isnt_known_is_named() -> None:
    it = swarm("ab")
    it.addresses = {"h8": ["10.0.0.1", "fd00::8"], "h9": []}
    it.run()
    all_ok(it)
    assert refused(it, 1)[0] == span(7, 7) + span(10, 12)
    assert refused(it, 1)[1].hex() == 2 * ("fd" + "00" * 14 + "08")
    assert "no address is known here of h0009 (1)" in notices(it)


def test_names_that_take_long_keep_nobody_up_for_longer_than_that() -> None:
    it = swarm("ab")
    it.slow_names = True
    it.run()
    all_ok(it)
    assert MOST_S < min(it.when("peer")) <= MOST_S + 2
    assert "no address is known here of h[0001-0012] (12)" in notices(it)


def test_many_names_are_asked_for_in_several_questions() -> None:
    hosts = AT_ONE_TIME + 5
    it = Swarmed(at_sites(tree([0] * hosts), "ab"), {})
    it.addresses = {f"h{each}": [f"10.0.{each >> 8}.{each & 255}"] for each in range(1, hosts + 1)}
    it.begin()
    it.all_said()
    assert len(it.when("addresses")) == 2


def test_the_tracker_hears_where_hosts_are() -> None:
    it = swarm("ab-", "ba", tracker_at=("root.example", 6969))
    it.run()
    first = it.tracked[0]
    assert dict(map(tuple, first["hosts"])) == {
        f"h{each}": ["ab"[(each - 1) // 4] if each < 9 else ""] for each in range(1, 13)
    }
    assert first["peering"] == [["a", "b"]]


def test_one_that_gets_nothing_from_its_own_gets_it_from_the_seed() -> None:
    it = swarm("ab")
    it.slow = dict.fromkeys(range(1, 13), 3)
    it.begin()
    it.all_said()
    lone = 12
    unreachable = {frozenset({lone, other}) for other in range(7, 12)}
    for _ in range(int(STILL_S + HELP_S)):
        it.links -= unreachable
        it.advance()
        it.all_said()
        it.t += 1.0
        it._carry_out(it.job.tick(it.t))
    assert frozenset({ROOT_ID, lone}) in it.links
    it.go_on()
    all_ok(it)
    assert it.copies == []


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [([], []), ([5], [5, 5]), ([3, 1, 2, 7, 9, 8], [1, 3, 7, 9]), ([255, 256], [255, 256])],
)
def test_ranges(numbers: list[int], wanted: list[int]) -> None:
    packed = [number.to_bytes(4, "big") for number in numbers]
    assert ranges(packed) == b"".join(number.to_bytes(4, "big") for number in wanted)
