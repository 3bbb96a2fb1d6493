"""What releases a host has, as its worker says. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nile.sync.targets import name, words

MOST = 10_000
"""Releases of one host; more are no releases."""


@dataclass(frozen=True, slots=True)
class Flip:
    """The last change of the current release; `done`: the root of that run had all hosts changed."""

    origin: str
    to: str
    run: str
    done: bool
    back: bool = False
    """It went to that which was current before, and to go back from there would be forward."""
    first: str = ""
    """The run that began it, where `run` has taken it up; "": that began it."""

    @property
    def runs(self) -> frozenset[tuple[str, str]]:
        """Each run that had to do with it, and where that led: what tells it from others."""
        return frozenset((run, self.to) for run in (self.run, self.first) if run)

    @property
    def words(self) -> str:
        """`6 -> 7`."""
        return f"{self.origin or 'none'} -> {self.to}"


@dataclass(frozen=True, slots=True)
class Shelf:
    """Names of releases, "" for none; `names` are whole, the latest first, and `half` aren't."""

    current: str
    previous: str
    names: tuple[str, ...]
    half: tuple[str, ...]
    flip: Flip | None

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Shelf:
        """From a worker's words; raises KeyError, TypeError or ValueError."""
        said = message["flip"]
        flip = None
        if said is not None:
            flip = Flip(name(said["origin"]), name(said["to"]), words(said["run"]), said["done"] is True)
            flip = replace(flip, back=said["back"] is True, first=words(said.get("first", "")))
        return cls(
            name(message["current"]),
            name(message["previous"]),
            _names(message["names"]),
            _names(message["half"]),
            flip,
        )

    @property
    def interrupted(self) -> Flip | None:
        """A flip of which nobody said that it is over."""
        return self.flip if self.flip and not self.flip.done else None

    @property
    def flipped(self) -> bool:
        """Has the last flip been made here?"""
        return self.flip is not None and self.current == self.flip.to

    @property
    def crossed(self) -> bool:
        """Was a flip interrupted, and is something else current than what it leads from or to?"""
        flip = self.interrupted
        return flip is not None and self.current not in (flip.origin, flip.to)

    @property
    def fate(self) -> str:
        """What became of the last flip here, as a sentence goes on."""
        if self.crossed:
            return f"current is {self.current or 'none'}: somebody has changed it"
        return "it flipped" if self.flipped else "it did not flip"

    @property
    def went_back(self) -> bool:
        """Was the last flip one back to what was before, also where it isn't over?"""
        flip = self.flip
        return flip is not None and flip.back and (not flip.done or self.current == flip.to)

    @property
    def goal(self) -> str:
        """Which release a host goes back to, or went back to already; "": none."""
        return self.flip.to if self.flip and self.went_back else self.previous

    def standing(self) -> bytes:
        """Lines that say which is current, and which was before."""
        return _lines([("current", self.current or "-"), ("previous", self.previous or "-")])

    def lines(self) -> bytes:
        """All of it, in lines of a word and a name."""
        others = [each for each in self.names if each not in (self.current, self.previous)]
        lines = [("other", each) for each in others] + [("half", each) for each in self.half]
        if flip := self.interrupted:
            fate = "crossed" if self.crossed else "flipped" if self.flipped else "not flipped"
            lines.append(("flip", f"{flip.words}: {fate}"))
        return self.standing() + _lines(lines)


def interrupted_runs(shelves: Collection[Shelf]) -> set[tuple[str, str]]:
    """Of all flips that were interrupted: the `runs` that had to do with them, on any of these hosts.

    A run that is given once more takes up the flip that it finds: on some hosts it is the one's then, and on
    others, where it was over before, still the other's.
    """
    flips = [shelf.flip for shelf in shelves if shelf.flip is not None]
    runs = {run for flip in flips if not flip.done for run in flip.runs}
    known = 0
    while known < len(runs):
        known = len(runs)
        runs.update(run for flip in flips if not runs.isdisjoint(flip.runs) for run in flip.runs)
    return runs


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST:
        raise TypeError("a list of releases that is none")
    return tuple(map(name, value))


def _lines(pairs: list[tuple[str, str]]) -> bytes:
    return "".join(f"{word:9}{text}\n" for word, text in pairs).encode()
