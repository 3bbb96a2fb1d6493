"""What bounds a swarm: a root that hangs, hosts that only seem to get on, or say what can't be."""

from __future__ import annotations

from typing import Any

import pytest

from nile.sync.launching import START_S
from nile.sync.swarmers import LEAST, Swarmer
from nile.sync.swarming import HASHING_S
from nile.sync.watching import MERGE_S, STILL_S
from nile.topology.model import ROOT_ID
from tests.sync.swarmed import Swarmed
from tests.sync.test_streaming import FIVE, all_ok, notices
from tests.sync.workers import SIZE


class Saying(Swarmed):
    """Host 2 says something else than it is: `says` gives that for each report, by its number from 0."""

    says: Any = staticmethod(lambda number: {})
    reports = 0

    def _say(self, node_id: int, number: int, **fields: Any) -> None:
        if node_id == 2 and "progress" in fields:
            fields["progress"] = {**fields["progress"], **self.says(self.reports)}
            self.reports += 1
        super()._say(node_id, number, **fields)


def left_out(it: Swarmed, node_id: int) -> float:
    """When it was told to take part no more, while others did."""
    at: float = min(t for node, do, t in it.asked if (node, do) == (node_id, "unpeer"))
    assert f"{it.tree[node_id].name} (it got nothing for 10 s" in notices(it)
    return at


