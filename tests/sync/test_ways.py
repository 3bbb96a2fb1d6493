"""Which way is the slowest one, and how that is said."""

from __future__ import annotations

from nile.sync.pace import Pace
from nile.sync.ways import Way, Ways
from nile.sync.wording import against_bounds
from nile.topology.model import ROOT_ID

MB = 1 << 20


def chain(*seconds: float) -> Ways:
    """From the root to 1, to 2, and so on: each way takes so long for 100 MiB."""
    ways = Ways(Pace())
    for taker, took in enumerate(seconds, 1):
        ways.began(taker - 1, taker, 1.0, anew=False)
        ways.ended(taker, 100 * MB, 1.0 + took)
    return ways


def pair(ways: Ways) -> tuple[int, int] | None:
    return (ways.slowest.giver, ways.slowest.taker) if ways.slowest else None


def test_nothing_is_slow_where_nothing_went() -> None:
    ways = Ways(Pace())
    ways.began(ROOT_ID, 1, 0.0)
    assert ways.slowest is None
    ways.ended(1, 0, 1.0)
    assert ways.slowest is None
    assert ways.most == 0


def test_the_slowest_of_several_copies() -> None:
    ways = chain(1.0, 8.0, 2.0)
    assert pair(ways) == (1, 2)
    assert ways.slowest is not None
    assert ways.slowest.rate == 100 * MB / 8
    assert ways.most == 100 * MB


def test_in_a_stream_it_is_the_one_that_holds_all_before_it_up() -> None:
    ways = chain(8.0, 8.1, 8.2, 8.3)
    ways.held(1, 5.0)
    ways.held(2, 4.8)
    ways.held(3, 0.1)
    assert pair(ways) == (2, 3)


def test_who_was_held_up_for_a_moment_counts_for_nothing() -> None:
    ways = chain(8.0, 8.1, 8.2, 8.3)
    ways.held(1, 0.5)
    assert pair(ways) == (3, 4)


def test_what_was_there_before_didnt_come_by_the_new_way() -> None:
    ways = Ways(Pace())
    ways.began(1, 2, 0.0, anew=False)
    ways.got(2, 60 * MB)
    ways.began(ROOT_ID, 2, 6.0, anew=False)
    ways.ended(2, 100 * MB, 8.0)
    assert ways.slowest is not None
    assert pair(ways) == (ROOT_ID, 2)
    assert ways.slowest.rate == 20 * MB
    assert ways.most == 100 * MB


def test_of_a_stream_that_came_to_nothing_the_next_one_goes_on_with_nothing() -> None:
    ways = Ways(Pace())
    ways.began(ROOT_ID, 1, 0.0, anew=False)
    ways.got(1, 60 * MB)
    ways.left(1)
    ways.began(ROOT_ID, 1, 6.0, anew=False)
    ways.ended(1, 100 * MB, 11.0)
    assert ways.slowest is not None
    assert ways.slowest.rate == 20 * MB


def test_a_copy_that_begins_anew_brings_all_of_it() -> None:
    ways = Ways(Pace())
    ways.began(1, 2, 0.0)
    ways.got(2, 60 * MB)
    ways.began(ROOT_ID, 2, 6.0)
    ways.ended(2, 100 * MB, 11.0)
    assert ways.slowest is not None
    assert ways.slowest.rate == 20 * MB


def test_it_is_held_against_the_slowest_way_and_against_what_the_user_says() -> None:
    way = Way(1, 2, 0.0, 0, 100 * MB, 5.0)
    said = against_bounds(8.0, 100 * MB, way, ("n1", "n2"), None)
    assert said == ["slowest way: n1 to n2, 20.0 MiB/s; 100.0 MiB take 5.00 s at that rate, 62 % of the time"]
    said = against_bounds(8.0, 100 * MB, None, ("", ""), 25 * MB)
    assert said == ["F/R, 100.0 MiB at 25.0 MiB/s, is 4.00 s: it took 2.00 times that"]
    assert against_bounds(8.0, 0, None, ("", ""), 25 * MB) == []


def test_of_a_little_no_rate_is_told() -> None:
    assert against_bounds(1.0, MB - 1, Way(1, 2, 0.0, 0, MB - 1, 1.0), ("n1", "n2"), None) == []
