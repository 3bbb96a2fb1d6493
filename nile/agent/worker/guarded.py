"""Files of a tree for a program that opens them by name, and again and again: nobody can lead it elsewhere.

Who may write in a directory may put a link there in place of a file, and so have a program read what he may
not. Where nobody but us, or root, may, a file goes by its name below the top, which is open. In all other
directories each file is opened once, without following a link, and then goes by the descriptor: what is read
is what was opened, whatever has its name by then. Nothing is written, and no file gets another name.
"""

import os
import stat

from nile.agent.worker.directories import Directories
from nile.agent.worker.messages import CantError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

MOST_OPEN = 256  # descriptors; a worker may have 1024 as a rule
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Guarded:
    """Those below `top`, a directory that is open, is ours and stays the caller's."""

    def __init__(self, top: int) -> None:
        self._top = b"/proc/%d/fd/%d" % (os.getpid(), top)
        self._directories = Directories(top, opens=False)
        self._ours: "Dict[bytes, bool]" = {b"": _is_closed(os.fstat(top))}
        self._fds: "List[int]" = []

    def name(self, path: bytes) -> bytes:
        """Of this file, for any process of ours as long as this one lives. Raises OSError, CantError."""
        above, _, name = path.rpartition(b"/")
        if self._is_ours(above):
            return b"%b/%b" % (self._top, path)
        if len(self._fds) >= MOST_OPEN:
            where = os.fsdecode(above) or "."
            raise CantError(
                "copy", "others may change '%s', and more than %d files are so" % (where, MOST_OPEN)
            )
        fd = self._directories.within(above, lambda within: os.open(name, _CONTENT, dir_fd=within))
        self._fds.append(fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CantError("differs", "'%s' is no file any more" % os.fsdecode(path))
        return b"/proc/%d/fd/%d" % (os.getpid(), fd)

    def _is_ours(self, path: bytes) -> bool:
        """May nobody but us, or root, change what is in it, or in one above it?"""
        if path not in self._ours:
            above = self._is_ours(path.rpartition(b"/")[0])
            seen = self._directories.within(path, os.fstat)
            self._ours[path] = above and _is_closed(seen)
        return self._ours[path]

    def close(self) -> None:
        """They aren't needed any more."""
        self._directories.close()
        while self._fds:
            os.close(self._fds.pop())


def _is_closed(seen: os.stat_result) -> bool:
    """May nobody but us, or root, replace what is in this directory? In a sticky one its owner may."""
    return seen.st_uid in (0, os.geteuid()) and not seen.st_mode & 0o022
