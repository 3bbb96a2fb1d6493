"""A bounded number of things under way: never more, lowest key first, none forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nile.cascade.hosts import Host
from nile.cascade.slots import Slots
from nile.topology.model import PlanNode


def host(number: int) -> Host:
    return Host(PlanNode(number, f"h{number}", 0, 1, True), number, 0, [])


def ids(hosts: list[Host]) -> list[int]:
    return [each.id for each in hosts]


def test_lowest_key_first_whatever_the_order_of_offers() -> None:
    slots = Slots(2)
    for number in (5, 1, 4, 2):
        slots.offer(number, host(number))
    assert ids(slots.grant()) == [1, 2]
    assert slots.grant() == []
    slots.give_back(host(1))
    assert ids(slots.grant()) == [4]


def test_who_wants_no_slot_any_more_gets_none() -> None:
    slots = Slots(1)
    for number in (1, 2, 3):
        slots.offer(number, host(number))
    slots.give_back(host(2))
    assert ids(slots.grant()) == [1]
    slots.give_back(host(1))
    assert ids(slots.grant()) == [3]


def test_who_is_offered_twice_gets_one_slot_and_no_other_later() -> None:
    """One that is lost while it waits is offered anew; a second start would run its command twice."""
    slots = Slots(2)
    for number in (1, 1, 2):
        slots.offer(number, host(number))
    assert ids(slots.grant()) == [1, 2]
    slots.give_back(host(2))
    assert slots.grant() == []


def test_giving_back_twice_frees_one() -> None:
    slots = Slots(2)
    for number in range(1, 6):
        slots.offer(number, host(number))
    slots.grant()
    slots.give_back(host(1))
    slots.give_back(host(1))
    assert len(slots.grant()) == 1


def test_without_a_bound_nothing_waits() -> None:
    assert not Slots(None).bounded
    assert Slots(3).bounded
    assert Slots(None).grant() == []


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=60))
def test_never_more_than_the_limit_and_none_twice(limit: int, steps: list[tuple[bool, int]]) -> None:
    slots, busy, offered, granted = Slots(limit), set[int](), set[int](), list[int]()
    for offer, number in steps:
        if offer and number not in offered:
            offered.add(number)
            slots.offer(number, host(number))
        elif not offer:
            slots.give_back(host(number))
            busy.discard(number)
        new = ids(slots.grant())
        busy.update(new)
        granted += new
        assert len(busy) <= limit
    assert len(granted) == len(set(granted))


def test_the_slot_of_one_that_moved_is_free_once_its_former_parent_has_heard_of_it() -> None:
    slots = Slots(1)
    moving, other = host(1), host(2)
    slots.offer(1, moving)
    slots.offer(2, other)
    assert ids(slots.grant()) == [1]
    slots.move_on(moving)
    slots.offer(1, moving)
    assert slots.grant() == []
    slots.tick()
    assert slots.grant() == []
    slots.tick()
    assert ids(slots.grant()) == [1]


def test_one_that_had_no_slot_leaves_none_behind_when_it_moves() -> None:
    slots = Slots(1)
    slots.move_on(host(1))
    slots.offer(2, host(2))
    assert ids(slots.grant()) == [2]
