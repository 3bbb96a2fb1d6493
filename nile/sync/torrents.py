"""What is in the torrent of a run, for whom that is, and how hosts put it in place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nile.sync.means import Bulk
from nile.sync.options import SyncOptions
from nile.sync.targets import Difference, Target, too_deep

NO_ROOM = "no room there for its files with their holes filled"
MOST_PATHS = 512 * 1024
"""Bytes of names, beyond which all files are in the torrent."""
MOST_NAMED = 64 * 1024
"""Bytes of names that are told to each host."""

NOTHING: Mapping[str, Any] = {"all": False, "differing": b""}
"""Comes to who has all."""
Found = Mapping[Target, Difference | None]
"""How hosts differ from the source, as far as that is known."""


def gets(options: SyncOptions, target: Target, found: Difference | None) -> dict[str, Any]:
    """Which files of the torrent come to a host: `all`; else those of another size or time, and `differing`.

    Where contents count, what was found to differ is named, so that nothing else comes. What a release before
    has is looked at in the end, when a copy is held against the source: rsync mends it where it was another.
    """
    if not options.checksum or (options.release and target.rsync is not None):
        return dict(NOTHING)
    if options.release or found is None or not (found.paths or found.only_more):
        return {"all": True, "differing": b""}
    named = len(found.paths) <= MOST_NAMED
    return {"all": not named, "differing": found.paths if named else b""}


def coming(options: SyncOptions, target: Target, found: Difference | None, bulk: Bulk) -> int:
    """Bytes of files that come to it."""
    if found is None or gets(options, target, found)["all"]:
        return bulk.size
    return found.move


def fits(options: SyncOptions, target: Target, found: Difference | None, bulk: Bulk) -> bool:
    """Is there room for all that comes? Holes are filled on the way, and made again in a copy of the file."""
    come = coming(options, target, found, bulk)
    return found is None or come + min(come, bulk.sparse) <= target.free


def unpackable(what: Mapping[str, Any], bulk: Bulk) -> str:
    """Why there can be no torrent of these `contents`; "" where there can."""
    return bulk.unpackable if what["whole"] or too_deep(what["only"]) else ""


def contents(options: SyncOptions, found: Found) -> dict[str, Any]:
    """What the root's worker puts in: `only` these files; `whole`: all that there is of metadata.

    What a host has beside the source is known only from the whole, and owners that are asked for are for all.
    """
    more = options.delete and any(each is None or each.extra for each in found.values())
    # What an earlier try left of a release goes where it can be linked anew: it may be missing then.
    begun = any(target.current and not target.empty for target in found)
    return {"only": b"" if begun else _named(found), "whole": more or bool(options.chown)}


def _named(found: Found) -> bytes:
    """All that any of them lacks, with a zero byte between; b"" where that isn't known, or is too much."""
    lacks = [each for each in found.values() if each is None or not each.only_more]
    distinct = {b"" if each is None else each.paths for each in lacks}  # thousands of hosts may lack the same
    if b"" in distinct:
        return b""
    named: set[bytes] = set()
    for paths in distinct:
        named.update(paths.split(b"\0"))
    whole = b"\0".join(sorted(named))
    return whole if len(whole) <= MOST_PATHS else b""


def put_in_place(options: SyncOptions, target: Target) -> dict[str, Any]:
    """How a host is to do that."""
    return {
        "delete": options.delete,
        "max_delete": None if options.release else target.may_delete,
        "numeric_ids": options.numeric_ids,
        "chown": options.chown,
    }


def chunk_of(value: object) -> bytes:
    """A part of a torrent, as the root's worker says it; raises TypeError."""
    if not isinstance(value, bytes):
        raise TypeError("a chunk that is no bytes")
    return value
