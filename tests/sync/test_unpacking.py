"""Hosts that have nothing yet get an archive; for those without rsync there is no other way."""

from __future__ import annotations

from typing import Any

import pytest

from nile.events import Code, Verdict
from nile.sync import Method, Purpose
from nile.sync.holdups import HELD_S
from nile.topology.model import ROOT_ID, Plan
from tests.simulation.trees import tree
from tests.sync.test_course import codes
from tests.sync.test_streaming import FIVE, notices
from tests.sync.workers import Workers


class Bare(Workers):
    """A run in which these hosts have no rsync, and nothing in the destination; `empty` ones have rsync."""

    def __init__(
        self, plan: Plan, bare: set[int], empty: frozenset[int] | set[int] = frozenset(), **options: Any
    ) -> None:
        none = dict.fromkeys(bare | empty, "")
        super().__init__(plan, none, **{"method": Method.AUTO, **options})
        self.archives: dict[int, list[int]] = {}
        """By the number of a recording that is an archive, the hosts that joined."""
        self.empty = empty
        for node_id in bare:
            self.refuses[node_id] = {"rsync": None}
        for node_id in none:
            self.entries[node_id] = 1  # the destination itself

    def _record(self, node_id: int, message: dict[str, Any]) -> None:
        if message["archive"]:
            assert (message["address"], message["peer"]) == ("", None)
            self.archives[message["n"]] = []
        super()._record(node_id, message)

    def _join(self, node_id: int, message: dict[str, Any]) -> None:
        bare = self.refuses.get(node_id) == {"rsync": None}
        if bare or (node_id in self.empty and "unpackable" not in self.source):
            assert message["recorded"] == {"archive": True}
            self.archives[max(self.archives)].append(node_id)
        else:
            assert "archive" not in message["recorded"]
        assert message["identity"] == (b"" if self.options.plain else b"PEM"), "it is encrypted as any stream"
        super()._join(node_id, message)

    def _receive(self, node_id: int, message: dict[str, Any]) -> None:
        assert node_id not in self.refuses, "it has no rsync"
        super()._receive(node_id, message)

    def _push(self, node_id: int, message: dict[str, Any]) -> None:
        assert node_id not in self.refuses, "it has no rsync"
        super()._push(node_id, message)


def all_ok(it: Bare) -> None:
    assert set(codes(it).values()) == {None}
    assert set(it.has.values()) == {"new"}


def test_one_alone_gets_an_archive() -> None:
    it = Bare(tree([0]), {1})
    it.run()
    all_ok(it)
    assert list(it.archives.values()) == [[1]]
    assert it.chain.forgotten == list(it.archives)
    assert "an archive for 1 that has nothing, and no rsync" in notices(it)


def test_all_of_them_share_one_beside_the_stream_of_the_others() -> None:
    it = Bare(FIVE, {2, 4, 5})
    it.run()
    all_ok(it)
    assert list(it.archives.values()) == [[2, 4, 5]]
    assert len(it.chain.recordings) == 2
    assert it.copies == []
    said = "one stream for 2 hosts that have the same; an archive for 3 that have nothing, and no rsync"
    assert said in notices(it)


def test_and_beside_a_copy_by_rsync() -> None:
    it = Bare(tree([0, 1]), {1})
    it.run()
    all_ok(it)
    assert it.copies == [(ROOT_ID, 2)], "nobody is served by one that has no rsync"


@pytest.mark.parametrize(
    "options", [{"excludes": (b"a\nb",)}, {"plain": True}, {"chains": 2}, {"delete": True}]
)
def test_what_a_recording_cant_have_an_archive_can(options: Any) -> None:
    it = Bare(tree([0, 0]), {1, 2}, **options)
    it.run()
    all_ok(it)
    assert len(it.archives) == 1


def test_who_has_nothing_gets_it_too_rsync_or_not() -> None:
    it = Bare(FIVE, {2}, {4, 5})
    it.run()
    all_ok(it)
    assert list(it.archives.values()) == [[2, 4, 5]]
    assert it.copies == []
    said = notices(it)
    assert "2 hosts that have the same; an archive for 3 that have nothing, 1 of them without rsync" in said


def test_one_alone_that_has_rsync_is_served_by_that() -> None:
    it = Bare(tree([0]), set(), {1})
    it.run()
    all_ok(it)
    assert it.archives == {}
    assert it.copies == [(ROOT_ID, 1)]


def test_a_root_without_rsync_archives_all_the_same() -> None:
    it = Bare(tree([0, 0, 0]), {1, 2})
    it.source = {"rsync": None}
    it.run()
    assert (codes(it)[1], codes(it)[2]) == (None, None)
    assert notices(it).startswith("an archive for 2 that have nothing, and no rsync ")


