"""What is known of one host that is to have a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nile.agent.worker import naming
from nile.agent.worker.hashing import BLAKE2B
from nile.agent.worker.manifest import MOST_DEEP


class Step(StrEnum):
    """Where a host stands: one after the other, but that a copy that failed is tried again."""

    ABSENT = "absent"
    """Its worker doesn't run."""
    OPENING = "opening"
    WAITING = "waiting"
    """Another run writes there."""
    OPENED = "opened"
    """It waits for the source to be read: nothing is asked of it."""
    SCANNING = "scanning"
    DIFFERS = "differs"
    """It has something else than the source."""
    STREAMING = "streaming"
    """It is to be served, or is being served, by a stream."""
    SWARMING = "swarming"
    """It is to take part in a swarm, or does, and hasn't got all yet."""
    COPYING = "copying"
    CHECKING = "checking"
    """It got its copy, and is scanned again."""
    COMPARING = "comparing"
    """What it has since isn't what the source has: what differs is asked for."""
    SAME = "same"
    """It has what the source has, and may serve others."""
    READY = "ready"
    """It waits for the others, to be flipped with them."""
    CLOSING = "closing"
    OVER = "over"


SPEAKING = frozenset({Step.OPENING, Step.SCANNING, Step.CHECKING, Step.CLOSING})
"""A worker is asked something, and has to answer or to say that it is at it; in COMPARING see `Counting`."""
UNSETTLED = frozenset({Step.ABSENT, Step.OPENING, Step.WAITING, Step.OPENED, Step.SCANNING})
"""It isn't known whether it has to get something."""
DONE = frozenset({Step.SAME, Step.READY, Step.CLOSING, Step.OVER})
"""It has to get nothing more."""
FEATURES = frozenset({"xattrs", "ACLs", "hardlinks", "symtimes", "old-args", "modify-window-ns", "mkpath"})
"""What an rsync may have, of all that it says, that matters to another."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What a scan found: how much, and the fingerprint of all that is compared.

    `like` is equal also where only attributes of directories differ: then no file has to be sent.
    """

    fingerprint: bytes
    entries: int
    like: bytes = b""

    @classmethod
    def of(cls, message: Mapping[str, Any], fingerprint: object, like: object = b"") -> Tree:
        """From a worker's words; raises TypeError or ValueError."""
        if not isinstance(fingerprint, bytes) or not isinstance(like, bytes) or len(fingerprint) != 32:
            raise ValueError("a fingerprint that is none")
        return cls(fingerprint, count(message["entries"]), like)


@dataclass(frozen=True, slots=True)
class Difference:
    """How a copy differs from the source; `lines` name the first of what does."""

    missing: int
    changed: int
    extra: int
    move: int
    """Bytes of the files that are missing or differ."""
    lines: bytes
    touched: int = 0
    """Files that differ and aren't simply sent: what is there counts."""
    paths: bytes = b""
    """All that is to come or to be changed, a zero byte between them; empty where that is too much."""

    @property
    def only_more(self) -> bool:
        """Does it have all that the source has, and something beside it?"""
        return not self.missing and not self.changed

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Difference:
        """From a worker's words; raises KeyError, TypeError or ValueError."""
        lines, paths = message["lines"], message["paths"]
        if not isinstance(lines, bytes) or not isinstance(paths, bytes):
            raise TypeError("lines that are no bytes")
        names = ("missing", "changed", "extra", "move", "touched")
        missing, changed, extra, move, touched = (count(message[name]) for name in names)
        return cls(missing, changed, extra, move, lines, touched, paths)


def too_deep(paths: bytes) -> bool:
    """May there be something among these (b"": all there is) that is too deep for an archive?"""
    return not paths or any(path.count(b"/") >= MOST_DEEP for path in paths.split(b"\0"))


