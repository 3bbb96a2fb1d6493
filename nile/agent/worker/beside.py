"""Files of the release before, for a new one that has them, too: linked, or copied within the host.

As rsync's --link-dest has it: a file is linked only where nothing about it differs, its owner, mode and
attributes included, so that nothing is ever written to what the other release has; else it gets a copy of
its content. Two that are apart at the source don't become one because they are one in the other release.
Nothing there is opened up to be read, and no link is followed.
"""

import fcntl
import os
import stat

from nile.agent.worker.directories import Directories
from nile.agent.worker.dressing import There
from nile.agent.worker.forking import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Set, Tuple

    from nile.agent.worker.archive import Item, Looked
    from nile.agent.worker.dressing import Dressing
    from nile.agent.worker.manifest import Entry

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE = 0x40049409  # ioctl_ficlone(2): the same blocks, until one of both is written to
CHUNK = 64 * 1024  # bytes that are a hole where all of them are zero


class Beside:
    """The release in this directory. Raises OSError."""

    def __init__(self, directory: bytes) -> None:
        self._directories = Directories(os.open(directory, _DIRECTORY), opens=False)
        self._linked: "Set[Tuple[int, int]]" = set()

    def take(self, item: "Item", made: bytes, dressing: "Dressing", looked: "Looked") -> "Optional[int]":
        """Have a file at this path: None where it is linked and all is right; a copy is given opened.

        Raises Failure where it isn't there as it was found.
        """
        entry = item.entry
        above, _, name = entry.path.rpartition(b"/")

        def take(within: int) -> "Optional[int]":
            seen = os.stat(name, dir_fd=within, follow_symlinks=False)
            if not _is_it(entry, seen):
                raise FileNotFoundError
            there = There(b"/proc/self/fd/%d/%b" % (within, name), seen, False)
            free = (seen.st_dev, seen.st_ino) not in self._linked
            if free and dressing.is_right(there, item, looked) and _link(within, name, made, seen):
                self._linked.add((seen.st_dev, seen.st_ino))
                return None
            return _copy(os.open(name, _CONTENT, dir_fd=within), made, entry)

        try:
            return self._directories.within(above, take)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            reason = "its content wasn't downloaded, and isn't in the other release any more"
            raise Failure("incomplete", reason, True, entry.path) from None


def _is_it(entry: "Entry", seen: os.stat_result) -> bool:
    same = (seen.st_size, seen.st_mtime_ns) == (entry.size, entry.mtime_ns)
    return same and stat.S_ISREG(seen.st_mode)


def _link(within: int, name: bytes, made: bytes, seen: os.stat_result) -> bool:
    """Was that possible, and is it that one?"""
    try:
        os.link(name, made, src_dir_fd=within, follow_symlinks=False)
    except OSError:  # it has too many names, or is another user's
        return False
    if os.path.samestat(os.lstat(made), seen):
        return True
    os.unlink(made)
    return False


def _copy(full: int, made: bytes, entry: "Entry") -> int:
    """Without its holes, if it isn't simply the same blocks."""
    try:
        fd = os.open(made, _NEW, 0o600)
        try:
            if not _is_it(entry, os.fstat(full)):
                raise FileNotFoundError
            if not _cloned(full, fd):
                _written(full, fd, entry.size)
        finally:
            os.close(fd)
        return os.open(made, _CONTENT)
    finally:
        os.close(full)


def _cloned(full: int, fd: int) -> bool:
    try:
        fcntl.ioctl(fd, _FICLONE, full)
    except OSError:
        return False
    return True


def _written(full: int, fd: int, size: int) -> None:
    os.ftruncate(fd, size)
    for at in range(0, size, CHUNK):
        data = os.pread(full, CHUNK, at)
        if len(data) != min(CHUNK, size - at):
            raise FileNotFoundError
        left = memoryview(data if data.strip(b"\0") else b"")
        while left:
            count = os.pwrite(fd, left, at)
            left, at = left[count:], at + count
