"""Ways between members of a chain that came to nothing, and who is given up for that (see chain). Pure."""

from __future__ import annotations

from collections import Counter

from nile.topology.model import ROOT_ID

TO = 2
"""Ways to one member that come to nothing, before it is left out."""
FROM = 3
"""Ways from one node that come to nothing, before that one is left out."""
MOST_TO = 6
"""Ways to one member that come to nothing in all of a stream, though others led there between ..."""
MOST_FROM = 9
"""... and from one host: that a way led anywhere is what those two say, and either may lie."""
HOPELESS = 4
"""Ways that came to nothing before any led anywhere: these hosts can't reach each other."""


class Tries:
    """All ways of one stream; nodes are named by ids."""

    def __init__(self) -> None:
        self._to: Counter[int] = Counter()
        self._from: Counter[int] = Counter()
        """These since one led there."""
        self._ever_to: Counter[int] = Counter()
        self._ever_from: Counter[int] = Counter()
        self._all = 0

    def led(self, giver: int, taker: int) -> None:
        """They say that the one has reached the other."""
        self._from[giver] = self._to[taker] = 0

    def failed(self, giver: int, taker: int) -> None:
        """The one didn't get to the other, or no longer does."""
        for to in (self._to, self._ever_to):
            to[taker] += 1
        for whence in (self._from, self._ever_from):
            whence[giver] += 1
        self._all += 1

    def many(self, members: int) -> bool:
        """Are these so many that there is no hope, of so many members, if none led anywhere?"""
        return self._all >= min(HOPELESS, TO * members)

    def to_nowhere(self, taker: int) -> bool:
        """Has it had its tries?"""
        return self._to[taker] >= TO or self._ever_to[taker] >= MOST_TO

    def from_nowhere(self, giver: int) -> bool:
        """Does it reach nobody? What the root says of its own ways is no lie."""
        return self._from[giver] >= FROM or (giver != ROOT_ID and self._ever_from[giver] >= MOST_FROM)
