"""Effects of the relay core, performed one after another: at the root, and wherever it is simulated."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any


class Performer:
    """Performs an effect `("word", ...)` by its method `_do_word(...)`."""

    def __init__(self) -> None:
        self._effects: deque[tuple[Any, ...]] = deque()
        self._performing = False

    def _perform(self, effects: Iterable[tuple[Any, ...]]) -> None:
        """In the order in which they were decided: what an effect brings about comes behind those before."""
        self._effects.extend(effects)
        if self._performing or not self._effects:
            return
        self._performing = True
        try:
            while self._effects:
                name, *arguments = self._effects.popleft()
                getattr(self, f"_do_{name}")(*arguments)
        finally:
            self._performing = False
