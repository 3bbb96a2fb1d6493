"""How often a way is tried: what hosts say of it bounds nothing, for either side may lie."""

from __future__ import annotations

import pytest

from nile.sync import tries
from nile.sync.tries import Tries
from nile.topology.model import ROOT_ID
from tests.sync.test_streaming import all_ok, notices, workers

LIAR = 3


def test_who_never_leads_anywhere_has_few_tries() -> None:
    it = Tries()
    it.failed(1, 2)
    assert not it.to_nowhere(2)
    it.failed(1, 2)
    assert it.to_nowhere(2)
    assert not it.from_nowhere(1)
    it.failed(1, 3)
    assert it.from_nowhere(1)


def test_a_way_that_was_found_between_begins_anew_but_not_for_ever() -> None:
    it = Tries()
    for _ in range(tries.MOST_TO - 1):
        it.failed(1, 2)
        it.led(1, 2)
    assert not it.to_nowhere(2)
    it.failed(1, 2)
    assert it.to_nowhere(2)
    for taker in range(3, 3 + tries.MOST_FROM - tries.MOST_TO):
        assert not it.from_nowhere(1)
        it.failed(1, taker)
        it.led(1, taker)
    assert it.from_nowhere(1)


def test_the_root_is_no_liar() -> None:
    it = Tries()
    for taker in range(1, 30):
        it.failed(ROOT_ID, taker)
        it.led(ROOT_ID, taker)
    assert not it.from_nowhere(ROOT_ID)


@pytest.mark.parametrize("blocked", [False, True], ids=["by-its-port", "through-ssh"])
def test_who_says_that_it_found_the_next_one_and_then_not_keeps_nobody(blocked: bool) -> None:
    it = workers()
    it.chain.blocked = {(giver, taker) for giver in range(6) for taker in range(6)} if blocked else set()
    it.chain.liars = {LIAR}
    it.run()
    all_ok(it)
    assert max(it.chain.tried.count(way) for way in it.chain.tried) <= tries.MOST_TO
    assert "left out of the stream" in notices(it)
    assert len(it.copies) <= 2, "the liar, and one whom it was to feed"


def test_only_those_count_who_got_it_through_ssh() -> None:
    it = workers()
    it.chain.blocked = {(giver, taker) for giver in range(6) for taker in range(6)}
    it.chain.holds = True
    it.run()
    it.die(LIAR)
    it.go_on()
    it.chain.holds = False
    it.chain.flow()
    it.go_on()
    assert "4 of 4 hosts got the stream through ssh" in notices(it)
