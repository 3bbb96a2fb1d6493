"""Directories below one that is open, each found from the one above it: no link is followed on the way."""

import os
import stat
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Container, Dict, TypeVar

    Result = TypeVar("Result")

MOST_OPEN = 100
_OWN = 0o700  # what their owner has to be allowed where anything is to be done in them
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directories:
    """Those at and below `top`, by path; b"" is `top` itself, which stays open and the caller's.

    A user's own directory that is closed to himself is opened up where something is to be done in it, as by
    rsync; `put_back` undoes that. None is unless `opens`.
    """

    def __init__(self, top: int, opens: bool = True) -> None:
        self._top = top
        self._open: "OrderedDict[bytes, int]" = OrderedDict()  # the one that was used last comes last
        self._before: "Dict[bytes, int]" = {}  # modes of those that were opened up
        self._user = os.geteuid() if opens else 0

    def within(self, path: bytes, act: "Callable[[int], Result]") -> "Result":
        """`act(fd)`, with a descriptor (O_PATH) of this directory that is good until then. Raises OSError."""
        try:
            return act(self._fd(path))
        except PermissionError:
            if not self._open_up(path):
                raise
            return act(self._fd(path))

    def lookup(self, path: bytes) -> os.stat_result:
        """What is at this path. Raises OSError: ENOENT, and ENOTDIR for what is below no directory."""
        above, _, name = path.rpartition(b"/")
        return self.within(above, lambda fd: os.stat(name, dir_fd=fd, follow_symlinks=False))

    def _fd(self, path: bytes) -> int:
        if not path:
            return self._top
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        above, _, name = path.rpartition(b"/")
        fd = self.within(above, lambda within: os.open(name, _PLACE, dir_fd=within))
        self._open[path] = fd
        if len(self._open) > MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def _open_up(self, path: bytes) -> bool:
        fd = self._fd(path)
        seen = os.fstat(fd)
        mode = stat.S_IMODE(seen.st_mode)
        if not self._user or seen.st_uid != self._user or mode & _OWN == _OWN:
            return False
        os.chmod("/proc/self/fd/%d" % fd, mode | _OWN)
        self._before.setdefault(path, mode)
        return True

    def put_back(self, but: "Container[bytes]" = ()) -> None:
        """Have those that were opened up be as they were, but for these; as far as they are still there."""
        for path in sorted(self._before, reverse=True):  # those below come first
            if path not in but:
                try:
                    os.chmod("/proc/self/fd/%d" % self._fd(path), self._before[path])
                except OSError:
                    continue
                del self._before[path]

    def settled(self, path: bytes) -> None:
        """This one was given the mode that it is to have."""
        self._before.pop(path, None)

    def close(self) -> None:
        """All of them."""
        while self._open:
            os.close(self._open.popitem()[1])
