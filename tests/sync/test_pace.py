"""How far copies are: what is done never becomes less, and the rest is told soberly."""

from __future__ import annotations

import random

import pytest

from nile.events import CopyProgress
from nile.sync.pace import BEHIND, EACH, EVERY_S, MEMORY_S, STILL_S, Pace, Rate, eta_s


def told(pace: Pace, t: float) -> CopyProgress:
    found = pace.due(t)
    assert found is not None
    return found


def two() -> Pace:
    pace = Pace()
    pace.expect(1, "n1", 1000)
    pace.expect(2, "n2", 1000)
    return pace


def test_a_rate_that_stays_is_found_at_once_and_kept() -> None:
    rate = Rate()
    for _ in range(5):
        rate.add(50, 0.5)
        assert rate.value == pytest.approx(100)


def test_a_rate_that_changed_is_followed_in_some_seconds() -> None:
    rate = Rate()
    for _ in range(100):
        rate.add(100, 0.5)
    for _ in range(int(3 * MEMORY_S / 0.5)):
        rate.add(0, 0.5)
    assert 5 < rate.value < 15


def test_it_says_how_far_all_are_and_how_long_it_will_take() -> None:
    pace = two()
    pace.at(1, 0)
    told(pace, 0.0)
    for step in range(1, 5):
        pace.at(1, 100 * step)
        pace.at(2, 50 * step)
        progress = told(pace, float(step))
    assert (progress.hosts, progress.complete, progress.got, progress.whole) == (2, 0, 600, 2000)
    assert progress.part == pytest.approx(0.3)
    assert progress.rate == pytest.approx(150, rel=0.2)
    first, second = progress.behind
    assert (first.host, second.host) == ("n2", "n1")
    assert first.eta_s == pytest.approx(800 / 50, rel=0.2)
    # Together they would be done sooner: the last one isn't.
    assert progress.eta_s == first.eta_s


def test_nothing_is_told_before_a_byte_came_nor_after_the_end() -> None:
    pace = two()
    assert pace.due(0.0) is None
    pace.at(1, 10)
    assert pace.due(1.0) is not None
    pace.over(1, complete=True)
    assert pace.due(1.1) is None
    pace.over(2, complete=True)
    last = told(pace, 1.1)
    assert (last.complete, last.part, last.eta_s, last.behind) == (2, 1.0, 0.0, ())
    assert pace.due(3.0) is None


def test_it_isnt_told_more_often_however_many_say_something() -> None:
    pace = Pace()
    for node_id in range(600):
        pace.expect(node_id, f"n{node_id}", 10_000)
    events = 0
    for step in range(2000):
        pace.at(step % 600, step)
        events += pace.due(step * 0.005) is not None
    assert events <= 10 / EVERY_S + 1
    assert len(told(pace, 100.0).behind) == BEHIND


def test_each_host_is_told_of_when_there_is_something_new() -> None:
    pace = two()
    pace.at(1, 10)
    assert [(copy.host, copy.got, copy.eta_s) for copy in told(pace, 0.0).each] == [
        ("n1", 10, None),
        ("n2", 0, None),
    ]
    pace.at(2, 500)
    (second,) = told(pace, 1.0).each
    assert (second.host, second.got, second.over) == ("n2", 500, False)
    assert second.eta_s == pytest.approx(1.0)
    assert told(pace, 2.0).each == ()
    stands = told(pace, 1.0 + STILL_S).each
    assert {copy.host: copy.eta_s for copy in stands} == {"n1": None, "n2": None}  # it came to a standstill
    pace.over(1, complete=False)
    (lost,) = told(pace, 5.0).each
    assert (lost.host, lost.got, lost.whole, lost.over) == ("n1", 10, 10, True)
    pace.over(2, complete=True)
    assert [(copy.host, copy.got, copy.over) for copy in told(pace, 5.1).each] == [("n2", 1000, True)]


