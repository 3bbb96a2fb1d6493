"""What a run that copies says to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nile.sync.targets import Difference
from nile.topology.model import ROOT_ID

MOST_DELETED = 1000
"""Files that are deleted on a host without anybody being asked, and not more than this part of them:"""
MOST_DELETED_OF = 0.1
_SCALE = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(count: float) -> str:
    """`12.3 MiB`."""
    for unit, name in _SCALE:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} bytes"


def many_deletions(doomed: Mapping[str, tuple[int, int]]) -> str:
    """What would be deleted, by host (how many, of how many), where that is a lot; else ""."""
    many = {
        host: numbers
        for host, numbers in doomed.items()
        if numbers[0] > MOST_DELETED or numbers[0] > MOST_DELETED_OF * numbers[1]
    }
    if not many:
        return ""
    most = max(many, key=lambda host: many[host][0])
    extra, of = many[most]
    others = f", and many on {len(many) - 1} more" if len(many) > 1 else ""
    return f"{extra} of {of} files and directories would be deleted on {most}{others}"


def dry_run(found: Difference, delete: bool) -> bytes:
    """The lines of a difference that say what would be done."""
    kept = [
        line for line in found.lines.splitlines(keepends=True) if delete or not line.startswith(b"extra ")
    ]
    return b"".join(kept)


def other_file_systems(paths: list[bytes]) -> str:
    """That what is mounted below the source is left out."""
    first = paths[0].decode("utf-8", "backslashreplace")
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"other file systems below the source are left out: {first}{others}"


def left_out(whom: Sequence[tuple[str, str]]) -> str:
    """Who was left out of a stream, and why: these are served afterwards."""
    name, reason = whom[0]
    others = f", and {len(whom) - 1} more" if len(whom) > 1 else ""
    return f"left out of the stream, to be served by another host: {name} ({reason}){others}"


def summary(sent: Mapping[int, int], began_s: float, now_s: float) -> str:
    """What went over the wire, from whom; "" where nothing did."""
    if not sent:
        return ""
    root, all_of_it = sent.get(ROOT_ID, 0), sum(sent.values())
    return (
        f"{size(all_of_it)} sent in {max(now_s - began_s, 0.01):.2f} s: "
        f"{size(root)} by the root, {size(all_of_it - root)} by relays"
    )


def gathered(received: int, hosts: int, changed: int, dest: bytes, seconds: float) -> str:
    """What came from how many hosts, and what of it was written to meanwhile."""
    place = dest.decode("utf-8", "backslashreplace")
    text = f"{size(received)} received from {hosts} {'host' if hosts == 1 else 'hosts'}"
    text += f" in {max(seconds, 0.01):.2f} s, into {place}"
    if changed:
        text += f"; {changed} {'file' if changed == 1 else 'files'} changed meanwhile, and came as read"
    return text
