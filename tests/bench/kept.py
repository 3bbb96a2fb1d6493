"""Tries that are kept in a file as they come, so that a benchmark can be measured in parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class TimeUpError(Exception):
    """No further try may begin now; the text says what to do."""


class Kept:
    """Tries by what they are of: a try is what `json` has for an object.

    Each is in the file as soon as it is over, with those of earlier times. Without a `file` they are kept
    nowhere, and without `minutes` no time is ever up.
    """

    def __init__(
        self,
        file: Path | None = None,
        minutes: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._now = now
        self._added = False
        self._until = None if minutes is None else now() + minutes * 60
        there = file is not None and file.exists()
        self._tries: dict[str, list[dict[str, Any]]] = json.loads(file.read_text()) if file and there else {}

    def of(self, what: str) -> list[dict[str, Any]]:
        """Those that there are."""
        return list(self._tries.get(what, []))

    def add(self, what: str, one: dict[str, Any]) -> None:
        """One more: in its place at once or not at all, whenever this is killed."""
        self._added = True
        self._tries.setdefault(what, []).append(one)
        if self._file is not None:
            beside = self._file.with_name(f"{self._file.name}.new")
            beside.write_text(json.dumps(self._tries, indent=1) + "\n")
            beside.replace(self._file)

    def see_time(self) -> None:
        """May another try begin? The first may always, so that each run gets on. Raises TimeUpError."""
        if self._added and self._until is not None and self._now() >= self._until:
            raise TimeUpError(
                f"Time is up. What was measured is in {self._file}: the same command goes on from there."
            )