def test_of_many_hosts_each_has_its_turn_and_in_the_end_all_that_are_left() -> None:
    pace, hosts = Pace(), 4 * EACH
    last: dict[str, int] = {}
    for node_id in range(hosts):
        pace.expect(node_id, f"n{node_id}", 1000)
    for step in range(1, 9):
        for node_id in range(hosts):
            pace.at(node_id, 100 * step)
        each = told(pace, float(step)).each
        assert len(each) == EACH
        last |= {copy.host: step for copy in each}
    assert sorted(last.values()) == [step for step in (5, 6, 7, 8) for _ in range(EACH)]
    for node_id in range(hosts):
        pace.over(node_id, complete=True)
    each = told(pace, 9.0).each
    assert (len(each), {copy.got for copy in each}) == (hosts, {1000})


def test_a_copy_that_begins_anew_takes_nothing_back() -> None:
    pace = two()
    pace.at(1, 800)
    assert told(pace, 0.0).got == 800
    pace.at(1, 100)
    again = told(pace, 1.0)
    assert again.got == 800
    assert again.rate == pytest.approx(100)  # what came, came
    pace.at(1, 900)
    assert told(pace, 2.0).got == 900


def test_a_host_that_is_lost_is_not_waited_for() -> None:
    pace = two()
    pace.at(1, 500)
    told(pace, 0.0)
    pace.at(1, 600)
    pace.over(2, complete=False)
    progress = told(pace, 1.0)
    assert (progress.whole, progress.got, progress.complete) == (1000, 600, 1)
    assert progress.eta_s == pytest.approx(4.0)


def test_more_than_was_expected_is_no_more_than_all() -> None:
    pace = two()
    pace.at(1, 5000)
    assert told(pace, 0.0).got == 1000
    pace.whole([1, 2], 2500)
    pace.at(1, 5001)
    assert told(pace, 1.0).got == 2500


def test_where_it_stands_still_nothing_is_foretold() -> None:
    assert eta_s(10, 0.0) is None
    assert eta_s(0, 0.0) == 0.0
    pace = two()
    pace.at(1, 0)
    assert told(pace, 0.0).eta_s is None
    assert told(pace, 1.0).eta_s is None


def test_what_stood_still_for_some_seconds_is_not_foretold_from_what_was_before() -> None:
    pace = two()
    pace.at(1, 10)
    told(pace, 0.0)
    for step in range(1, 11):
        pace.at(1, 10 + 10 * step)
        pace.at(2, 10 * step)
        told(pace, float(step))
    etas = []
    for step in range(11, 20):
        pace.at(2, 10 * step)
        progress = told(pace, float(step))
        etas.append({copy.host: copy.eta_s is None for copy in progress.behind}["n1"])
        assert progress.eta_s is not None
    assert etas == [False, False] + [True] * 7
    nothing = [told(pace, float(step)).eta_s is None for step in range(20, 25)]
    assert nothing == [False, False, True, True, True]
    pace.at(1, 200)
    assert told(pace, 25.0).eta_s is not None


def test_one_that_gets_another_copy_is_under_way_again() -> None:
    pace = two()
    for node_id in (1, 2):
        pace.over(node_id, complete=True)
    assert told(pace, 0.0).complete == 2
    pace.again(1)
    pace.at(1, 10)
    assert told(pace, 1.0).complete == 1


@pytest.mark.parametrize("seed", range(50))
def test_whatever_comes_the_part_never_falls_and_ends_at_one(seed: int) -> None:
    chance = random.Random(seed)
    pace, t, part = Pace(), 0.0, 0.0
    for node_id in range(8):
        pace.expect(node_id, f"n{node_id}", chance.choice([0, 10, 1000]))
    for _ in range(200):
        t += chance.random()
        node_id = chance.randrange(8)
        act = chance.randrange(8)
        if act == 0:
            pace.whole([node_id], chance.randrange(2000))
        elif act == 1:
            pace.again(node_id)
        elif act == 2:
            pace.over(node_id, complete=chance.random() < 0.5)
        else:
            pace.at(node_id, chance.randrange(1500))
        if (progress := pace.due(t)) is not None:
            assert part <= progress.part <= 1.0
            assert 0 <= progress.got <= progress.whole
            assert progress.rate >= 0
            assert progress.eta_s is None or progress.eta_s >= 0
            part = progress.part
    for node_id in range(8):
        pace.over(node_id, complete=True)
    end = pace.due(t + 1)
    assert end is None or end.part == 1.0
