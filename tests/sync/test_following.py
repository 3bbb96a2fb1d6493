"""How hosts of a swarm fare, as it is told: whose stall has which cause, and how often anything is said."""

from __future__ import annotations

from typing import Any

import pytest

from nile.events import Stall, SwarmLimits, SwarmProgress, SwarmState
from nile.sync.following import EVERY_S, HOSTS_A_SECOND, SILENT_S, STALLED_S, UNCHANGED_S, Following
from nile.sync.targets import Target
from nile.topology.model import ROOT_ID

RACKS = {1: "switch a", 2: "switch a", 3: "switch b"}


def following(hosts: int = 3) -> Following:
    """The seed and all hosts listen."""
    made = Following(lambda node_id: RACKS.get(node_id, ""))
    made.begin([Target(number, f"n{number}", lambda *_: None) for number in range(1, hosts + 1)], 0.0)
    made.listens(ROOT_ID, 0.0)
    for number in range(1, hosts + 1):
        made.listens(number, 0.0)
    return made


def report(got: int = 0, **more: Any) -> dict[str, Any]:
    return {"at": got, "whole": 1000, "got": got, "sent": 0, "peers": 2, "useful": 1, "serving": 1, **more}


def told(it: Following, t: float) -> SwarmProgress:
    found = it.due(t)
    assert found is not None
    return found


class TestWhoIsInARack:
    def test_hosts_of_one_have_one_word_and_the_seed_its_own(self) -> None:
        it = following()
        words = [it.word(number) for number in (ROOT_ID, 1, 2, 3, 4)]
        assert words[1] == words[2]
        assert len(set(words)) == 4
        assert {len(word) for word in words} == {8}

    def test_who_is_in_none_that_is_known(self) -> None:
        it = following()
        assert it.word(4) == it.word(5) == "-NLH0000"

    def test_there_may_be_more_racks_than_words(self) -> None:
        it = Following(str)
        words = [it.word(number) for number in range(1, 70_000)]
        assert {len(word) for word in words} == {8}
        assert words[-1] == "-NLH0000"


class TestWhatIsTold:
    def test_nothing_before_the_seed_runs(self) -> None:
        it = Following(lambda _: "")
        it.begin([Target(1, "n1", lambda *_: None)], 0.0)
        assert it.due(0.0) is None
        it.listens(ROOT_ID, 1.0)
        assert told(it, 1.0).hosts[0].state is SwarmState.STARTING

    def test_how_a_host_and_the_seed_are(self) -> None:
        it = following()
        it.report(1, report(300, down=50, up=20, sent=70, **{"from": [100, 150, 50]}), 1.0)
        it.report(ROOT_ID, report(sent=200, up=40, peers=3), 1.0)
        found = told(it, 1.0)
        assert (found.seed_sent, found.seed_up, found.seed_peers, found.sent) == (200, 40, 3, 270)
        host = found.hosts[0]
        assert (host.got, host.whole, host.down, host.up, host.peers) == (300, 1000, 50, 20, 2)
        assert (host.by_seed, host.by_rack, host.by_others, host.stall) == (100, 150, 50, None)

    def test_how_a_host_ends(self) -> None:
        it = following()
        it.report(1, report(1000), 1.0)
        it.is_at(1, SwarmState.COMPLETE)
        it.is_at(2, SwarmState.LEFT_OUT, "it got nothing")
        it.out(2)
        it.out(3)
        hosts = told(it, 1.0).hosts
        assert [host.state for host in hosts] == [SwarmState.COMPLETE, *[SwarmState.LEFT_OUT] * 2]
        assert (hosts[0].got, hosts[1].reason) == (1000, "it got nothing")
        it.out(1)
        assert told(it, 2.0).hosts[0].state is SwarmState.ENDED

    def test_that_it_serves_on_and_no_more_once_the_seed_has_gone(self) -> None:
        it = following()
        it.serves_on()
        assert told(it, 1.0).serving_on
        it.seed_gone()
        found = told(it, 2.0)
        assert not found.serving_on
        assert not found.seeding

    @pytest.mark.parametrize("wrong", [{"got": -1}, {"from": [1, 2]}, {"from": [1, 2, "x"]}, {"up": None}])
    def test_who_reports_what_makes_no_sense_breaks_the_rules(self, wrong: dict[str, Any]) -> None:
        with pytest.raises((ValueError, TypeError)):
            following().report(1, {**report(), **wrong}, 1.0)


