"""Which directories a process works in, as far as /proc tells this user.

What can't be looked at (processes of others, where this user isn't root)
doesn't count: a process of somebody else runs on every host, and nothing would
ever be free. A file that is removed while it is open stays readable to who
has it open.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Iterator, Set, Tuple


def in_use(places: "Iterable[bytes]", proc: bytes = b"/proc") -> "Set[bytes]":
    """Those of these directories that are at or above some process's directory, root, program or open file.

    Libraries that it has loaded, and other files in its memory, count too.
    """
    starts = [(os.path.realpath(place) + b"/", place) for place in places]
    found: "Set[bytes]" = set()
    if not starts:
        return found
    for pid in os.listdir(proc):
        if pid.isdigit():
            about = os.path.join(proc, pid)
            for path, same in _named(about):
                for start, place in starts:
                    if place not in found and (path + b"/").startswith(start) and same(path):
                        found.add(place)
    return found


class _Link:
    """What a link of /proc leads to; another process may see another file under that name."""

    def __init__(self, link: bytes) -> None:
        self._link = link

    def __call__(self, path: bytes) -> bool:
        try:
            there = os.stat(self._link)
            return path.endswith(b" (deleted)") or os.path.samestat(there, os.stat(path))
        except OSError:
            return False


class _Mapped:
    """A file in a process's memory, by the number of its inode."""

    def __init__(self, inode: bytes) -> None:
        self._inode = inode

    def __call__(self, path: bytes) -> bool:
        try:
            return path.endswith(b" (deleted)") or os.stat(path).st_ino == int(self._inode)
        except (OSError, ValueError):
            return False


def _named(about: bytes) -> "Iterator[Tuple[bytes, _Link | _Mapped]]":
    """Paths that a process has to do with, and how to tell whether that is what we know by that path."""
    links = [os.path.join(about, name) for name in (b"cwd", b"root", b"exe")]
    fds = os.path.join(about, b"fd")
    try:
        links += [os.path.join(fds, fd) for fd in os.listdir(fds)]
    except OSError:
        pass  # another's, or gone
    for link in links:
        try:
            yield os.readlink(link), _Link(link)
        except OSError:
            continue
    try:
        with open(os.path.join(about, b"maps"), "rb") as file:
            lines = file.readlines()
    except OSError:
        return
    for line in lines:  # address, rights, offset, device, inode, path
        parts = line.rstrip(b"\n").split(None, 5)
        if len(parts) == 6 and parts[5].startswith(b"/"):
            yield parts[5], _Mapped(parts[4])
