"""Who holds up a chain, as its members say of each other. Pure.

Where one is slow, all before it stand still, and say so: the last of them
names the cause. Whoever that is, is left out. If the next one of the same
feeder is as slow, it is the way to both of them, and it remains; unless it was
faster before, by the same way: then it has become slow itself. But no feeder
costs more than a few hosts that.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque

from nile.agent.worker.ring import APPLIER, SUCCESSOR
from nile.sync.member import Member, Members
from nile.topology.model import ROOT_ID

HELD_S = 4.0
"""For how long a word counts that somebody is held up."""
REPORT_S = 2.5
"""For how long a report tells how a member fares; one that is frozen says nothing more."""
CALM_S = 3.0
"""How long a chain has to find its pace after somebody was left out."""
FASTER = 2.0
"""How many times what the one before got is too much for a way that is slow."""
MOST_BLAMED = 3
"""Hosts that are left out because of one feeder: where they get all but nothing, each was faster before."""


class Holdups:
    """Says whom to leave out because of that. `members` are those of the chain now."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self.spared: set[int] = set()
        """Ids of those who are never to be left out."""
        self._blamed: dict[int, float] = {}
        """By ids of nodes because of whom somebody was left out (feeders, and those whose own disk was slow):
        what that one got in the end, in bytes/s."""
        self._times: Counter[int] = Counter()
        """How many were left out because of whom."""
        self._changed_s = float("-inf")
        self._held: deque[tuple[float, Member]] = deque()
        """Who said of late that it is held up, and when: the last of the chain, then the last of those who
        said so later, and so on."""
        self._own_fault: OrderedDict[Member, float] = OrderedDict()
        """Who said that it is by its own disk, and when it last did; the latest last."""

    def changed(self, t: float) -> None:
        """Somebody was left out."""
        self._changed_s = t

    def left(self, member: Member) -> None:
        """It is in the chain no more."""
        self._own_fault.pop(member, None)

    def held(self, member: Member, whom: str, t: float) -> Member | None:
        """It is held up by its applier, or by its successor; gives who is to be left out for that."""
        if t - member.held_s > HELD_S:
            member.held_since_s = t
        member.held_s = t
        if whom == APPLIER:
            self._own_fault[member] = t
            self._own_fault.move_to_end(member)
        last = self._last_held(t)
        self._note(member, t)
        if last is not None and last.number > member.number:
            return None
        if whom == APPLIER:
            lasts = t > member.held_since_s and not self._all_alike(t)
            return self._blame(member.target.id, member, t) if lasts else None
        feeder, cause = self._cause(member, t)
        return self._blame(feeder.target.id, cause, t) if cause else None

    def root_held(self, fed: Member, t: float) -> Member | None:
        """The root is held up by one that it feeds; nobody is to blame for that but who says nothing else."""
        return self._blame(ROOT_ID, fed, t) if self._last_held(t) is None else None

    def _last_held(self, t: float) -> Member | None:
        """The last one in the chain of those that said of late that they are held up."""
        while self._held and (t - self._held[0][0] >= HELD_S or not self._held[0][1].inside):
            self._held.popleft()
        return self._held[0][1] if self._held else None

    def _note(self, member: Member, t: float) -> None:
        # Whoever is before it, and said so before: as long as that counts, this one counts more.
        while self._held and self._held[-1][1].number <= member.number:
            self._held.pop()
        self._held.append((t, member))

    def _cause(self, feeder: Member, t: float) -> tuple[Member, Member | None]:
        """By whom who is held up: not whoever stands still itself because of the next one."""
        while True:
            fed = min(feeder.feeds, key=lambda each: each.number, default=None)
            if fed is None or t - fed.report_s > REPORT_S or fed.waits_for != SUCCESSOR:
                return feeder, fed
            feeder = fed

    def _all_alike(self, t: float) -> bool:
        """Do many blame their own disks? A large file of which little changed takes all of them long."""
        while self._own_fault and t - next(iter(self._own_fault.values())) >= HELD_S:
            self._own_fault.popitem(last=False)
        return len(self._own_fault) > max(1, len(self._members) // 3)

    def _blame(self, who: int, slow: Member, t: float) -> Member | None:
        if len(self._members) < 2 or t - self._changed_s < CALM_S or slow.target.id in self.spared:
            return None
        if who in self._blamed and slow.best <= FASTER * self._blamed[who]:
            return None
        if self._times[who] >= MOST_BLAMED:
            return None
        self._times[who] += 1
        self._blamed[who] = slow.pace
        return slow
