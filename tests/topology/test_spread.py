"""Placing hosts below nodes that have room left, as healing will need it too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.options import Limits
from nile.topology.chunks import cut
from nile.topology.items import Item, NoRoom, Seat, loaded_item, plain_item
from nile.topology.shape import Tree
from nile.topology.spread import Spreader


def items(count: int, prefix: str = "n", *, relay: bool = True) -> list[Item]:
    return [plain_item(f"{prefix}{number}", "", relay=relay) for number in range(count)]


def seat(name: str, room: int, stages: int, carried: int = 0) -> Seat:
    return Seat(Tree(name, [Tree(f"{name}.{number}") for number in range(carried)]), room, stages)


@pytest.mark.parametrize(
    ("racks", "count", "chunks"),
    [
        ([3, 3, 30], 3, [6, 15, 15]),
        ([3, 3], 2, [3, 3]),
        ([5] * 6, 3, [10, 10, 10]),
        ([10], 4, [3, 3, 2, 2]),
        ([1, 1, 1], 1, [3]),
    ],
)
def test_chunks_are_cut_between_racks(racks: list[int], count: int, chunks: list[int]) -> None:
    hosts = [plain_item(f"{r}.{n}", str(r), relay=True) for r, size in enumerate(racks) for n in range(size)]
    assert [len(chunk) for chunk in cut(hosts, count)] == chunks


def test_seats_share_evenly() -> None:
    seats = [seat("a", 25, 2), seat("b", 25, 2), seat("c", 25, 2)]
    Spreader(Limits()).settle(items(30), seats)
    assert [one.tree.size for one in seats] == [11, 11, 11]


def test_who_carries_less_gets_more() -> None:
    seats = [seat("a", 25, 2, carried=10), seat("b", 25, 2)]
    Spreader(Limits()).settle(items(20), seats)
    sizes = [one.tree.size for one in seats]
    assert max(sizes) - min(sizes) <= 4
    assert sum(sizes) == 32


def test_room_and_stages_of_each_seat_hold() -> None:
    seats = [seat("full", 0, 2), seat("low", 3, 0), seat("last", 2, 1), seat("free", 4, 2)]
    Spreader(Limits(branches=4)).settle(items(20), seats)
    full, low, last, free = (one.tree for one in seats)
    assert (full.size, low.size) == (1, 1)
    assert len(last.below) <= 2
    assert last.height <= 1
    assert len(free.below) <= 4
    assert free.height <= 2
    assert last.size + free.size == 22


def test_no_room_leaves_the_seats_as_they_were() -> None:
    seats = [seat("a", 2, 1), seat("b", 2, 1)]
    with pytest.raises(NoRoom):
        Spreader(Limits()).settle(items(5), seats)
    assert [(one.tree.size, one.room) for one in seats] == [(1, 2), (1, 2)]


def test_severed_subtrees_are_placed_whole() -> None:
    branch = Tree("top", [Tree("x", [Tree("y")])])
    seats = [seat("low", 9, 2), seat("high", 9, 3)]
    Spreader(Limits()).settle([loaded_item(branch, "", 16), *items(3)], seats)
    assert branch in seats[1].tree.below
    assert list(branch.hosts()) == ["top", "x", "y"]
    with pytest.raises(NoRoom):
        Spreader(Limits()).settle([loaded_item(branch, "", 16)], [seat("low", 9, 2)])


def test_relays_go_where_there_is_a_stage_left_for_theirs() -> None:
    seats = [seat("last", 3, 1), seat("deep", 3, 2)]
    asked = [*items(3), *items(7, "z", relay=False)]
    Spreader(Limits(branches=2)).settle(asked, seats)
    assert sorted(one.host for one in seats[1].tree.below) == ["n0", "n1", "n2"]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=5),
    st.integers(0, 40),
    st.integers(0, 20),
    st.integers(1, 5),
)
def test_any_seats(places: list[tuple[int, int]], relays: int, leaves: int, branches: int) -> None:
    seats = [seat(f"s{index}", room, stages) for index, (room, stages) in enumerate(places)]
    asked = [*items(relays), *items(leaves, "z", relay=False)]
    try:
        Spreader(Limits(branches=branches)).settle(asked, seats)
    except NoRoom:
        assert all(one.tree.size == 1 for one in seats)
        return
    placed = [name for one in seats for name in list(one.tree.hosts())[1:]]
    assert sorted(placed) == sorted(one.host for one in asked)
    for one, (room, stages) in zip(seats, places, strict=True):
        assert len(one.tree.below) <= room
        assert one.room == room - len(one.tree.below)
        assert one.tree.height <= stages
        for tree in one.tree.below:
            bounded(tree, branches)


def bounded(tree: Tree, branches: int) -> None:
    assert len(tree.below) <= branches
    assert not (tree.below and tree.host.startswith("z"))
    for one in tree.below:
        bounded(one, branches)
