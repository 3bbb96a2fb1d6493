"""Which members of a chain are late, with a word or with the stream itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nile.sync.means import Means

if TYPE_CHECKING:
    from nile.sync.member import Member

ANSWER_S = 60.0
"""For a member to say where it waits, or that it has left: a worker that doesn't hangs."""
LAST_S = 240.0
"""For one that has everything to say anything: it renames and deletes, and says so now and then."""
MOST_LAST_S = 1800.0
"""For it to be through with that, and what so many files take beside."""
GET_ON_S = 240.0
"""For one that is fed by who has everything to get any more of it."""


@dataclass(slots=True)
class Due:
    """By when the worker of a host has to answer; None: it hasn't to."""

    by_s: float | None = None

    def expect(self, t: float) -> None:
        """It was asked."""
        self.by_s = t + ANSWER_S

    def is_late(self, means: Means, node_id: int, t: float) -> bool:
        """Has it to answer, and hasn't? From one that is out of reach nothing can come."""
        if self.by_s is not None and not means.hosts.attached(node_id):
            self.expect(t)
        return self.by_s is not None and t > self.by_s

    def hangs(self, means: Means, node_id: int, t: float) -> bool:
        """Is it late, and doesn't say either that it takes away what is unfinished, first or last?"""
        return self.is_late(means, node_id, t) and not means.asking.is_at_it(node_id, t)


class Lateness:
    """Of the members of one chain, all of whom hear of what `means` are."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._whole_s: float | None = None
        """Since when the root has all of it, and nobody waits for that any more."""

    def whole(self, t: float) -> None:
        """All of it is there."""
        self._whole_s = t if self._whole_s is None else self._whole_s

    def answers(self, members: Iterable[Member], t: float) -> Iterator[Member]:
        """Those that haven't said what they were asked. (Who is in it, and at it, is left out first.)"""
        for member in members:
            judge = member.due.is_late if member.inside else member.due.hangs
            if judge(self._means, member.target.id, t):
                yield member

    def ends(self, members: Iterable[Member], t: float) -> Iterator[Member]:
        """Those that have everything, and say nothing for too long, or only that they are at it."""
        for member in members:
            silent = member.complete and t - member.target.heard_s > LAST_S
            if silent or (member.complete and t - member.complete_s > self._most_s(member)):
                yield member

    def progress(self, members: Iterable[Member], t: float) -> Iterator[Member]:
        """Those that could have everything, and don't get on. Whoever is behind them has to wait."""
        if self._whole_s is None:
            return
        for member in members:
            feeder = member.feeder
            if member.complete or (feeder is not None and not feeder.complete):
                continue
            if not self._means.hosts.attached(member.target.id):
                member.grew_s = t
            still_s = t - max(self._whole_s, member.grew_s, feeder.complete_s if feeder else 0.0)
            at_it = self._means.asking.is_at_it(member.target.id, t)
            if still_s > (self._most_s(member) if at_it else GET_ON_S):
                yield member

    def _most_s(self, member: Member) -> float:
        """For how long one may say that it is at it: not longer than there is work for."""
        return MOST_LAST_S + self._means.work_s(member.target.may_delete)
