"""Takes runs out of the store again: old ones, and the oldest where it has grown past its cap.

The cap is a value in the store itself. It is looked at when a run has ended: the
oldest runs go until the rest takes no more than `ENOUGH` of it. A run that is
under way is never touched, nor the newest one, nor the one that has ended; so a
single huge run stays until the next one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from nile.store import blobs, errors, schema
from nile.store.records import RunRecord, RunState
from nile.store.store import Store

CAP = 1 << 30
"""Bytes, where nobody has said anything else."""
ENOUGH = 0.9
PAGES_AT_A_TIME = 5000
"""That are handed back in one transaction: other runs are recorded in between."""
DOUBTFUL_S = 24 * 3600.0
"""A run without an end may be gone on with, or run on another machine, for so long."""


def removable(runs: Iterable[RunRecord], now: float) -> list[RunRecord]:
    """Those that are over, the oldest first."""
    return sorted((run for run in runs if _is_over(run, now)), key=lambda run: run.key)


def _is_over(run: RunRecord, now: float) -> bool:
    if run.state is RunState.UNFINISHED:
        return now - (run.seen_at or run.started_at) > DOUBTFUL_S
    return run.state is not RunState.RUNNING


class Pruning:
    """Removes runs; with a connection of its own. Everything raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = schema.connect(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with errors.mapped(self._path, "close the store of runs"):
            self._db.close()

    def size(self) -> int:
        """Bytes that the file takes, but for room in it that is free."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def cap(self) -> int | None:
        """How large it may become, in bytes; None: as large as it will."""
        with errors.mapped(self._path, "read the store of runs"):
            row = self._db.execute("SELECT value FROM meta WHERE name = 'cap'").fetchone()
        if row is None:
            return CAP
        return int(row[0]) if str(row[0]).isdecimal() else None

    def set_cap(self, cap: int | None) -> None:
        """Say it, for all runs to come."""
        with errors.mapped(self._path, "write to the store of runs"), schema.transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('cap', ?)", (str(cap or "none"),))

    def remove(self, run: RunRecord) -> None:
        """Take a run out, in a transaction of its own, so that other runs are recorded in between."""
        with errors.mapped(self._path, "remove a run"), schema.transaction(self._db):
            blobs.release(self._db, run.key)
            self._db.execute("DELETE FROM notice WHERE run = ?", (run.key,))
            self._db.execute("DELETE FROM host WHERE run = ?", (run.key,))
            self._db.execute("DELETE FROM run WHERE id = ?", (run.key,))
            self._db.executemany(
                "DELETE FROM script WHERE sha256 = ?1"
                " AND NOT EXISTS (SELECT 1 FROM run WHERE instr(settings, ?1))",
                [(script["sha256"],) for script in run.scripts()],
            )

    def shrink_to(self, runs: Sequence[RunRecord], most: float) -> list[RunRecord]:
        """Remove runs, in their order, until what is left takes no more than `most` bytes; those removed."""
        removed = []
        for run in runs:
            if self.size() <= most:
                break
            self.remove(run)
            removed.append(run)
        return removed

    def give_back(self) -> None:
        """Hand the file's free room back to the file system, as far as this file can without a rewrite."""
        with errors.mapped(self._path, "shrink the store of runs"):
            free = self._pragma("freelist_count")
            while (
                free
            ):  # by a script: a statement that gives no columns is stepped once, which frees one page
                self._db.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_A_TIME});")
                left = self._pragma("freelist_count")
                if left >= free:  # this file can't, or others remove as fast
                    break
                free = left
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _pragma(self, name: str) -> int:
        with errors.mapped(self._path, "read the store of runs"):
            return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])


def keep_cap(store: Store, ended: str = "") -> tuple[int, int]:
    """Remove the oldest runs where a store has passed its cap; how many, and the cap.

    The newest run stays, and `ended`: the one that has just ended, which others may have begun after.
    """
    with Pruning(store.path) as pruning:
        cap = pruning.cap()
        if cap is None or pruning.size() <= cap:
            return 0, cap or 0
        others = [run for run in store.runs()[1:] if run.run != ended]
        removed = pruning.shrink_to(removable(others, time.time()), cap * ENOUGH)
        pruning.give_back()
    return len(removed), cap
