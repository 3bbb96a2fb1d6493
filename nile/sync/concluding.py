"""A swarm that lasts, and how it ends: after a time, or because its user wants it. Pure.

Who has no copy then gets none any more; who has got all may yet be compared with the source.
"""

from __future__ import annotations

from collections.abc import Callable

from nile.cascade.verdicts import Judgement
from nile.events import Code, Verdict
from nile.sync.asking import Errands
from nile.sync.roster import Roster
from nile.sync.targets import DONE, Step, Target

ENOUGH = Judgement(Verdict.CANCELLED, Code.CANCELLED, "the swarm was stopped before it had all")
_SPARED = frozenset({Step.ABSENT, Step.CHECKING, Step.COMPARING})
"""Who isn't there is judged otherwise; the others got their copy, and it is only being looked at."""


class Lasting:
    """For how long a swarm serves on, once all have all or are out. `enough`: the user says so."""

    def __init__(self, serve_s: float) -> None:
        self._serve_s = serve_s
        self._since_s: float | None = None
        self.enough = False

    def begins_anew(self) -> None:
        """One more lacks something."""
        self._since_s = None

    def goes_on(self, t: float) -> bool:
        """Does it, though nobody lacks anything? That begins when this is asked first."""
        if self._since_s is None:
            self._since_s = t
        return not self.enough and t - self._since_s < self._serve_s


def give_up(lasting: Lasting, targets: Roster, fail: Callable[[Target, Judgement], Errands]) -> Errands:
    """Once its user has enough of it, on those that still lack something."""
    for target in targets.at(*(set(Step) - DONE - _SPARED)) if lasting.enough else ():
        yield from fail(target, ENOUGH)


def seeding(targets: Roster) -> list[Target]:
    """Those that have what the source has, and only serve a swarm yet."""
    return [target for target in targets.at(Step.SAME) if target.seeds]
