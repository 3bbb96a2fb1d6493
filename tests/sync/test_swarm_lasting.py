"""A swarm that serves on once all have all: until its user has enough, or for a time."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nile.events import Code, SwarmProgress, SwarmState, Verdict
from nile.topology.model import ROOT_ID
from tests.sync.swarmed import Swarmed
from tests.sync.test_course import codes
from tests.sync.test_streaming import FIVE, all_ok, notices

LONG = 200
"""Seconds: longer than anything that judges who hangs."""


class Lasting(Swarmed):
    """One that its user ends at `ends_s`, if ever."""

    def __init__(self, serve_s: float = math.inf, ends_s: float = math.inf, **options: Any) -> None:
        super().__init__(FIVE, None, serve_s=serve_s, **options)
        self.ends_s = ends_s

    def advance(self) -> None:
        if self.t >= self.ends_s:
            self.ends_s = math.inf
            self._carry_out(self.job.concluded(self.t))
            self.all_said()
        super().advance()


def run(it: Lasting, ticks: int = LONG) -> Lasting:
    it.TICKS = ticks
    it.run()
    return it


def swarm(it: Swarmed) -> SwarmProgress:
    return [event for event in it.published if isinstance(event, SwarmProgress)][-1]


def test_it_serves_on_and_judges_nobody() -> None:
    it = Lasting()
    it.TICKS = LONG
    it.begin()
    it.go_on()
    assert it.judged == {}
    assert it.numbers.keys() == {ROOT_ID, 1, 2, 3, 4, 5}
    found = swarm(it)
    assert found.serving_on
    assert {host.state for host in found.hosts} == {SwarmState.COMPLETE}


def test_its_user_ends_it() -> None:
    it = run(Lasting(ends_s=LONG / 2))
    all_ok(it)
    assert it.numbers == {}
    ends = [(node, t) for node, do, t in it.asked if do == "unpeer"]
    assert ends[0][0] == ROOT_ID
    assert min(t for _, t in ends) >= LONG / 2
    assert "the swarm served 5 of 5 hosts" in notices(it)
    assert not swarm(it).serving_on


def test_it_ends_after_a_time() -> None:
    it = run(Lasting(serve_s=30.0))
    all_ok(it)
    (first, *_) = it.when("unpeer")
    assert 30.0 <= first < 50.0


def test_who_lacks_something_yet_is_cancelled_then() -> None:
    it = Lasting(ends_s=9.0)
    it.slow = {3: 8}
    run(it)
    verdicts = {node_id: each.verdict for node_id, each in it.judged.items()}
    assert verdicts == {1: Verdict.OK, 2: Verdict.OK, 3: Verdict.CANCELLED, 4: Verdict.OK, 5: Verdict.OK}
    assert codes(it)[3] is Code.CANCELLED


@pytest.mark.parametrize("early", [0.0, 1.0])
def test_it_is_ended_before_it_has_begun_to_give_anything(early: float) -> None:
    it = run(Lasting(ends_s=early))
    assert {each.verdict for each in it.judged.values()} == {Verdict.CANCELLED}
    assert it.numbers == {}


def test_who_is_left_out_has_its_verdict_while_the_others_serve_on() -> None:
    it = Lasting()
    it.TICKS = LONG
    it.lacks = {2}
    it.begin()
    it.go_on()
    assert {node_id: each.verdict for node_id, each in it.judged.items()} == {2: Verdict.OK}


def test_it_is_over_where_nobody_takes_part_any_more() -> None:
    it = Lasting()
    it.lacks = {1, 2, 3, 4, 5}
    all_ok(run(it))


def test_a_seed_that_ends_leaves_hosts_that_serve_each_other() -> None:
    it = Lasting(ends_s=LONG / 2)
    it.seed_ends = None
    it.TICKS = 20
    it.begin()
    it.go_on()
    it.seed_ends = {}
    it.TICKS = LONG
    it.go_on()
    all_ok(it)
    assert min(it.when("unpeer")) >= LONG / 2


def test_one_that_is_over_has_nothing_to_end() -> None:
    it = run(Lasting(serve_s=1.0))
    all_ok(it)
    assert list(it.job.concluded(it.t)) == []


def test_who_has_its_copy_is_ok_also_where_it_is_broken_off() -> None:
    it = Lasting()
    it.slow = {3: 8}
    it.TICKS = 9
    it.begin()
    it.go_on()
    it.interrupt()
    it.all_said()
    assert {node_id: each.verdict for node_id, each in it.judged.items()} == dict.fromkeys(
        (1, 2, 4, 5), Verdict.OK
    )


def test_a_release_that_is_broken_off_was_made_current_nowhere() -> None:
    it = Lasting(release="r1", delete=True, max_delete=10**6)
    it.refuses = {each: {"release": {"current": "", "whole": False}} for each in it.has}
    it.slow = {3: 8}
    it.TICKS = 9
    it.begin()
    it.go_on()
    it.interrupt()
    it.all_said()
    assert it.judged == {}


class TestLateHosts:
    @staticmethod
    def late(it: Lasting, after: int, host: int = 5, ticks: int = 60) -> Lasting:
        """That one's worker runs after so many seconds."""
        it.begin(late=[host])
        it.TICKS = after
        it.go_on()
        it.start(host)
        it.TICKS = ticks
        it.go_on()
        return it

    def test_one_joins_those_that_serve_on(self) -> None:
        it = self.late(Lasting(ends_s=100.0), 40, ticks=100)
        all_ok(it)
        assert it.copies == []
        peers = {node: t for node, do, t in it.asked if do == "peer"}
        assert max(peers[host] for host in (1, 2, 3, 4)) < 20.0 < 40.0 <= peers[5]
        assert "the swarm served 5 of 5 hosts" in notices(it)

    def test_one_that_has_something_else_than_the_others_isnt_served_before_that_is_known(self) -> None:
        it = Lasting(ends_s=100.0)
        it.has[5] = "another"
        all_ok(self.late(it, 40, ticks=100))
        assert it.copies == []

    def test_one_joins_those_that_are_at_it(self) -> None:
        it = Lasting(ends_s=90.0)
        it.slow = {3: 9}
        all_ok(self.late(it, 20, ticks=90))
        assert it.copies == []

    def test_then_the_time_that_it_serves_on_begins_anew(self) -> None:
        it = self.late(Lasting(serve_s=30.0), 35, ticks=80)
        all_ok(it)
        assert it.copies == []
        assert min(it.when("unpeer")) >= 65.0

    def test_one_that_has_it_already(self) -> None:
        it = Lasting(ends_s=80.0)
        it.has[5] = "new"
        all_ok(self.late(it, 30, ticks=80))
        assert {node for node, do, _ in it.asked if do == "peer"} == {1, 2, 3, 4}

    def test_one_that_comes_when_it_is_over_is_served_by_rsync(self) -> None:
        it = self.late(Lasting(serve_s=5.0), 40)
        all_ok(it)
        assert [taker for _, taker in it.copies] == [5]

    def test_one_that_never_comes_is_no_hindrance(self) -> None:
        it = Lasting()
        it.begin(late=[5])
        it.TICKS = 40
        it.go_on()
        assert swarm(it).serving_on
        it.die(5)
        it.go_on()
        assert swarm(it).serving_on

    @pytest.mark.parametrize("options", [{"serve_s": 0.0}, {"delete": True, "max_delete": 10}])
    def test_all_are_waited_for_where_it_doesnt_last_or_something_is_deleted(
        self, options: dict[str, Any]
    ) -> None:
        it = self.late(Lasting(ends_s=150.0, **options), 40, ticks=130)
        all_ok(it)
        assert min(it.when("torrent")) >= 40.0