class TestStalls:
    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"peers": 0}, Stall.ALONE),
            ({"useful": 0}, Stall.NOTHING_NEW),
            ({"serving": 0}, Stall.CHOKED),
            ({}, Stall.WAITING),
        ],
    )
    def test_the_cause(self, fields: dict[str, Any], why: Stall) -> None:
        it = following(1)
        it.report(1, report(10), 1.0)
        at = 1.0 + STALLED_S
        it.report(1, report(10, down=7, **fields), at)
        host = told(it, at).hosts[0]
        assert (host.stall, host.still_s, host.down) == (why, STALLED_S, 0)

    def test_one_that_gets_something_stands_still_no_more(self) -> None:
        it = following(1)
        it.report(1, report(10), 1.0)
        it.report(1, report(20), 1.0 + STALLED_S)
        assert told(it, 1.0 + STALLED_S).hosts[0].stall is None

    def test_one_of_which_nothing_is_heard(self) -> None:
        it = following(1)
        it.report(1, report(10), 1.0)
        assert told(it, 1.5 + SILENT_S).hosts[0].stall is Stall.SILENT

    def test_one_that_does_not_listen_yet(self) -> None:
        it = Following(lambda _: "")
        it.begin([Target(1, "n1", lambda *_: None)], 0.0)
        it.listens(ROOT_ID, 0.0)
        assert told(it, STALLED_S).hosts[0].stall is Stall.STARTING

    def test_who_has_all_does_not_stand_still(self) -> None:
        it = following(1)
        it.is_at(1, SwarmState.COMPLETE)
        assert told(it, 100.0).hosts[0].stall is None


class TestHowOften:
    def test_a_large_swarm_more_seldom(self) -> None:
        hosts, seconds = 600, 60
        it = following(hosts)
        rows = 0
        for half in range(2 * seconds):
            for number in range(1, hosts + 1):
                it.report(number, report(half), half / 2)
            if (found := it.due(half / 2)) is not None:
                rows += len(found.hosts)
        assert 0 < rows <= hosts + HOSTS_A_SECOND * seconds

    def test_a_small_one_every_second(self) -> None:
        it = following()
        told(it, 0.0)
        it.report(1, report(10), 0.1)
        assert it.due(EVERY_S - 0.1) is None
        assert told(it, EVERY_S).hosts[0].got == 10

    def test_hardly_ever_where_nothing_changes(self) -> None:
        it = following(1)
        it.report(1, report(1000), 0.0)
        it.is_at(1, SwarmState.COMPLETE)
        told(it, 1.0)
        for t in range(2, 16):
            it.report(1, report(1000), float(t))
            assert it.due(float(t)) is None
        told(it, 1.0 + UNCHANGED_S)


def test_limits_that_change_and_that_all_keep_to_at_last_are_told_at_once() -> None:
    it = following()
    assert it.due(100.0, SwarmLimits(peers=3, keeping=3)) is not None
    assert it.due(100.1, SwarmLimits(peers=3, keeping=3)) is None
    changed = SwarmLimits(host=5, peers=3, keeping=0)
    found = it.due(100.2, changed)
    assert found is not None
    assert found.limits == changed
    assert it.due(100.3, SwarmLimits(host=5, peers=3, keeping=2)) is None
    assert it.due(100.4, SwarmLimits(host=5, peers=3, keeping=3)) is not None
    assert it.due(100.5, SwarmLimits(host=5, peers=3, keeping=3)) is None
