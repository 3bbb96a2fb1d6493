"""Hosts of a chain, and who of them feeds whom (see chain). Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nile.agent.worker.ring import APPLIER, SUCCESSOR
from nile.sync.lateness import Due
from nile.sync.targets import Target, count
from nile.topology.model import ROOT_ID

STILL = 0.5
"""A member stands still, that did so for this part of the time between two reports."""
LASTS_S = 4.0
"""Over how long it is seen what somebody gets who stands still now and then."""


@dataclass(slots=True, eq=False)
class Member:
    """A host of the chain. `feeder`: who passes the stream on to it, or None for the root."""

    target: Target
    feeder: Member | None
    feeds: dict[Member, None] = field(default_factory=dict)
    """To whom it passes it on: to one, but for those that wait to be fed by another."""
    number: int = 0
    """Of the question by which it joined."""
    asked: int = 0
    """The number of the last question where it waits for its feeder."""
    secret: bytes = b""
    by_ssh: bool = False
    """Its feeder is to come through ssh,"""
    found: bool = False
    """and has come, by whatever way."""
    signing: bool = False
    """A signature for that login is being decided on."""
    link: int = 0
    """The number of the words by which its feeder was told where it waits."""
    told_last: bool = False
    inside: bool = True
    complete: bool = False
    """It has everything, and knows that,"""
    complete_s: float = 0.0
    """since then."""
    digest_due: bool = False
    """It waits to be told the digest of all of it."""
    due: Due = field(default_factory=Due)
    """By when it has to answer."""
    received: int = 0
    """Bytes that it has, as it says,"""
    grew_s: float = float("-inf")
    """and when these last became more, or it was to be fed by another one."""
    held_s: float = float("-inf")
    """When it last said that it is held up,"""
    held_since_s: float = float("-inf")
    """and when it first said so, of what lasts until now."""
    waits_for: str = ""
    """Because of whom it stood still between its last two reports: its applier, its successor, or nobody;"""
    report_s: float = float("-inf")
    """when the last one came, and what it said of these."""
    report: tuple[float, float, float] = (0.0, 0.0, 0.0)
    best: float = 0.0
    """Bytes/s that it got between two reports at best, since its feeder feeds it."""
    lately: deque[tuple[float, int]] = field(default_factory=deque)
    """When it reported, by its own clock, in the last LASTS_S and once before, and how much it had."""

    @property
    def giver(self) -> int:
        """The id of its feeder."""
        return self.feeder.target.id if self.feeder else ROOT_ID

    @property
    def pace(self) -> float:
        """Bytes/s that it got of late."""
        if len(self.lately) < 2:
            return 0.0
        (begin, had), (end, has) = self.lately[0], self.lately[-1]
        return (has - had) / (end - begin) if end > begin else 0.0

    def reports(self, progress: dict[str, Any], t: float) -> None:
        """It says how far it is; raises KeyError, TypeError or ValueError."""
        if (grown := count(progress["received"]) - self.received) > 0:
            self.received, self.grew_s = self.received + grown, t
        now = tuple(float(progress[name]) for name in ("at", "applier_s", "successor_s"))
        span, applier, successor = (after - before for after, before in zip(now, self.report, strict=True))
        still = {APPLIER: applier, SUCCESSOR: successor}
        most = max(still, key=lambda who: still[who])
        self.waits_for = most if still[most] > STILL * span > 0 else ""
        self.best = max(self.best, max(0, grown) / span if span > 0 else 0.0)
        self.lately.append((now[0], self.received))
        while len(self.lately) > 2 and now[0] - self.lately[1][0] >= LASTS_S:
            self.lately.popleft()
        self.report_s, self.report = t, (now[0], now[1], now[2])


class Members:
    """Those that are in a chain, in order, and who feeds whom."""

    def __init__(self) -> None:
        self._all: dict[int, Member] = {}
        self._loose: dict[Member, None] = {}
        """Those that feed nobody, but for some of those that know that."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._all.values()))

    def of(self, target: Target) -> Member | None:
        """The one that this host is."""
        return self._all.get(target.id)

    @property
    def last(self) -> Member | None:
        """Behind whom others join."""
        return next(reversed(self._all.values()), None)

    def add(self, member: Member) -> None:
        """It is the last one now."""
        self._all[member.target.id] = member
        self._loose[member] = None
        self.feed(member, member.feeder)

    def remove(self, member: Member) -> None:
        """It is in it no more. Those that it fed are to be fed by another one."""
        del self._all[member.target.id]
        self._loose.pop(member, None)
        member.inside = False
        self.feed(member, None)

    def feed(self, member: Member, feeder: Member | None) -> None:
        """It is to be fed by that one; None: by the root."""
        before, member.feeder = member.feeder, feeder
        member.best = 0.0
        if before is not None:
            before.feeds.pop(member, None)
            if before.inside and not before.feeds:
                self._loose[before] = None
        if feeder is not None:
            feeder.feeds[member] = None
            self._loose.pop(feeder, None)

    def loose(self) -> list[Member]:
        """Those that feed nobody, and haven't been told that they are the last; in order."""
        self._loose = {member: None for member in self._loose if not member.told_last}
        return sorted(self._loose, key=lambda member: member.number)