def test_of_a_root_without_rsync_one_alone_gets_an_archive_too() -> None:
    it = Bare(tree([0]), set(), {1})
    it.source = {"rsync": None}
    it.run()
    all_ok(it)
    assert list(it.archives.values()) == [[1]]


def test_what_no_archive_can_have_rsync_brings() -> None:
    it = Bare(FIVE, {2}, {1, 3, 4, 5})
    it.source = {"unpackable": "it is too deep"}
    it.run()
    assert codes(it) == {2: Code.NO_RSYNC, **dict.fromkeys((1, 3, 4, 5))}
    assert it.judged[2].reason == "no rsync there, and no archive of the source: it is too deep"
    assert it.judged[2].remedy == "install rsync (3.1 or later) there"
    assert 2 not in it.wrote
    assert it.archives == {}
    assert len(it.chain.recordings) == 1


def test_the_largest_group_comes_first() -> None:
    it = Bare(tree([0] * 7), {1}, {2, 3})
    it.all_is_new = False
    for node in (4, 5):
        it.has[node] = "older"
    it.chain.holds = True
    it.run()
    assert list(it.archives.values()) == [[1, 2, 3]]
    assert min(it.archives) == min(it.chain.recordings), "that of two comes later"
    it.chain.holds = False
    it.chain.flow()
    it.go_on()
    all_ok(it)


def test_a_first_release_and_what_is_mended_are_deliveries_too() -> None:
    it = Bare(tree([0]), {1}, purpose=Purpose.REPAIR)
    it.run()
    all_ok(it)


@pytest.mark.parametrize(
    ("names", "entries", "code"),
    [
        ([b""], 1, None),
        ([b""], 2, Code.NO_RSYNC),
        ([b"src"], 0, None),
        ([b"src"], 1, Code.NO_RSYNC),
        ([b"", b"src"], 1, None),
        ([b"", b"src"], 2, Code.NO_RSYNC),
    ],
)
def test_whoever_has_something_needs_rsync(names: list[bytes], entries: int, code: Code | None) -> None:
    it = Bare(tree([0]), {1})
    it.source = {"names": names}
    it.entries[1] = entries
    it.run()
    assert codes(it) == {1: code}
    if code:
        assert it.judged[1].reason == "no rsync there, and it has something already"
        assert it.judged[1].remedy == "install rsync (3.1 or later) there"
        assert it.wrote == set()
        assert it.archives == {}


@pytest.mark.parametrize("method", [Method.RSYNC, Method.RSYNC_TCP])
def test_whoever_asks_for_rsync_gets_nothing_else(method: Method) -> None:
    it = Bare(tree([0]), {1}, method=method)
    it.run()
    assert codes(it) == {1: Code.NO_RSYNC}
    assert it.judged[1].reason == "no rsync there"


def test_who_has_a_release_has_something() -> None:
    it = Bare(tree([0]), {1}, release="two")
    it.refuses[1] = {"rsync": None, "release": {"current": "one", "whole": False}}
    it.run()
    assert codes(it) == {1: Code.NO_RSYNC}


def test_a_full_disk_is_seen_before() -> None:
    it = Bare(tree([0]), {1})
    it.free[1] = 10
    it.run()
    assert codes(it) == {1: Code.DISK_FULL}
    assert it.archives == {}


