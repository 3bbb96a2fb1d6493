"""Hosts that wait for their turn. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """Those that wait, the least rank first, then the least id.

    Who can't have a turn yet is set aside, and looked at once more after `again`.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, T]] = []
        self._aside: list[tuple[int, int, T]] = []

    def join(self, rank: int, node_id: int, who: T) -> None:
        """One more waits."""
        heapq.heappush(self._waiting, (rank, node_id, who))

    def take(self, waits: Callable[[T], bool], can: Callable[[T], bool]) -> T | None:
        """The first one that still waits and can have a turn now, or None."""
        while self._waiting:
            entry = heapq.heappop(self._waiting)
            if not waits(entry[2]):
                continue
            if can(entry[2]):
                return entry[2]
            self._aside.append(entry)
        return None

    def again(self) -> None:
        """Those that were set aside may be able to have a turn by now."""
        aside, self._aside = self._aside, []
        for entry in aside:
            heapq.heappush(self._waiting, entry)

    def leave(self) -> list[T]:
        """All leave it."""
        everybody = [who for _, _, who in (*self._waiting, *self._aside)]
        self._waiting, self._aside = [], []
        return everybody
