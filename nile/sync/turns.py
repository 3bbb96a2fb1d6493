"""A host that brings files back, and its turn: what it said, how far it is, and how that came out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from nile.cascade.verdicts import Judgement, code_of
from nile.events import Code, Verdict
from nile.sync.judging import STALLED_S

QUICK_S = 60.0
"""A turn is a slow one that takes longer than that, ..."""
QUICK_BYTES_S = 64 * 1024
"""... and yet hasn't brought so many bytes in each second beyond it."""
LEAST_BYTES = 16 * 1024
"""What has to pass between the two in STALLED_S, both ways: more than only to say that they are there."""
EACH_S = 1e-3
"""For the root to look at each file that it may have already, while nothing passes; ..."""
LEAST_RATE = 10e6
"""... bytes a second in which it reads these, to put a file together of which little changed; ..."""
MOST_LOOKING_S = 3600.0
"""... and for all of that: a host may say that it has any number."""
MOST_LINES = 100
"""Files that a host may name in one answer."""

BROUGHT = ("", "partial", "vanished")
"""Codes with which all came that could."""
UNREADABLE = b"unreadable "
_NO_CAUSE = (*BROUGHT, "stopped")


class Step(StrEnum):
    """Where a host stands; after a try that failed it waits again."""

    ABSENT = "absent"
    """Its worker doesn't run."""
    WAITING = "waiting"
    OFFERING = "offering"
    """It was asked to offer its files."""
    TAKING = "taking"
    """The root takes them."""
    OVER = "over"


class Trouble(NamedTuple):
    """A worker's word on a copy that is over; the code is empty where all is well."""

    code: str = ""
    reason: str = ""
    retry: bool = False


@dataclass(slots=True, eq=False)
class Giver:
    """One host."""

    id: int
    name: str
    step: Step = Step.ABSENT
    heard_s: float = 0.0
    """When it last said something, or anything was seen to come from it."""
    not_before_s: float = 0.0
    tries: int = 0
    turn: Turn | None = None

    @property
    def at_it(self) -> bool:
        """Has it a turn?"""
        return self.step in (Step.OFFERING, Step.TAKING)

    @property
    def brings(self) -> bool:
        """Is it bringing its files?"""
        return self.step is Step.TAKING and self.turn is not None and "fetch" not in self.turn.ends


@dataclass(slots=True, eq=False)
class Turn:
    """One try: what its host said that it can't offer, and how the two ends of the copy came out."""

    secret: bytes
    begun_s: float
    offer: int = 0
    fetch: int = 0
    """Numbers of what the two workers were asked."""
    peer: list[int] = field(default_factory=list)
    missing: tuple[bytes, ...] = ()
    unreadable: int = 0
    lines: list[bytes] = field(default_factory=list)
    changed: int = 0
    has: dict[str, int] = field(default_factory=dict)
    """How much it has, as it says."""
    moved: int = 0
    """Bytes that have passed, when that was last worth a word."""
    ends: dict[str, Trouble] = field(default_factory=dict)
    """How each end came out."""

    def slow(self, t: float) -> bool:
        """Does it take so long that others needn't wait for it?"""
        return t - self.begun_s > QUICK_S + self.moved / QUICK_BYTES_S

    @property
    def patience_s(self) -> float:
        """For how long nothing need come: the root may be looking at what it has."""
        looking_s = self.has.get("entries", 0) * EACH_S + self.has.get("bytes", 0) / LEAST_RATE
        return STALLED_S + min(MOST_LOOKING_S, looking_s)

    def gets_on(self, so_far: int) -> bool:
        """So many bytes have passed: is that worth a word?"""
        if so_far < self.moved + LEAST_BYTES:
            return False
        self.moved = so_far
        return True

    @property
    def trouble(self) -> Trouble:
        """What counts once both are over: the root knows what it got, but not why a host broke off."""
        fetch, offer = self.ends["fetch"], self.ends["offer"]
        return offer if fetch.retry and not offer.retry and offer.code not in _NO_CAUSE else fetch

    @property
    def judgement(self) -> Judgement:
        """What is missing there, or can't be read, is its failure; what vanished meanwhile isn't."""
        trouble = self.trouble
        if trouble.code not in BROUGHT:
            return Judgement(Verdict.FAILED, code_of(trouble.code, Code.COPY), trouble.reason)
        lacking = []
        if self.missing:
            lacking.append(_first_of(self.missing[0], len(self.missing), " isn't there"))
        if self.unreadable:
            first = next((line for line in self.lines if line.startswith(UNREADABLE)), b"")
            lacking.append(_first_of(first.removeprefix(UNREADABLE), self.unreadable))
        elif trouble.code == "partial":
            lacking.append(trouble.reason)
        if lacking:
            return Judgement(Verdict.FAILED, Code.SOURCE, f"{'; '.join(lacking)}; the rest was brought")
        return Judgement(Verdict.OK)


def _first_of(name: bytes, number: int, what: str = "") -> str:
    return (
        name.decode("utf-8", "backslashreplace") + what + (f", and {number - 1} more" if number > 1 else "")
    )


def lines(message: Mapping[str, Any]) -> list[bytes]:
    """What a host names; raises KeyError, TypeError or ValueError where it breaks the rules."""
    found = message["lines"]
    if not isinstance(found, list) or len(found) > MOST_LINES:
        raise ValueError("more lines than anybody asked for")
    if not all(isinstance(line, bytes) and b"\n" not in line for line in found):
        raise TypeError("lines that are none")
    return list(found)