class TestWhatComesToNothing:
    @pytest.mark.parametrize("code", ["disk-full", "not-writable"])
    def test_what_is_the_hosts_own_fault_is_said_at_once(self, code: str) -> None:
        it = Bare(tree([0, 0]), {1, 2})
        it.chain.diverges, it.chain.diverged = {1}, code
        it.run()
        assert codes(it) == {1: code, 2: None}
        assert it.judged[1].remedy == ""
        assert len(it.archives) == 1

    def test_all_else_is_tried_once_more_for_those_alone(self) -> None:
        it = Bare(tree([0, 0]), {1, 2})
        it.chain.diverges, it.chain.diverged = {1}, "broken"
        it.run()
        assert codes(it) == {1: Code.COPY, 2: None}
        assert it.judged[1].reason == "it isn't what it was"
        assert it.judged[1].remedy == "install rsync (3.1 or later) there"
        assert list(it.archives.values()) == [[1, 2], [1]]

    @pytest.mark.parametrize("code", ["broken", "diverged", "disk-full"])
    def test_who_has_rsync_is_served_by_that_afterwards(self, code: str) -> None:
        it = Bare(tree([0, 0, 0]), set(), {1, 2, 3})
        it.chain.diverges, it.chain.diverged = {1}, code
        it.run()
        all_ok(it)
        assert list(it.archives.values()) == [[1, 2, 3]]
        assert [taker for _, taker in it.copies] == [1]

    def test_who_has_it_gets_the_second_archive_where_the_first_was_at_fault(self) -> None:
        it = Bare(tree([0] * 4), {1}, {2, 3, 4})
        it.chain.spoils = {0: "broken"}
        it.run()
        all_ok(it)
        assert list(it.archives.values()) == [[1, 2, 3, 4]] * 2
        assert it.copies == []

    def test_but_not_a_third(self) -> None:
        it = Bare(tree([0] * 3), set(), {1, 2, 3})
        it.chain.spoils = {0: "broken", 1: "broken"}
        it.run()
        all_ok(it)
        assert list(it.archives.values()) == [[1, 2, 3]] * 2
        assert len(it.copies) == 3

    def test_nobody_without_rsync_is_left_out_twice_for_being_slow(self) -> None:
        it = Bare(tree([0] * 5), {1, 2, 3, 4, 5})
        it.chain.holds = True
        it.run()
        for feeder in (3, 1):
            self.held(it, feeder)
        assert [it.chain.of(node) is None for node in (1, 2, 3, 4, 5)] == [False, True, False, True, False]
        it.chain.holds = False
        it.chain.flow()
        while len(it.archives) < 2:
            it.step()
        it.chain.holds = True
        it.go_on()
        assert list(it.archives.values())[1:] == [[2, 4]]
        for _ in range(2):
            self.held(it, 2)
        assert it.chain.of(4) is not None
        it.chain.holds = False
        it.chain.flow()
        it.go_on()
        all_ok(it)
        assert len(it.archives) == 2

    def held(self, it: Bare, node: int) -> None:
        """It says that it waits for its successor, and those before it have said nothing for long."""
        it.t += HELD_S
        seat = it.chain.of(node)
        assert seat is not None
        it.chain.tell(node, seat.number, "held", "successor")
        it.go_on()

    def test_and_left_out_of_the_archive_it_is_named(self) -> None:
        it = Bare(tree([0, 0, 0]), set(), {1, 2, 3})
        it.chain.blocked = it.chain.locked = {(giver, 2) for giver in range(4)}
        it.run()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [2]
        assert "left out of the stream, to be served by another host: " in notices(it)

    @pytest.mark.parametrize(("spoils", "archives"), [({0: "broken"}, 2), ({0: "spool-full"}, 1)])
    def test_an_archive_that_cant_be_made(self, spoils: dict[int, str], archives: int) -> None:
        it = Bare(tree([0, 0]), {1, 2})
        it.chain.spoils = spoils
        it.run()
        assert codes(it) == dict.fromkeys((1, 2), None if archives == 2 else Code.COPY)
        assert len(it.archives) == archives
        if archives == 1:
            assert {judgement.reason for judgement in it.judged.values()} == {"so: spool-full"}

    def test_a_source_that_changes_fails_all(self) -> None:
        it = Bare(tree([0, 0]), {1, 2})
        it.chain.spoils = {0: "source-changed"}
        it.run()
        assert set(codes(it).values()) == {Code.SOURCE_CHANGED}
        assert it.wrote == set()

    def test_one_that_cant_be_reached_needs_rsync(self) -> None:
        it = Bare(tree([0, 0, 0]), {1, 2, 3})
        it.chain.blocked = it.chain.locked = {(giver, 2) for giver in range(4)}
        it.run()
        assert codes(it) == {1: None, 2: Code.NO_RSYNC, 3: None}
        assert it.judged[2].reason == "no rsync there, and no stream: Permission denied (publickey)."
        assert it.judged[2].remedy == "install rsync (3.1 or later) there"
        assert list(it.archives.values()) == [[1, 2, 3], [2]]

    def test_a_copy_that_isnt_equal_is_not_ok(self) -> None:
        it = Bare(tree([0]), {1})
        it.chain.became = lambda node_id: it.has.update({node_id: "garbled"})
        it.run()
        assert codes(it) == {1: Code.DIFFERS}
        assert it.copies == []

    @pytest.mark.parametrize("node", [1, 2, 3])
    def test_who_dies_is_skipped(self, node: int) -> None:
        it = Bare(tree([0, 0, 0]), {1, 2, 3})
        it.chain.holds = True
        it.run()
        it.die(node)
        it.chain.holds = False
        it.chain.flow()
        it.go_on()
        assert {each for each in it.judged if it.judged[each].verdict is Verdict.OK} == {1, 2, 3} - {node}
        assert len(it.archives) == 1

    def test_who_dies_before_the_second_try_is_tried_no_more(self) -> None:
        it = Bare(tree([0, 0, 0]), {1, 2, 3})
        it.chain.spoils = {0: "broken"}
        it._carry_out(it.sync.begin(0.0))
        for node_id in (1, 2, 3):
            it.start(node_id)
        while len(it.archives) < 2:
            it.step()
        it.die(2)
        it.go_on()
        assert {each for each in it.judged if it.judged[each].verdict is Verdict.OK} == {1, 3}
