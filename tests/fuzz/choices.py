"""Where a walk through a model takes its choices from: bytes of a fuzzer, or draws of hypothesis."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

ODD_NUMBERS = (-1, 0, 1, 2, 255, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -(2**63))
WORDS = (
    "", "x", "none", "dead", "alive", "up", "login", "waiting", "gone", "stdout", "stderr", "child", "epoch",
    "code", "reason", "link", "refused", "connect-timeout", "unbound", "timeout", "cancelled", "rc", "signal",
    "cause", "error", "left", "\x1b[2J", "\udcff", "9" * 40,
)  # fmt: skip
MOST_DEPTH = 3


class Choices(ABC):
    """A source of decisions; the same source gives the same walk."""

    @property
    @abstractmethod
    def left(self) -> bool:
        """Is there more to choose from?"""

    @abstractmethod
    def number(self, least: int, most: int) -> int:
        """A whole number, both bounds included."""

    @abstractmethod
    def blob(self, most: int) -> bytes:
        """At most so many bytes."""

    def pick(self, among: Sequence[T]) -> T:
        """One of them."""
        return among[self.number(0, len(among) - 1)]

    def once_in(self, times: int) -> bool:
        """True about once in so many times; never for a source that is exhausted."""
        return self.number(0, times - 1) == times - 1

    def seconds(self, most: float) -> float:
        """A time up to that, in steps of a 255th of it."""
        return most * self.number(0, 255) / 255

    def value(self, depth: int = 0) -> Any:
        """Any value that can travel."""
        kind = self.number(0, 9 if depth < MOST_DEPTH else 7)
        if kind == 8:
            return [self.value(depth + 1) for _ in range(self.number(0, 4))]
        if kind == 9:
            return {self.pick(WORDS): self.value(depth + 1) for _ in range(self.number(0, 4))}
        plain = (None, True, 1.5, float("nan"), float("inf"))
        if kind < 3:
            return self.number(0, 12) if kind else self.pick(ODD_NUMBERS)
        if kind == 3:
            return self.pick(plain)
        if kind == 4:
            return self.blob(8)
        return self.pick(WORDS)

    def mutated(self, value: Any) -> Any:
        """The same value, with one part of it replaced, added or gone."""
        if isinstance(value, dict) and value and not self.once_in(8):
            key = self.pick(sorted(value))
            how = self.number(0, 3)
            if how == 3:
                return {name: value[name] for name in value if name != key}
            return {**value, key: self.mutated(value[key]) if how else self.value()}
        if isinstance(value, list) and value and not self.once_in(8):
            at = self.number(0, len(value) - 1)
            return [*value[:at], self.mutated(value[at]), *value[at + 1 :]]
        if isinstance(value, int) and not isinstance(value, bool) and self.once_in(2):
            return max(-(2**63), min(2**63 - 1, value + self.pick((-1, 1, 2**31))))
        return self.value()


class FromBytes(Choices):
    """Choices out of a fuzzer's bytes; once they are used up, always the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def number(self, least: int, most: int) -> int:
        size = 1 if most - least < 1 << 8 else 2 if most - least < 1 << 16 else 8
        return least + int.from_bytes(self._take(size), "big") % (most - least + 1)

    def blob(self, most: int) -> bytes:
        return self._take(self.number(0, most))

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken


class Drawn(Choices):
    """Choices that hypothesis makes, notes and shrinks."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    @property
    def left(self) -> bool:
        return True

    def number(self, least: int, most: int) -> int:
        return self._data.draw(st.integers(least, most))

    def blob(self, most: int) -> bytes:
        return self._data.draw(st.binary(max_size=most))

    def pick(self, among: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(among))
