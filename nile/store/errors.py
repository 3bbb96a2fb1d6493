"""Maps what SQLite and the file system raise to `StoreError`, with the file and a remedy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nile.errors import StoreError

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
UNWRITABLE = (
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOLFS,
)
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

ENOUGH = "16 MiB"
"""What a run of 600 hosts takes, some times over: a log of 4 MiB, and the rows."""
NOTHING = 64 * 1024
"""Bytes; the first thing that a store needs beside itself is half of that."""


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code of an error; 0 where the module itself raised it."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_full(place: Path) -> bool:
    """SQLite calls it an error of the disk where it can't make its side files."""
    try:
        about = os.statvfs(place)
    except OSError:
        return False
    return about.f_bavail * about.f_frsize < NOTHING


def damaged(path: Path, what: str) -> StoreError:
    """The error for a file that isn't, or is no longer, a store of runs."""
    return StoreError(
        f"not a usable store of runs: {what}",
        where=str(path),
        remedy=f"move it away (mv {path} {path}.damaged; its -wal and -shm files too): "
        "the next run begins a new one",
    )


def _remedy(path: Path, code: int) -> str:
    if code == sqlite3.SQLITE_FULL or _is_full(path.parent):
        return (
            f"free {ENOUGH} on the file system of {path.parent}; or, if it can't wait, have another store, "
            "in memory: XDG_STATE_HOME=/dev/shm/$USER before the command, and before `nile show` of that run"
        )
    if code in BUSY:
        return "another process holds the store: wait for it to end, or see which with: fuser " + str(path)
    if code in UNWRITABLE:
        return f"make {path.parent} and the files in it yours and writable, or set XDG_STATE_HOME elsewhere"
    return "see that the disk is sound, or set XDG_STATE_HOME to another place"


@contextmanager
def mapped(path: Path, doing: str) -> Iterator[None]:
    """Run a block in which any sqlite3 or operating system error becomes a `StoreError` about `path`."""
    try:
        yield
    except sqlite3.Error as error:
        code = primary_code(error)
        if code in DAMAGED:
            raise damaged(path, str(error)) from error
        raise StoreError(f"can't {doing}: {error}", where=str(path), remedy=_remedy(path, code)) from error
    except OSError as error:
        place = error.filename or path
        raise StoreError(
            f"can't {doing}: {error.strerror}",
            where=str(place),
            remedy=_remedy(path, sqlite3.SQLITE_READONLY),
        ) from error
