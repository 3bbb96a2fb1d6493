"""A job whose workers run as another user than the agents, which therefore can't end them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nile.cascade import Errand, Tell
from nile.cascade.work import Job, Judge
from nile.options import RateLimits
from nile.sync.asking import Errands


class Elevated:
    """The same job (see nile.cascade.work.Job), but that a worker is told to end before its host is judged.

    One that can't be told ends all the same once its agent does, since nothing comes from there any more.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    @staticmethod
    def _with_ends(errands: Iterable[Errand]) -> Errands:
        for errand in errands:
            if isinstance(errand, Judge):
                yield Tell(errand.node_id, {"n": 0, "do": "end"})
            yield errand

    def begin(self, t: float) -> Errands:
        """See `Job`, as for all that follow."""
        return self._with_ends(self._job.begin(t))

    def started(self, node_id: int, t: float) -> Errands:
        """A worker runs."""
        return self._with_ends(self._job.started(node_id, t))

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Errands:
        """A worker says something."""
        return self._with_ends(self._job.heard(node_id, message, t))

    def lied(self, node_id: int, reason: str, t: float) -> Errands:
        """What it said breaks the rules."""
        return self._with_ends(self._job.lied(node_id, reason, t))

    def over(self, node_id: int, t: float) -> Errands:
        """A host has its verdict."""
        return self._with_ends(self._job.over(node_id, t))

    def root_lost(self, reason: str, t: float) -> Errands:
        """The root's own worker ended."""
        return self._with_ends(self._job.root_lost(reason, t))

    def answered(self, yes: bool, t: float) -> Errands:
        """The user's answer."""
        return self._with_ends(self._job.answered(yes, t))

    def concluded(self, t: float) -> Errands:
        """It is to end in order."""
        return self._with_ends(self._job.concluded(t))

    def limited(self, limits: RateLimits, t: float) -> Errands:
        """Other rates are wanted."""
        return self._with_ends(self._job.limited(limits, t))

    def interrupted(self, t: float) -> Errands:
        """The run is to end."""
        return self._with_ends(self._job.interrupted(t))

    def tick(self, t: float) -> Errands:
        """Time passed."""
        return self._with_ends(self._job.tick(t))

    def missed(self, seconds: float) -> None:
        """The root was kept from its work."""
        self._job.missed(seconds)
