"""From whom to whom bytes went, and how fast, as workers say. Pure.

In a stream every way goes at the pace of the slowest one. Which one that is
shows in who was held up: everybody before it, so the last of them fed it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from nile.sync.pace import Pace

ALIKE = 1.25
"""Rates up to so many times the lowest can't be told from it."""
HELD = 0.1
"""Whoever was held up for less than this part of the time wasn't."""


@dataclass(slots=True)
class Way:
    """One copy, or the part of a stream that came this way. Ids of hosts, bytes, seconds of the run."""

    giver: int
    taker: int
    began_s: float
    begin: int = 0
    """Bytes of the stream that the taker had before."""
    end: int = 0
    ended_s: float | None = None

    @property
    def rate(self) -> float:
        """Bytes a second; 0 where nothing was sent, or it isn't known how long that took."""
        seconds = (self.ended_s or 0.0) - self.began_s
        return (self.end - self.begin) / seconds if seconds > 0 else 0.0


class Ways:
    """Ways under way by who takes, and those that were gone to their end."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._under_way: dict[int, Way] = {}
        self._ended: dict[int, Way] = {}
        self._held: dict[int, float] = {}
        """How long a node stood still because of the one that it fed."""
        self._shared = 0
        """Bytes that a host got from many others: that one which got most."""

    def began(self, giver: int, taker: int, t: float, *, anew: bool = True) -> None:
        """Something comes to a host; not `anew`: it goes on where it was."""
        before = self._under_way.get(taker)
        begin = 0 if anew or before is None else before.end
        self._under_way[taker] = Way(giver, taker, t, begin, begin)
        if anew or before is None:
            self.pace.again(taker)

    def left(self, taker: int) -> None:
        """What was on its way comes to nothing."""
        self._under_way.pop(taker, None)

    def got(self, taker: int, count: int) -> None:
        """It has so many bytes of what comes."""
        way = self._under_way.get(taker)
        if way is not None:
            way.end = max(way.end, count)
            self.pace.at(taker, count)

    def held(self, giver: int, seconds: float) -> None:
        """A node stood still for so long, all in all, because of the one that it feeds."""
        self._held[giver] = seconds

    def ended(self, taker: int, count: int, t: float) -> None:
        """It has everything: so many bytes."""
        way = self._under_way.pop(taker, None)
        if way is not None:
            way.end, way.ended_s = max(way.end, count), t
            self._ended[taker] = way
        self.pace.over(taker, complete=True)

    def shared(self, taker: int, count: int) -> None:
        """It has everything: so many bytes, of many others, so that there is no way of which to speak."""
        self._under_way.pop(taker, None)
        self._shared = max(self._shared, count)
        self.pace.over(taker, complete=True)

    def gone(self, taker: int) -> None:
        """It has its verdict."""
        self._under_way.pop(taker, None)
        self.pace.over(taker, complete=False)

    @property
    def most(self) -> int:
        """What a host got: of the one that got most."""
        return max(self._shared, *(way.end for way in self._ended.values()), 0)

    @property
    def slowest(self) -> Way | None:
        """The way that took longest for what went over it; None where none is known."""
        known = [way for way in self._ended.values() if way.rate > 0]
        if not known or self._shared:  # of many ways none was the slowest
            return None
        lowest = min(known, key=lambda way: way.rate)
        alike = [way for way in known if way.rate <= ALIKE * lowest.rate]
        most = max(self._held.get(way.giver, 0.0) for way in alike)
        if most < HELD * ((lowest.ended_s or 0.0) - lowest.began_s):
            return lowest
        held_up = [way for way in alike if self._held.get(way.giver, 0.0) >= most / 2]
        depths = self._depths()
        return max(held_up, key=lambda way: depths.get(way.taker, 0))

    def _depths(self) -> dict[int, int]:
        """How many ways each host is from the root, or from a giver to whom no way is known."""
        takers: defaultdict[int, list[int]] = defaultdict(list)
        for way in self._ended.values():
            takers[way.giver].append(way.taker)
        depths = {giver: 0 for giver in takers if giver not in self._ended}
        todo = list(depths)
        while todo:
            giver = todo.pop()
            for taker in takers[giver]:
                depths[taker] = depths[giver] + 1
                todo.append(taker)
        return depths
