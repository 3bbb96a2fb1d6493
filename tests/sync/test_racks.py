"""Racks in a swarm: who is connected across an uplink, and how much goes over it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from nile.cascade.tree import Tree
from nile.events import Verdict
from nile.sync.racks import GATEWAYS, HELP_S
from nile.sync.swarmers import ENOUGH, MOST, Swarmer, Swarmers
from nile.sync.watching import STILL_S
from nile.topology.model import ROOT_ID, Plan
from tests.simulation.trees import tree, with_gateways
from tests.sync.swarmed import Swarmed
from tests.sync.test_streaming import all_ok

SEED = ROOT_ID


def in_racks(plan: Plan, racks: int) -> Plan:
    """The same plan, its hosts in so many racks: one after the other, as even as they go."""
    specs = dict(plan.specs)
    for node in plan.nodes:
        switch = f"sw{(node.id - 1) * racks // len(plan.nodes)}"
        specs[node.host] = replace(specs[node.host], switch=switch)
    return replace(plan, specs=specs)


def rack_of(plan: Plan, node_id: int) -> str | None:
    return plan.specs[plan.node(node_id).host].switch if node_id != SEED else "root"


class Graph:
    """A swarm whose hosts begin to listen in some order: who is told of whom."""

    def __init__(self, plan: Plan, order: list[int]) -> None:
        self.plan = plan
        self.swarmers = Swarmers(Tree(plan, {}))
        self.swarmers.racks.expect(order)
        self.links: set[frozenset[int]] = set()
        self.hosts = len(order)
        peers = [Swarmer(node_id, None, port=1) for node_id in order]
        for peer in peers:
            self.swarmers.add(peer)
        for peer in peers:
            self.listens(peer)

    def listens(self, peer: Swarmer) -> None:
        self.swarmers.listens(peer)
        self.tell(peer, self.swarmers.others_for(peer))
        if self.swarmers.is_for_seed(peer, self.hosts):
            self.links.add(frozenset({SEED, peer.id}))

    def tell(self, peer: Swarmer, others: list[Swarmer]) -> None:
        self.links |= {frozenset({peer.id, other.id}) for other in others}

    def gateways(self) -> dict[str | None, set[int]]:
        """By rack: who is connected to another one, or to the seed."""
        found: dict[str | None, set[int]] = {}
        for link in self.links:
            racks = {rack_of(self.plan, each) for each in link}
            if len(racks) > 1:
                for each in link - {SEED}:
                    found.setdefault(rack_of(self.plan, each), set()).add(each)
        return found

    def spread(self, pieces: int, rng: random.Random) -> tuple[int, Counter[str | None]]:
        """Rounds until all have all, and pieces that came into each rack from others.

        In a round each gives a piece to one that it is connected to, and gets one: the one that fewest have.
        """
        near: dict[int, list[int]] = {}
        for one, other in map(sorted, self.links):
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
        has: dict[int, set[int]] = {each: set() for each in near}
        has[SEED] = set(range(pieces))
        copies = Counter(range(pieces))
        into: Counter[str | None] = Counter()
        rounds = 0
        while any(len(each) < pieces for each in has.values()):
            rounds += 1
            got: dict[int, int] = {}
            for giver in rng.sample(sorted(near), len(near)):
                takers = [each for each in near[giver] if each not in got and has[giver] - has[each]]
                if takers:
                    taker = rng.choice(takers)
                    lacked = sorted(has[giver] - has[taker])
                    rng.shuffle(lacked)
                    got[taker] = min(lacked, key=lambda piece: copies[piece])
                    copies[got[taker]] += 1
                    if rack_of(self.plan, giver) != rack_of(self.plan, taker):
                        into[rack_of(self.plan, taker)] += 1
            for taker, piece in got.items():
                has[taker].add(piece)
            assert got, "nobody gets on"
        return rounds, into


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("hosts", "racks"), [(12, 3), (40, 4), (60, 10)])
def test_an_uplink_carries_so_few_copies_as_there_are_gateways(hosts: int, racks: int, seed: int) -> None:
    rng = random.Random(seed)
    plan = tree([0] * hosts)
    order = rng.sample(range(1, hosts + 1), hosts)
    told = Graph(in_racks(plan, racks), order)
    assert max(map(len, told.gateways().values())) == min(GATEWAYS, hosts // racks)
    rounds, into = told.spread(40, rng)
    assert max(into.values()) <= GATEWAYS * 40
    blind = Graph(plan, order)
    blind.plan = told.plan
    rounds_blind, into_blind = blind.spread(40, rng)
    assert max(into_blind.values()) > max(into.values())
    assert rounds < 2.5 * rounds_blind


def test_the_rack_of_those_of_whom_nobody_said_is_one_more() -> None:
    plan = in_racks(tree([0] * 12), 2)
    unsaid = {name: replace(spec, switch=None) for name, spec in plan.specs.items() if name > "h0008"}
    told = Graph(replace(plan, specs={**plan.specs, **unsaid}), list(range(1, 13)))
    assert told.gateways() == {"sw0": {1, 2}, "sw1": {7, 8}, None: {9, 10}}


def test_one_switch_is_as_none() -> None:
    told = Graph(in_racks(tree([0] * 12), 1), list(range(1, 13)))
    assert told.links == Graph(tree([0] * 12), list(range(1, 13))).links


def test_nobody_is_told_of_too_many_and_every_rack_is_connected() -> None:
    plan = in_racks(tree([0] * 900), 30)
    told = Graph(plan, list(range(1, 901)))
    seeded = [link for link in told.links if SEED in link]
    assert MOST <= len(seeded) <= 2 * MOST
    assert told.spread(1, random.Random(1))[0] < 60


def test_who_alone_reaches_others_is_a_gateway_whenever_it_begins() -> None:
    plan = with_gateways(in_racks(tree([0] * 12), 3), {9: (4,)})
    order = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert Graph(plan, order).gateways()["sw0"] == {1, 4}
    alone = Graph(plan, [each for each in order if each != 4])
    assert alone.gateways()["sw0"] == {1, 2}


@pytest.mark.parametrize(
    "plan", [tree([0]), tree([0] * 12), in_racks(tree([0] * 12), 5), in_racks(tree([0] * 4), 2)]
)
def test_connections_that_are_enough_are_counted_and_nobody_listed(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Graph(plan, list(range(1, len(plan.nodes) + 1))).swarmers
    known = {each.id: len(it._all_for(each)) + it.racks.is_gateway(each.id) for each in it}
    monkeypatch.setattr(it, "_all_for", None)
    assert {each.id: it.enough(each) for each in it} == {
        node_id: min(ENOUGH, count) for node_id, count in known.items()
    }


def test_when_a_gateway_goes_another_one_takes_its_place() -> None:
    told = Graph(in_racks(tree([0] * 12), 3), list(range(1, 13)))
    assert told.swarmers.new_gateways() == []
    gone = told.swarmers.of(5)
    assert gone is not None
    told.swarmers.remove(gone)
    (new,) = told.swarmers.new_gateways()
    assert new.id == 7
    assert {each.id for each in told.swarmers.gateways_for(new)} == {1, 2, 9, 10}


RACKS = {node_id: (node_id - 1) // 4 for node_id in range(1, 13)}


def swarm(**options: Any) -> tuple[Swarmed, set[int]]:
    """Under way, on three switches, and its gateways."""
    it = Swarmed(in_racks(tree([0] * 12), 3), {}, **options)
    it.slow = dict.fromkeys(range(1, 13), 3)
    it.begin()
    it.all_said()
    across = {link for link in it.links if ROOT_ID not in link and len({RACKS[each] for each in link}) > 1}
    return it, {each for link in across for each in link}


def others(node_id: int) -> set[int]:
    return {each for each in RACKS if RACKS[each] == RACKS[node_id]} - {node_id}


def seeded(it: Swarmed) -> set[int]:
    return {other for teller, told in it.told if teller == ROOT_ID for other in told}


def test_in_racks_all_get_it_without_a_copy() -> None:
    it, gateways = swarm()
    it.go_on()
    all_ok(it)
    assert it.copies == []
    assert Counter(RACKS[each] for each in gateways) == {0: GATEWAYS, 1: GATEWAYS, 2: GATEWAYS}
    assert seeded(it) == gateways
    assert it.shares.keys() == gateways
    assert sorted(it.shares.values()) == [(part, len(gateways)) for part in range(len(gateways))]


ELSEWHERE: dict[str, tuple[str, ...]] = {"trackers": ("http://t/",), "web_seeds": ("http://w/",)}


def test_gateways_alone_may_look_elsewhere() -> None:
    it, gateways = swarm(**ELSEWHERE)
    assert it.elsewhere.keys() == {SEED, *gateways}
    assert it.elsewhere.pop(SEED) == (["http://t/"], [])
    assert list(it.elsewhere.values()) == [(["http://t/"], ["http://w/"])] * len(gateways)
    it.die(min(gateways))
    it.go_on()
    assert it.elsewhere.keys() == seeded(it)


def test_where_there_is_but_one_rack_all_may() -> None:
    it = Swarmed(tree([0] * 12), {}, **ELSEWHERE)
    it.run()
    all_ok(it)
    assert len(it.elsewhere) == 13


def test_a_gateway_dies_and_the_rack_is_served_on() -> None:
    it, gateways = swarm()
    dies = min(gateways)
    it.die(dies)
    it.go_on()
    assert it.judged.pop(dies).verdict == "lost"
    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
    assert it.copies == []
    (new,) = seeded(it) - gateways
    assert new in others(dies)


def test_one_that_gets_nothing_from_its_rack_is_connected_to_others() -> None:
    it, gateways = swarm()
    lone = max(RACKS.keys() - gateways)
    unreachable = {frozenset({lone, other}) for other in others(lone)}
    for _ in range(int(STILL_S + HELP_S)):
        it.links -= unreachable
        it.advance()
        it.all_said()
        it.t += 1.0
        it._carry_out(it.job.tick(it.t))
    assert seeded(it) == {*gateways, lone}
    it.go_on()
    all_ok(it)
    assert it.copies == []