@dataclass(slots=True, eq=False)
class Target:
    """One host. `giver` is who copies to it now, or did last."""

    id: int
    name: str
    moved: Callable[[Target, Step], None]
    """Hears of every change of its step, and what that was before."""
    _step: Step = Step.ABSENT
    owner: str = "none"
    """How owners are compared there: by "numbers", by "names", or, where it can't set them, not at all."""
    free: int = 0
    """Bytes that can be written there."""
    rsync: dict[str, Any] | None = None
    """Which rsync it has, for whoever copies to it."""
    able: bool = False
    """It seems to have libtorrent."""
    hash: str = BLAKE2B
    """By what it hashes sooner."""
    found: Tree | None = None
    """What it had when it was scanned last."""
    empty: bool = False
    """And that was nothing at all."""
    giver: int | None = None
    receiving: int = 0
    """The number of what its worker was asked for the copy under way."""
    has_more: bool = False
    """It has files beside those of the source: what it has is no copy to be served."""
    had_more: int = 0
    """How many of these there were before anything was written."""
    heard_s: float = 0.0
    """When its worker last said something."""
    may_delete: int = 0
    """Files that a copy may take away there: what was counted before."""
    not_before_s: float = 0.0
    """When the next copy to it may begin."""
    abandoned: bool = False
    """It was told to wait no more."""
    pushing: int = 0
    """The number of what its giver was asked for the copy under way; 0: it wasn't yet."""
    doubted_s: float | None = None
    """When both sides were told to end the copy, of which nothing comes: who hangs won't say that it has."""
    ends: set[str] = field(default_factory=set)
    """Which sides of the copy under way have said how it ended."""
    trouble: tuple[str, str, bool] | None = None
    """Code, reason, and whether it is worth another try, of the copy under way."""
    failed_from: list[int] = field(default_factory=list)
    """Who gave it a copy that came to nothing; each as often as that was tried."""
    by_contents: bool = False
    """It got a part of a stream, of which nobody knows whether it was the root's."""
    checked_bytes: bool = False
    """The copy under way compares contents: the one before left differences."""
    begun_s: float = 0.0
    so_far: int = 0
    """Bytes that have been sent to it, when it last got on,"""
    so_far_s: float = 0.0
    """and when that was."""
    seeds: bool = False
    """It has got all from a swarm, and serves it."""
    swarmed: bool = False
    """What it has it got from a swarm: rsync wasn't tried there yet."""
    peer: str = ""
    """By what it got its files in a swarm; rsync: by none."""
    current: str = ""
    """The release that is current there, where a release is delivered: a copy is linked to that.

    Where it is the same, `found.like` says so, whatever it is called.
    """
    whole: bool = False
    """The release that is delivered is there already."""

    @property
    def step(self) -> Step:
        """Where it stands."""
        return self._step

    @step.setter
    def step(self, step: Step) -> None:
        before, self._step = self._step, step
        if step is not before:
            self.moved(self, before)

    @property
    def has_nothing(self) -> bool:
        """Is there nothing of the copy, nor another release beside which it could be put?"""
        return self.empty and not self.current

    @property
    def wanting(self) -> bool:
        """Is there still something to be done for it?"""
        return self.step not in DONE


def count(value: object) -> int:
    """A number of something that a worker sent; raises TypeError or ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a number that is none")
    if value < 0:
        raise ValueError("a number below zero")
    return value


def rsync_facts(value: object) -> dict[str, Any] | None:
    """Which rsync a host has, for whoever copies to it; raises KeyError, TypeError or ValueError.

    What one host says goes to another only as numbers and words that are known.
    """
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value["has"], list):
        raise TypeError("an rsync that is none")
    version = [min(count(number), 999) for number in value["version"][:3]]
    if len(version) != 3:
        raise ValueError("an rsync of no version")
    return {"version": version, "has": sorted(word for word in FEATURES if word in value["has"])}


def release_facts(value: object) -> tuple[str, bool]:
    """Which release is current there, and whether the one to be delivered is there; raises as `name`."""
    if not isinstance(value, dict):
        raise TypeError("releases that are none")
    return name(value["current"]), value["whole"] is True


def name(value: object) -> str:
    """What a release is called, "" for none; raises ValueError."""
    if value == "" or naming.is_name(value):
        return str(value)
    raise ValueError("no name of a release")


def words(value: object) -> str:
    """Text from a worker, bounded; raises TypeError."""
    if not isinstance(value, str):
        raise TypeError("text that is none")
    return value[:500]
