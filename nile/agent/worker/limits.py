"""How much one host may bring, and how much room has to stay where that goes.

Before it sends anything a host says how much it has. It is held to that, with
a margin for what grows meanwhile: what comes over the connection also bounds
how many files there are, and with them rsync's memory here. Of what is on the
wire rsync can make more on the disk, from what is there already; so the disk
itself is looked at, too. (Paths are bounded by rsync, to 4096 bytes.)
"""

import os

from nile.agent.worker.manifest import FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

    from nile.agent.worker.trees import Source

    Message = Dict[str, Any]

MARGIN = 32 << 20  # bytes that may come beyond what was announced, ...
PART = 10  # ... and this part of it
ENTRY = 256  # bytes that rsync says of a file, beside its name and its contents, at most
KEPT = 1 << 30  # bytes that stay free on a disk, or this part of it:
KEPT_PART = 20
KEPT_FILES = 10000


def announced(source: "Source") -> "Message":
    """How much it has: things, bytes of their names and of contents, and how many of a disk these take."""
    manifest = source.manifest
    size = sum(entry.size for entry in manifest.entries if entry.kind == FILE)
    return {
        "entries": len(manifest.entries),
        "names": sum(len(entry.path) + len(entry.target) for entry in manifest.entries),
        "bytes": size,
        "room": size - (manifest.totals().bytes - source.room()),
    }


def most(has: "Message") -> int:
    """Bytes that may come from a host that announced so much."""
    expected: int = has["bytes"] + 2 * has["names"] + ENTRY * has["entries"]
    return expected + expected // PART + MARGIN


def left(place: bytes) -> int:
    """Bytes that there is room for at a place, if what has to stay free does; 0 also for want of inodes."""
    found = os.statvfs(place)
    if found.f_files and found.f_favail < min(KEPT_FILES, found.f_files // KEPT_PART):
        return 0
    kept = min(KEPT, found.f_blocks * found.f_frsize // KEPT_PART)
    return max(0, found.f_bavail * found.f_frsize - kept)
