"""Rates of a swarm that change while it runs: who is told what, who has said that it keeps to it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nile.events import SwarmLimits, SwarmProgress
from nile.options import MOST_RATE, RateLimits
from nile.sync.racks import GATEWAYS
from nile.topology.model import ROOT_ID, Plan
from tests.simulation.trees import tree
from tests.sync.swarmed import Swarmed
from tests.sync.test_racks import in_racks
from tests.sync.test_streaming import FIVE, notices

KIB = 1024
RACKS = in_racks(tree([0] * 12), 3)


class Changing(Swarmed):
    """One that lasts, in which the user wants `changes` at some times."""

    def __init__(self, plan: Plan, changes: dict[float, RateLimits], **options: Any) -> None:
        super().__init__(plan, {}, **{"serve_s": math.inf, **options})
        self.changes = changes

    def advance(self) -> None:
        for at in [at for at in self.changes if at <= self.t]:
            self._carry_out(self.job.limited(self.changes.pop(at), self.t))
            self.all_said()
        super().advance()


def run(plan: Plan, changes: dict[float, RateLimits], **options: Any) -> Changing:
    it = Changing(plan, changes, **options)
    it.TICKS = 20
    it.begin()
    it.go_on()
    assert it.judged == {}
    return it


def told(it: Swarmed) -> SwarmLimits:
    return [event for event in it.published if isinstance(event, SwarmProgress)][-1].limits


def test_who_begins_has_its_rate_and_is_told_nothing_more() -> None:
    it = run(FIVE, {}, bwlimit_kib_s=500, seed_limit_kib_s=100)
    assert {node: begun["limit"] for node, begun in it.begun} == {
        ROOT_ID: 100 * KIB,
        **dict.fromkeys(range(1, 6), 500 * KIB),
    }
    assert it.limits == {}
    assert told(it) == SwarmLimits(100 * KIB, 500 * KIB, peers=6, keeping=6)


def test_the_seed_sends_as_hosts_do_unless_somebody_says_otherwise() -> None:
    it = run(FIVE, {9.0: RateLimits(host_kib_s=20)}, bwlimit_kib_s=500)
    assert {node: limits[-1]["limit"] for node, limits in it.limits.items()} == dict.fromkeys(
        range(6), 20 * KIB
    )
    it = run(FIVE, {9.0: RateLimits(seed_kib_s=0), 11.0: RateLimits(host_kib_s=20)}, bwlimit_kib_s=500)
    assert [each["limit"] for each in it.limits[ROOT_ID]] == [0]
    assert [each["limit"] for each in it.limits[1]] == [20 * KIB]
    assert told(it) == SwarmLimits(0, 20 * KIB, peers=6, keeping=6)


def test_a_rate_that_is_what_it_was_is_told_to_nobody() -> None:
    assert run(FIVE, {9.0: RateLimits(0, 500)}, bwlimit_kib_s=500, seed_limit_kib_s=None).limits.keys() == {0}


def test_only_who_has_said_so_is_counted_as_keeping_to_it() -> None:
    it = Changing(FIVE, {9.0: RateLimits(host_kib_s=20)})
    it.TICKS = 20
    it.deaf = {2, 5}
    it.begin()
    it.go_on()
    assert told(it) == SwarmLimits(20 * KIB, 20 * KIB, peers=6, keeping=4)
    it.die(2)
    it.go_on()
    assert (told(it).peers, told(it).keeping) == (5, 4)


def test_who_comes_later_begins_with_what_holds_then() -> None:
    it = Changing(FIVE, {12.0: RateLimits(host_kib_s=20)}, bwlimit_kib_s=500)
    it.TICKS = 30
    it.begin(late=[4])
    it.go_on()
    it.start(4)
    it.go_on()
    assert dict(it.begun)[4]["limit"] == 20 * KIB
    assert 4 not in it.limits
    assert told(it).keeping == told(it).peers == 6


def test_gateways_take_equal_parts_of_what_a_rack_may() -> None:
    it = run(RACKS, {}, rack_limit_kib_s=100)
    assert len(it.limits) == 3 * GATEWAYS
    for gateway, limits in it.limits.items():
        (limit,) = limits
        rack = range((gateway - 1) // 4 * 4 + 1, (gateway - 1) // 4 * 4 + 5)
        assert limit["uplink"] == 100 * KIB // GATEWAYS
        assert limit["near"] == [f"h{each}" for each in rack if each != gateway]
        first = next(at for at, (node, do, _) in enumerate(it.asked) if (node, do) == (gateway, "limit"))
        others = [at for at, (node, do, _) in enumerate(it.asked) if (node, do) == (gateway, "peers")]
        assert first < min(others, default=math.inf), "it took something before it knew how much it may"
    assert told(it) == SwarmLimits(rack=100 * KIB, racks=3, peers=13, keeping=13)


def test_gateways_know_who_is_near_before_there_is_a_limit() -> None:
    """A connection is outside, or isn't, from its beginning on."""
    it = run(RACKS, {12.0: RateLimits(rack_kib_s=10)})
    assert {tuple(limit["uplink"] for limit in limits) for limits in it.limits.values()} == {(0, 5 * KIB)}
    assert {tuple(len(limit["near"]) for limit in limits) for limits in it.limits.values()} == {(3, 0)}


