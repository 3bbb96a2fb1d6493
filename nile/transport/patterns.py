"""Patterns of ssh_config(5): `*`, `?`, and `!` for those that must not match."""

from __future__ import annotations

import re
from collections.abc import Iterable


class Patterns:
    """Several patterns as one question; a negated one that matches wins over all others."""

    __slots__ = ("_literal", "_unwanted", "_wild")

    def __init__(self, patterns: Iterable[str]) -> None:
        parts = [part for part in patterns if part]
        wanted = [part for part in parts if not part.startswith("!")]
        self._literal = frozenset(part for part in wanted if not is_wild(part))
        self._wild = _any_of(part for part in wanted if is_wild(part))
        self._unwanted = _any_of(part[1:] for part in parts if part.startswith("!"))

    def match(self, name: str) -> bool:
        """Whether they let `name` in; letters' case counts."""
        if name not in self._literal and not (self._wild and self._wild.fullmatch(name)):
            return False
        return not (self._unwanted and self._unwanted.fullmatch(name))


def is_wild(pattern: str) -> bool:
    """It can match more than itself."""
    return "*" in pattern or "?" in pattern


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    translated = [
        "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern) for pattern in patterns
    ]
    return re.compile("|".join(translated), re.DOTALL) if translated else None
