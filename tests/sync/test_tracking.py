"""The tracker of a swarm at the root: it knows the hosts that take part, for as long as they do."""

from __future__ import annotations

from nile.topology.model import ROOT_ID
from tests.sync.swarmed import Swarmed
from tests.sync.test_streaming import FIVE, all_ok, notices

AT = ("root.example", 6969)


def test_all_that_take_part_are_introduced_and_nothing_is_left() -> None:
    it = Swarmed(FIVE, {1: "new"}, tracker_at=AT, trackers=("http://t/",), web_seeds=("http://w/",))
    it.lacks = {4}
    it.run()
    all_ok(it)
    first, *others = it.tracked
    assert (first["do"], first["address"], first["port"]) == ("track", *AT)
    assert sorted(first["hosts"]) == [[name, []] for name in ("h1", "h2", "h3", "h4", "h5")]
    assert (first["trackers"], first["webs"]) == (["http://t/"], ["http://w/"])
    introduced = [(each["name"], each["port"]) for each in others if each["do"] == "introduce"]
    assert sorted(introduced) == [("h2", 4002), ("h3", 4003), ("h5", 4005), ("root.example", 4000)]
    assert {each["name"] for each in others if each["do"] == "dismiss"} == {"h2", "h3", "h5"}
    assert others[-1]["do"] == "untrack"
    wanted = (
        "the tracker is http://root.example:6969/announce, the torrent http://root.example:6969/metainfo/"
    )
    assert wanted + "ab" * 20 + ".torrent" in notices(it)


def test_there_is_none_unless_it_is_asked_for() -> None:
    it = Swarmed(FIVE)
    it.run()
    all_ok(it)
    assert it.tracked == []


def test_one_that_cant_be_costs_nothing_else() -> None:
    it = Swarmed(FIVE, tracker_at=AT)
    it.no_tracker = "Address already in use"
    it.run()
    all_ok(it)
    assert it.copies == []
    assert "no tracker: Address already in use" in notices(it)
    assert [each["do"] for each in it.tracked].count("introduce") == 0


def test_a_few_that_are_turned_away_are_named() -> None:
    it = Swarmed(FIVE, tracker_at=AT)
    it.strangers = [f"192.0.2.{number}" for number in range(10)]
    it.run()
    all_ok(it)
    assert notices(it).count("the tracker doesn't answer 192.0.2.") == 3
    assert ROOT_ID not in it.numbers