class TestWhoOnlySeemsToGetOn:
    @pytest.mark.parametrize(
        "says",
        [
            lambda number: {"at": 0, "got": 1 << 40 + number},  # it comes, and is thrown away
            lambda number: {"at": 250 * (number % 2)},  # it has to come anew
            lambda number: {"at": number // 3},  # less than a hundredth in ten seconds
            lambda number: {"at": 250 * number, "whole": 250},  # more than all
        ],
    )
    def test_it_is_left_to_rsync_while_others_get_on(self, says: Any) -> None:
        it = Saying(FIVE)
        it.still, it.says = {2}, says
        it.slow = dict.fromkeys((1, 3, 4, 5), 5)
        it.run()
        all_ok(it)
        assert STILL_S < left_out(it, 2) < STILL_S + 5
        assert [taker for _, taker in it.copies] == [2]

    def test_what_is_enough_follows_from_what_it_wants_and_from_what_is_let_through(self) -> None:
        huge, small = 1 << 40, 50 * LEAST
        for whole, most, least in ((huge, huge, LEAST), (small, huge, small // 100), (huge, 8192, 81)):
            peer = Swarmer(1, None)
            assert not peer.gets_on(least - 1, whole, most, 1.0)
            assert peer.gets_on(least, whole, most, 2.0)
            assert (peer.moved_s, peer.got) == (2.0, least)
            assert not peer.gets_on(2 * least - 1, whole, most, 3.0)

    def test_the_last_bytes_are_enough_however_few(self) -> None:
        peer = Swarmer(1, None)
        assert peer.gets_on(1_000_000, 1_000_001, 1_000_001, 1.0)
        assert peer.gets_on(1_000_001, 1_000_001, 1_000_001, 2.0)
        assert not peer.gets_on(1_000_001, 1_000_001, 1_000_001, 3.0)

    def test_who_looks_at_all_of_it_anew_gets_on_from_nothing_once(self) -> None:
        peer, whole = Swarmer(1, None), 10 * LEAST
        for first in (True, False):
            assert peer.gets_on(whole, whole, whole, 1.0)
            assert peer.gets_on(0, whole, whole, 2.0) is first
        assert peer.got == whole

    def test_what_it_says_that_it_sent_is_no_more_than_can_be(self) -> None:
        it = Saying(FIVE)
        it.says = lambda number: {"sent": 1 << 60}
        it.run()
        all_ok(it)
        sent = next(text for text in notices(it).split("nile: ") if "the swarm served" in text)
        assert "PiB" not in sent
        assert "MiB sent" in sent


class TestARootThatHangs:
    def test_in_the_midst_of_the_torrent(self) -> None:
        it = Swarmed(FIVE)
        it.hashes_for_ever, it.TICKS = True, int(HASHING_S) + 30
        it.run()
        all_ok(it)
        assert len(it.copies) == 5
        assert "no swarm: the root doesn't get on with the torrent; hosts are served by rsync" in notices(it)

    def test_a_torrent_that_comes_after_all_is_for_nobody(self) -> None:
        it = Swarmed(FIVE)
        it.hashes_for_ever, it.TICKS = True, int(HASHING_S) + 2
        it.run()
        it._say(ROOT_ID, it.torrent_asked, chunk=b"torrent", more=True)
        it._say(ROOT_ID, it.torrent_asked, hash=b"h" * 20, digest=b"d" * 32)
        it.go_on()
        all_ok(it)
        assert it.when("seed") == []

    def test_one_that_is_at_it_has_its_time(self) -> None:
        it = Swarmed(FIVE)
        it.hashes_for_ever, it.TICKS = True, 20
        it.begin()
        for done in range(1, 10):
            it.go_on()
            it._say(ROOT_ID, it.torrent_asked, alive=True, done=1000 * done, more=True)
        assert it.t > HASHING_S + 60
        assert it.copies == []

    def test_a_seed_that_never_listens(self) -> None:
        it = Swarmed(FIVE)
        it.away, it.TICKS = {ROOT_ID}, int(START_S) + 30
        it.run()
        all_ok(it)
        assert len(it.copies) == 5
        assert "no swarm: at the root: its seed doesn't start" in notices(it)
        assert ROOT_ID not in it.numbers
        assert it.when("peer") == []

    def test_a_seed_that_ends_is_named(self) -> None:
        it = Swarmed(FIVE)
        it.slow = {5: 4}
        it.begin()
        it.all_said()
        it.advance()
        it.all_said()
        it.seed_ends = {"code": "source", "reason": "big: Input/output error"}
        it.go_on()
        all_ok(it)
        assert "the seed at the root has ended (big: Input/output error)" in notices(it)
        assert it.copies == []


class PutsInPlace(Swarmed):
    """Those that are `stuck` say every second that they get on."""

    def advance(self) -> None:
        super().advance()
        for node_id in self.stuck & self.numbers.keys():
            if self.got.get(node_id) == SIZE:
                self._say(node_id, self.numbers[node_id], merging=True, more=True)


class TestWhoSaysTheSameForEver:
    def test_it_is_waited_for_until_it_should_be_through(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nile.sync.watching.MOST_LAST_S", MERGE_S + 60)
        it = PutsInPlace(FIVE)
        it.stuck, it.TICKS = {3}, int(MERGE_S) + 100
        it.run()
        all_ok(it)
        assert [taker for _, taker in it.copies] == [3]
        assert "what came isn't put in place" in notices(it)
        (at,) = [t for node, do, t in it.asked if (node, do) == (3, "unpeer")]
        assert MERGE_S + 60 < at < MERGE_S + 80

    def test_of_who_cant_tell_who_signed_it_is_noted_once(self) -> None:
        it = Swarmed(FIVE)
        it.begin()
        it.all_said()
        for number in range(100):
            it._say(2, it.numbers[2], unchecked=f"reason {number}", more=True)
        it.go_on()
        all_ok(it)
        (said,) = [text for each in it.published if "who signed it" in (text := getattr(each, "text", ""))]
        assert said.endswith(f": {it.tree[2].name} (1): reason 0")


@pytest.mark.parametrize("said", [{"merging": True}, {"complete": True, "trouble": ""}])
def test_what_is_said_of_all_before_there_is_a_peer(said: dict[str, Any]) -> None:
    it = Swarmed(FIVE)
    it.away = {2}
    it.begin()
    it.all_said()
    it._say(2, it.sync._swarm._all._all[2].number, **said, more=True)
    with pytest.raises(ValueError, match="it "):
        it.all_said()


def test_what_is_said_of_all_once_it_is_in_its_place() -> None:
    it = Swarmed(FIVE)
    it.still = {3}
    it.begin()
    for _ in range(5):
        it.all_said()
        it.advance()
    it.all_said()
    it._say(1, it.numbers[1], merging=True, more=True)
    with pytest.raises(ValueError, match="hasn't got"):
        it.all_said()
