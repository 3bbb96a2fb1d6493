"""A swarm that serves on once all have all: until its user has enough, or for a time."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nile.cascade.actions import COUNTS_S
from nile.events import Code, SwarmProgress, SwarmState, Verdict
from nile.topology.model import ROOT_ID
from tests.sync.simulated import Message
from tests.sync.swarmed import PEER, Swarmed
from tests.sync.test_carrying import DATA, Brought
from tests.sync.test_course import codes
from tests.sync.test_streaming import FIVE, all_ok, notices
from tests.sync.test_wheels import FACTS
from tests.sync.workers import SIZE

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
    assert ends[-1][0] == ROOT_ID
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


class Looking(Lasting):
    """Host 2 looks at what it got until that `may_end`: `at` says what it is asked then."""

    def __init__(self, at: str, **options: Any) -> None:
        super().__init__(**options)
        self.at = at
        self.looks: list[tuple[int, Message]] = []

    def _held(self, what: str, node_id: int, message: Message) -> bool:
        held = self.at == what and node_id == 2 and self.has[2].startswith("new")
        self.looks += [(node_id, message)] * held
        return held

    def _scan(self, node_id: int, message: Message) -> None:
        if not self._held("scan", node_id, message):
            super()._scan(node_id, message)

    def _compare(self, node_id: int, message: Message) -> None:
        if not self._held("compare", node_id, message):
            super()._compare(node_id, message)

    def may_end(self) -> None:
        self.at = ""
        for node_id, message in self.looks:
            self._tell(node_id, message)


@pytest.mark.parametrize("at", ["scan", "compare"])
@pytest.mark.parametrize("lacks", [set(), {2}])
def test_who_has_all_and_looks_at_it_yet_is_ok(at: str, lacks: set[int]) -> None:
    """Also where rsync brought it."""
    it = Looking(at, ends_s=15.0)
    it.keeps, it.lacks = {2}, lacks
    it.TICKS = 20
    it.begin()
    it.go_on()
    assert len(it.looks) == 1
    assert 2 not in it.judged
    it.may_end()
    it.go_on()
    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}


def test_one_that_cant_put_all_in_place_isnt_shown_as_complete() -> None:
    it = Lasting()
    it.trouble = {2: "a directory is in the way"}
    it.TICKS = 20
    it.begin()
    it.go_on()
    found = {host.host: (host.state, host.reason) for host in swarm(it).hosts}
    assert found.pop(it.tree[2].name) == (SwarmState.LEFT_OUT, "a directory is in the way")
    assert set(found.values()) == {(SwarmState.COMPLETE, "")}


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

    def test_one_joins_however_late(self) -> None:
        it = self.late(Lasting(ends_s=150.0), 90, ticks=100)
        all_ok(it)
        assert it.copies == []
        assert "no swarm" not in notices(it)

    def test_one_has_its_time_to_start_where_the_swarm_has_served_nobody(self) -> None:
        it = Lasting(ends_s=320.0)
        it.stuck, it.away = {1, 2, 3, 4}, {5}
        self.late(it, 60, ticks=10)
        number = it.sync._swarm._all._all[5].number
        it.numbers[5] = number
        it._say(5, number, port=4005, peer=PEER, more=True)
        it.TICKS = 280
        it.go_on()
        all_ok(it)
        assert {taker for _, taker in it.copies} == {1, 2, 3, 4}

    @pytest.mark.parametrize("what", ["away", "still"])
    def test_one_that_gets_nothing_is_left_out_and_the_swarm_is_there_for_the_next_one(
        self, what: str
    ) -> None:
        it = Lasting(ends_s=250.0)
        getattr(it, what).add(4)
        it.begin(late=[4, 5])
        it.TICKS = 50
        it.go_on()
        it.start(4)
        it.TICKS = 90
        it.go_on()
        it.start(5)
        it.TICKS = 130
        it.go_on()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [4]

    def test_it_is_signed_for_them_too(self) -> None:
        it = self.late(Lasting(ends_s=100.0), 40, ticks=100)
        (errand,) = it.attested
        assert errand.takers == (1, 2, 3, 4, 5)

    @pytest.mark.parametrize("expired", [False, True])
    def test_one_that_comes_when_the_signature_counts_no_more_is_served_by_rsync(self, expired: bool) -> None:
        it = Lasting()
        it.begin(late=[5])
        it.TICKS = 30
        it.go_on()
        it.t += COUNTS_S if expired else COUNTS_S / 2
        it.start(5)
        it.ends_s, it.TICKS = it.t + 60, 100
        it.go_on()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [5] * expired
        assert (f"rsync: {it.tree[5].name} (the swarm's signature has expired)" in notices(it)) is expired

    @pytest.mark.parametrize(("lacks", "joins"), [(b"a", True), (b"a\0b", False), (b"", False)])
    def test_one_that_lacks_more_than_is_in_the_torrent_is_served_by_rsync(
        self, lacks: bytes, joins: bool
    ) -> None:
        it = Lasting(ends_s=100.0)
        it.paths = b"a"
        it.begin(late=[5])
        it.TICKS = 30
        it.go_on()
        it.paths, it.has[5] = lacks, "another"
        it.start(5)
        it.TICKS = 100
        it.go_on()
        all_ok(it)
        assert [each["only"] for each in it.torrents] == [b"a"]
        assert [taker for _, taker in it.copies] == [5] * (not joins)

    def test_one_without_libtorrent_is_brought_one_where_that_is_less_than_what_it_lacks(self) -> None:
        it = Brought({5: [FACTS]}, serve_s=60.0)
        it.begin(late=[5])
        it.TICKS = 30
        it.go_on()
        it.start(5)
        it.TICKS = 100
        it.go_on()
        all_ok(it)
        assert it.copies == []
        assert it.brought == {5: DATA}

    def test_one_without_room_is_served_by_rsync(self) -> None:
        it = Lasting(ends_s=100.0)
        it.source = {"room": SIZE // 2}
        it.free[5] = SIZE - 1
        all_ok(self.late(it, 30, ticks=100))
        assert [taker for _, taker in it.copies] == [5]
        assert f"{it.tree[5].name} (no room there" in notices(it)

    def test_one_that_can_be_served_in_no_other_way_fails(self) -> None:
        it = Lasting(serve_s=5.0)
        it.refuses = {5: {"rsync": None}}
        self.late(it, 40)
        assert codes(it) == {**dict.fromkeys((1, 2, 3, 4)), 5: Code.NO_RSYNC}
        assert it.judged[5].reason == "no rsync there, and no swarm: the swarm is over"
        assert it.copies == []

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
        assert f"rsync: {it.tree[5].name} (the swarm is over)" in notices(it)

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