def begun(**options: Any) -> tuple[Changing, list[int], list[int]]:
    """In racks, its peers are running: gateways of the first rack, and the others of that."""
    it = Changing(RACKS, {}, rack_limit_kib_s=90, **options)
    it.begin()
    it.all_said()
    gateways = [node for node in it.limits if node <= 4]
    assert len(gateways) == GATEWAYS
    return it, gateways, [node for node in range(1, 5) if node not in gateways]


def uplinks(it: Swarmed) -> dict[int, int]:
    """KiB a second, by host of the first rack."""
    return {node: it.limits[node][-1]["uplink"] // KIB for node in sorted(it.limits) if node <= 4}


def test_one_gateway_more_takes_its_part_from_the_others() -> None:
    it, gateways, others = begun()
    assert uplinks(it) == dict.fromkeys(sorted(gateways), 45)
    it.still, it.TICKS = {others[0]}, 9
    it.go_on()
    assert it.judged == {}
    assert uplinks(it) == dict.fromkeys(sorted([*gateways, others[0]]), 30)


def test_a_gateway_instead_of_a_dead_one_has_its_part() -> None:
    it, gateways, others = begun()
    it.die(gateways[0])
    it.TICKS = 12
    it.go_on()
    (new,) = it.limits.keys() & set(others)
    assert uplinks(it) == dict.fromkeys(sorted([*gateways, new]), 45)


@pytest.mark.parametrize("plan", [FIVE, in_racks(FIVE, 1)])
def test_where_there_are_no_racks_a_limit_for_them_is_said_to_be_of_no_use(plan: Plan) -> None:
    it = run(plan, {}, rack_limit_kib_s=100)
    assert "no limit for racks: the route file says of no two hosts" in notices(it)
    assert (it.limits, told(it).racks) == ({}, 0)


def test_more_than_a_peer_can_be_told_is_as_much_as_it_can_be_told() -> None:
    it = run(FIVE, {}, bwlimit_kib_s=1 << 40)
    assert dict(it.begun)[1]["limit"] == KIB * MOST_RATE < 1 << 31


def test_who_gets_little_because_little_is_let_through_gets_on() -> None:
    it = run(FIVE, {1.0: RateLimits(seed_kib_s=1)})
    assert it.sync._swarm._limiting.least == KIB
    it = run(RACKS, {1.0: RateLimits(host_kib_s=9, rack_kib_s=8)})
    assert it.sync._swarm._limiting.least == 4 * KIB
    all_gone = run(RACKS, {1.0: RateLimits(host_kib_s=9), 2.0: RateLimits(host_kib_s=0)})
    assert all_gone.sync._swarm._limiting.least == 0
