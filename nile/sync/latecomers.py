"""Hosts that come late to a swarm that lasts: it begins without them, and takes them in. Pure.

Who is waited for no longer may log in slowly, look at its files for long, or
wait for another run. What is to be deleted is known of all before anything
is written, or of nobody: so where anything is, all are waited for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nile.cascade.actions import COUNTS_S
from nile.sync.means import Bulk
from nile.sync.options import SyncOptions
from nile.sync.roster import Roster
from nile.sync.targets import UNSETTLED, Difference, Step, Target
from nile.sync.torrents import NO_ROOM, fits

WAIT_S = 10.0
"""For all others, once somebody is known to lack something."""
SPARE_S = 3600.0
"""For a host to have a look at a signature while it still counts."""
IS_OVER = "the swarm is over"
OUT_OF_DATE = "the swarm's signature has expired"
LACKS_MORE = "it lacks more than those for whom the swarm was begun"


class Latecomers:
    """Those of the `targets` that came late."""

    def __init__(self, options: SyncOptions, targets: Roster) -> None:
        lasts = options.swarms and options.serve_s > 0
        self._welcome = lasts and not options.delete and not options.release
        self._targets = targets
        self._since_s: float | None = None
        self._late: dict[Target, None] = {}

    def are_waited_for(self, t: float) -> bool:
        """Is it too early to begin without those of whom nothing is known?"""
        if not self._targets.count(*UNSETTLED):
            return False
        if not self._welcome or not self._targets.count(Step.DIFFERS):
            return True
        if self._since_s is None:
            self._since_s = t
        return t - self._since_s < WAIT_S

    def begin(self) -> None:
        """The others are served from now on; by rsync these aren't, before the swarm has had a look."""
        self._late = dict.fromkeys(self._targets.at(*UNSETTLED))
        for target in self._late:
            target.not_before_s = math.inf

    @property
    def awaited(self) -> list[Target]:
        """Those that may come yet."""
        return list(self._late)

    def arrived(self, estimate: Callable[[Target], Difference | None]) -> list[Target]:
        """Those that are known by now to lack something, and what; each is given once."""
        found = []
        for target in list(self._late):
            if target.step is Step.DIFFERS and estimate(target) is not None:
                found.append(target)
            if target in found or target.step not in UNSETTLED | {Step.DIFFERS}:
                del self._late[target]
                target.not_before_s = 0.0
        return found


class Admission:
    """What a swarm has for those that come late, and until when; from `made` and `signed` on."""

    def __init__(self, options: SyncOptions, bulk: Bulk) -> None:
        self._options = options
        self._bulk = bulk
        self._only: frozenset[bytes] = frozenset()
        self._until_s = math.inf

    def made(self, only: bytes) -> None:
        """Its torrent has these files, a zero byte between them; b"": all."""
        self._only = frozenset(only.split(b"\0")) if only else frozenset()

    def signed(self, t: float) -> None:
        """That counts from now on."""
        self._until_s = t + COUNTS_S - SPARE_S

    def refusal(self, target: Target, found: Difference, t: float) -> str:
        """Why one that differs so can't take part any more; "" where it can."""
        if not fits(self._options, target, found, self._bulk):
            return NO_ROOM
        if t > self._until_s:
            return OUT_OF_DATE
        lacks = frozenset(found.paths.split(b"\0"))  # {b""} where that is too much to name
        if self._only and not found.only_more and not lacks <= self._only:
            return LACKS_MORE
        return ""
