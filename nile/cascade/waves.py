"""A password on its way over many hosts: how many have it at one time. Pure.

One gets it first. Once it was taken there two do, then four, then eight, never
more at a time than one above those that took it: an account may be local on the
first host, and shared by all the others, where many wrong tries would lock it.
"""

from __future__ import annotations


class Waves:
    """Who got it and hasn't shown yet what came of it, and how many took it. Whoever gets it has a number."""

    def __init__(self) -> None:
        self._out: set[int] = set()
        self._taken = 0

    @property
    def proven(self) -> bool:
        """Was it taken anywhere?"""
        return self._taken > 0

    def has(self, who: int) -> bool:
        """Did that one get it, and nothing came of it yet?"""
        return who in self._out

    def room(self) -> bool:
        """May one more get it now?"""
        return len(self._out) <= self._taken

    def give(self, who: int) -> None:
        """That one gets it."""
        self._out.add(who)

    def took(self, who: int) -> None:
        """It was right there; who didn't have it proves nothing."""
        if self.left(who):
            self._taken += 1

    def left(self, who: int) -> bool:
        """That one has it no more, and it is no proof; whether it had it."""
        had = who in self._out
        self._out.discard(who)
        return had
