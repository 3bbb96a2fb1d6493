"""Where the files of `make check` lie: in memory if that has room for them, else where all others do.

On a disk, whoever removes thousands of files waits for what others write
beside it, for minutes where what is freed is discarded at once (mount(8),
`discard`).

    python -m tests.support.scratch

makes a directory and prints its name, which is short: a unix socket's may have
107 bytes. It prints nothing where tests are to use TMPDIR as it is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHARED = Path("/dev/shm")
GIB = 1 << 30
ROOM_B = 4 * GIB
"""What tests that run at one time have in files, several times over."""
MEMORY_B = 8 * GIB
"""To be had beside all that runs: files in memory must never be what makes tests run out of it."""
XATTR = "user.nile-test"


@dataclass(frozen=True)
class Found:
    """What is known of a memory file system, and of this machine's memory. Bytes."""

    free_b: int
    available_b: int
    limit_b: int | None = None
    """Of the control group that this runs in, if it has one."""
    executable: bool = True
    """May programs be started that lie there?"""
    attributes: bool = True
    """Are there users' extended attributes? On tmpfs from Linux 6.6 on."""


def is_fit(found: Found) -> bool:
    """Can tests have their files there?"""
    memory_b = found.available_b if found.limit_b is None else min(found.available_b, found.limit_b)
    return found.executable and found.attributes and found.free_b >= ROOM_B and memory_b >= MEMORY_B


def looked_at(place: Path) -> Found:
    """Raises OSError where nothing can be made there."""
    seen = os.statvfs(place)
    return Found(
        free_b=seen.f_bavail * seen.f_frsize,
        available_b=available_b(Path("/proc/meminfo").read_text()),
        limit_b=min(limits_b(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup").read_text()), default=None),
        executable=not seen.f_flag & os.ST_NOEXEC,
        attributes=_has_attributes(place),
    )


def available_b(meminfo: str) -> int:
    """What proc(5) says could be had without swapping."""
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 0


def limits_b(mounted: Path, groups: str) -> Iterator[int]:
    """The memory that a process may use by each of its control groups, and by those above them.

    `groups` is what /proc/PID/cgroup says: `0::/path` (version 2), or
    `N:memory:/path` among others (version 1).
    """
    for line in groups.splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top, name = (mounted / "memory", "memory.limit_in_bytes") if kinds else (mounted, "memory.max")
        at = top / path.lstrip("/")
        for place in (at, *at.parents):
            if place.is_relative_to(top):
                try:
                    said = (place / name).read_text().strip()
                except (
                    OSError
                ):  # the top one has no limit; and those outside of a container aren't seen in it
                    continue
                if said.isdecimal():  # and not "max"
                    yield int(said)


def _has_attributes(place: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=place) as file:
        try:
            os.setxattr(file.fileno(), XATTR, b"")
        except OSError:
            return False
    return True


def make(place: Path = SHARED) -> Path | None:
    """A new directory that any user can get to, as /tmp is; None where this isn't the place for it."""
    try:
        if not is_fit(looked_at(place)):
            return None
        made = Path(tempfile.mkdtemp(prefix="t", dir=place))
    except OSError:
        return None
    made.chmod(0o1777)
    return made


if __name__ == "__main__":
    print(make() or "")
