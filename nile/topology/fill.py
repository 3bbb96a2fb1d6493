"""Filling a tree stage by stage: not balanced by racks, but as roomy as a tree can be.

Hosts that may relay stand as high as they go, the others fill what is left; so
where hosts are alike but for that, a tree is found if there is one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nile.topology.items import Item, NoRoom, Seat, hang
from nile.topology.shape import Tree


def fill(items: Sequence[Item], seats: Sequence[Seat], branches: int) -> None:
    """Hang all `items` below `seats`; raises `NoRoom` and leaves the seats as they were.

    Deep subtrees go first, then other hosts that may relay.
    """
    waiting = sorted(items, key=lambda one: (not one.relay, -one.height, -one.size, not one.only))
    level = top = [_Filling(seat.tree.host, seat.room, seat.stages) for seat in seats]
    while waiting:
        room = sum(one.room for one in level if one.stages > 0)
        if not room:
            raise NoRoom
        now, waiting = waiting[:room], waiting[room:]
        level = _deal(now, level, branches)
    for seat, filling in zip(seats, top, strict=True):
        hang(seat, [one.tree() for one in filling.below])


@dataclass(slots=True)
class _Filling:
    """A node while `fill` works; its like are put below the seats only when all is placed."""

    host: str
    room: int
    stages: int
    kept: Sequence[Tree] = ()
    below: list[_Filling] = field(default_factory=list)

    def tree(self) -> Tree:
        return Tree(self.host, [*self.kept, *(one.tree() for one in self.below)])


def _deal(items: Sequence[Item], level: Sequence[_Filling], branches: int) -> list[_Filling]:
    """Give items to the nodes of a level in turn; returns the nodes of the next level.

    Hosts that may relay go where there is a stage left for theirs, the others where there is none.
    """
    turns = [_Turns(level, lambda stages: stages > 1), _Turns(level, lambda stages: stages == 1)]
    following: list[_Filling] = []
    for item in items:
        deep, last = turns
        parent = (deep.take(item.height) or last.take(0)) if item.relay else (last.take(0) or deep.take(0))
        if parent is None or item.height >= parent.stages:
            raise NoRoom
        room = branches - len(item.tree.below) if item.relay else 0
        node = _Filling(item.host, room, parent.stages - 1, tuple(item.tree.below))
        parent.below.append(node)
        parent.room -= 1
        following.append(node)
    return following


class _Turns:
    """Nodes with room that take hosts in turn, who has fewest first."""

    def __init__(self, level: Sequence[_Filling], wanted: Callable[[int], bool]) -> None:
        self._level = level
        self._heap = [(0, index) for index, one in enumerate(level) if one.room > 0 and wanted(one.stages)]

    def take(self, height: int) -> _Filling | None:
        """The next node that has room and more than `height` stages; None if there is none."""
        passed: list[tuple[int, int]] = []
        found = None
        while self._heap and found is None:
            taken, index = heapq.heappop(self._heap)
            if self._level[index].stages <= height:
                passed.append((taken, index))
                continue
            found = self._level[index]
            if found.room > 1:
                passed.append((taken + 1, index))
        for one in passed:
            heapq.heappush(self._heap, one)
        return found
