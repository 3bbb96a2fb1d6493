"""Trees on disk for tests: made from a few words, and asked about without following anything."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from nile.agent.worker.manifest import Entry, Manifest

AWKWARD = [b"plain", b"new\nline", b"\xff\xfe", b" ", b"-n", b"*", b"tab\t", b"\\"]


def make_all_kinds(root: Path) -> None:
    """Files, directories, links of both sorts, a fifo, a socket and a device, with odd names and times."""
    root.mkdir(parents=True, exist_ok=True)
    for name in AWKWARD:
        path = root / os.fsdecode(name)
        path.write_bytes(name * 3)
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + len(name)))
    (root / "dir" / "below").mkdir(parents=True)
    (root / "dir" / "file").write_text("content")
    os.link(root / "dir" / "file", root / "again")
    (root / "link").symlink_to("dir/file")
    (root / "broken").symlink_to(os.fsdecode(b"no\xffwhere"))
    (root / "dirlink").symlink_to("dir")
    os.mkfifo(root / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)  # the name of a socket is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    if os.geteuid() == 0:
        os.mknod(root / "null", 0o20666, os.makedev(1, 3))
        os.chown(root / "dir" / "file", 1234, 5678)
    (root / "dir" / "file").chmod(0o4750)


def write(root: Path, path: str, content: str = "") -> Path:
    """A file, with the directories above it."""
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    return place


def top(place: Path) -> list[tuple[bytes, bytes]]:
    """The roots of a transfer with a trailing slash."""
    return [(os.fsencode(place), b"")]


def by_path(manifest: Manifest) -> dict[bytes, Entry]:
    """Its entries."""
    return {entry.path: entry for entry in manifest.entries}
