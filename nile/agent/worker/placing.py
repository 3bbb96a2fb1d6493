"""Files that a swarm brought get their names: whole, one by one, and nowhere but below the destination.

They are in a directory of ours in the destination, and others still read them
there. So each gets its name as a second one, by a hard link, and takes the
place of what has that name in one step. No link is followed on the way: what
isn't a directory, where the source has one, is left to rsync, as is all else
that can't be done here. Owners aren't set, so neither are set-id bits.
"""

import contextlib
import os

from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, Optional, Tuple

    from nile.agent.worker.metainfo import File

PERMISSIONS = 0o777
NEW = b"new"  # no file of a swarm is called so: these have numbers


def can_link(directory: bytes) -> bool:
    """Does the file system know hard links? A file more is there for a moment."""
    path = os.path.join(directory, NEW)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.link(path, path + b"er")
        os.unlink(path + b"er")
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return True


class Placing:
    """From a directory of numbered files into `dest`; `links`: they stay where they are, too."""

    def __init__(self, directory: bytes, dest: bytes, links: bool) -> None:
        self._directory = directory
        self._dest = dest
        self._links = links
        self._fd = -1
        self._above: "Optional[bytes]" = None  # where `_fd` is

    def place(self, files: "Iterator[Tuple[int, File]]") -> int:
        """Give them their names; how many couldn't get theirs."""
        left = 0
        try:
            for number, file in files:
                WORK.done += 1
                try:
                    self._place(os.path.join(self._directory, b"%d" % number), file)
                except OSError:
                    left += 1
        finally:
            self._leave()
        return left

    def _place(self, path: bytes, file: "File") -> None:
        if os.lstat(path).st_size != file.size:
            raise OSError("it isn't whole")
        above, _, name = file.path.rpartition(b"/")
        self._enter(above)
        os.chmod(path, file.mode & PERMISSIONS)
        os.utime(path, ns=(file.mtime_ns, file.mtime_ns))
        if self._links:
            new = os.path.join(self._directory, NEW)
            os.link(path, new)
            path = new
        try:
            os.rename(path, name, dst_dir_fd=self._fd)
        except OSError:
            if self._links:
                os.unlink(path)
            raise

    def _enter(self, above: bytes) -> None:
        """Be in this directory of the destination; what is missing of it is made. Raises OSError."""
        if above == self._above:
            return
        self._leave()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = os.open(self._dest, flags)
        try:
            for name in above.split(b"/") if above else ():
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=fd)
                below = os.open(name, flags | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = below
        except OSError:
            os.close(fd)
            raise
        self._fd, self._above = fd, above

    def _leave(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._above = -1, None


def wanted(files: "Iterator[Tuple[int, File]]", there: "Dict[bytes, Tuple[int, int]]") -> "Iterator[int]":
    """Numbers of those that aren't `there`: size and time in ns, by path."""
    for number, file in files:
        if there.get(file.path) != (file.size, file.mtime_ns):
            yield number
