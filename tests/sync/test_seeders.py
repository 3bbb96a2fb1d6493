"""Seeders of a swarm: they are served first, and serve what they have already."""

from __future__ import annotations

from typing import Any

import pytest

from nile.events import SwarmProgress, SwarmState, Verdict
from nile.sync.launching import START_S
from nile.topology.model import ROOT_ID, Plan
from tests.simulation.trees import tree
from tests.sync.swarmed import Swarmed
from tests.sync.test_racks import Graph, in_racks
from tests.sync.test_sites import at_sites, seeded
from tests.sync.test_streaming import all_ok, notices

TWELVE = tree([0] * 12)


def names(*ids: int) -> frozenset[str]:
    return frozenset(f"h{each:04}" for each in ids)


def swarm(*seeders: int, had: tuple[int, ...] = (), plan: Plan = TWELVE, **options: Any) -> Swarmed:
    """With these seeders; hosts that `had` it all are as the source."""
    return Swarmed(plan, dict.fromkeys(had, "new"), seeders=names(*seeders), **options)


def links(it: Swarmed) -> set[frozenset[int]]:
    return {frozenset({teller, other}) for teller, told in it.told for other in told}


def order(it: Swarmed) -> list[int]:
    return [node_id for node_id, _ in it.begun if node_id != ROOT_ID]


def test_the_seed_goes_to_them_and_they_begin_first() -> None:
    it = swarm(7, 9)
    it.run()
    all_ok(it)
    assert order(it)[:2] == [7, 9]
    assert seeded(links(it)) == {7, 9}
    assert it.copies == []


def test_one_of_each_rack_or_site_is_its_gateway() -> None:
    for plan in (in_racks(TWELVE, 3), at_sites(TWELVE, "abc")):
        it = swarm(4, 8, 12, plan=plan)
        it.run()
        all_ok(it)
        assert seeded(links(it)) >= {4, 8, 12}
    few = Graph(in_racks(TWELVE, 3), [4, 8, 12, 1, 2, 3, 5, 6, 7, 9, 10, 11])
    assert seeded(few.links) > {4, 8, 12}, "without seeders it goes to more"


def test_one_that_has_it_serves_it_and_is_ok_in_the_end() -> None:
    it = swarm(3, had=(3, 5))
    it.begin()
    it.all_said()
    assert order(it)[0] == 3
    assert 5 not in order(it), "nobody asked that one"
    it.go_on()
    all_ok(it)
    begun = {node_id: message["keep"] for node_id, message in it.begun if node_id != ROOT_ID}
    assert begun == {each: each == 3 for each in range(1, 13) if each != 5}
    assert any(3 in link for link in links(it))
    assert "of the seeders h0003 (1) had it already, and are to serve that" in notices(it)
    assert "the swarm served 10 of 10 hosts" in notices(it)
    last = [event for event in it.published if isinstance(event, SwarmProgress)][-1]
    assert {host.state for host in last.hosts} == {SwarmState.ENDED}
    assert it.numbers == {}


def test_it_serves_to_the_end() -> None:
    it = swarm(3, had=(3,))
    it.slow = dict.fromkeys(range(1, 13), 5)
    it.run()
    all_ok(it)
    ended = {node: t for node, do, t in it.asked if do == "unpeer"}
    assert ended[ROOT_ID] >= ended[3]
    closed = {node: t for node, do, t in it.asked if do == "close"}
    assert ended[3] <= closed[3]


def test_one_whose_copy_only_seems_to_be_equal_is_mended() -> None:
    it = swarm(3, had=(3,))
    it.only_seem = {3}
    it.run()
    all_ok(it)
    assert [copy for copy in it.copies if copy[1] == 3]
    assert "seeders that didn't serve what they had: h0003 (1): it only seems to be" in notices(it)


@pytest.mark.parametrize("trouble", ["lacks", "away", "dies"])
def test_one_that_fails_is_one_less(trouble: str) -> None:
    it = swarm(3, had=(3,))
    if trouble != "dies":
        getattr(it, trouble).add(3)
    it.TICKS = 2 * int(START_S)
    it.begin()
    it.all_said()
    if trouble == "dies":
        it.die(3)
    it.go_on()
    others = {node_id: each.verdict for node_id, each in it.judged.items() if node_id != 3}
    assert others == dict.fromkeys((each for each in range(1, 13) if each != 3), Verdict.OK)
    assert it.judged[3].verdict == ("lost" if trouble == "dies" else "ok")
    assert max(it.when("peer")) < 5, "nobody waited for it"
    if trouble != "dies":
        assert "seeders that didn't serve what they had: h0003 (1)" in notices(it)
    assert it.copies == []


def test_where_no_swarm_comes_about_they_are_ok() -> None:
    it = swarm(3, had=(3,))
    it.lacks = {ROOT_ID}
    it.run()
    all_ok(it)
    assert not [copy for copy in it.copies if copy[1] == 3]


def test_where_nobody_lacks_anything_nothing_is_begun() -> None:
    it = swarm(3, had=tuple(range(1, 13)))
    it.run()
    all_ok(it)
    assert it.begun == []


def test_the_seed_goes_to_others_where_all_seeders_are_lost() -> None:
    it = swarm(7, 9)
    it.slow = dict.fromkeys(range(1, 13), 4)
    it.begin()
    it.all_said()
    it.die(7)
    it.die(9)
    it.go_on()
    assert {each.verdict for node_id, each in it.judged.items() if node_id not in (7, 9)} == {Verdict.OK}
    assert len(seeded(links(it)) - {7, 9}) >= 1
    assert it.copies == []


def test_it_is_said_that_seeders_serve_no_release_that_they_have() -> None:
    it = swarm(3, had=(3,), release="r1", delete=True, max_delete=10**6)
    it.refuses = {each: {"release": {"current": "", "whole": each == 3}} for each in it.has}
    it.TICKS = 20
    it.run()
    assert "of the seeders h0003 (1) had the release already, and don't serve it" in notices(it)
    assert 3 not in {node for node, do, _ in it.asked if do == "peer"}
