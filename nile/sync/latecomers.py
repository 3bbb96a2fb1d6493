"""Hosts that come late to a swarm that lasts: it begins without them, and takes them in. Pure.

Who is waited for no longer may log in slowly, look at its files for long, or
wait for another run. What is to be deleted is known of all before anything
is written, or of nobody: so where anything is, all are waited for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from nile.sync.options import SyncOptions
from nile.sync.roster import Roster
from nile.sync.targets import UNSETTLED, Difference, Step, Target

WAIT_S = 10.0
"""For all others, once somebody is known to lack something."""


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
