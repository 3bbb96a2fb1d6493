"""Trees that are removed, entry by entry: that may take long, and it is seen how far it is."""

import os
import stat

from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Union

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: bytes) -> None:
    """A directory with all that is in it; no link is followed. Raises OSError."""
    _remove(path, path, None)


def _remove(name: "Union[bytes, str]", path: bytes, within: "Optional[int]") -> None:
    """The directory of this name, which is at `path`; `within` is the open one that has it."""
    with _named(path):
        fd = _opened(name, within)
    try:
        with _named(path):
            listed = os.listdir(fd)
        for entry in listed:
            below = os.path.join(path, os.fsencode(entry))
            with _named(below):
                directory = stat.S_ISDIR(os.stat(entry, dir_fd=fd, follow_symlinks=False).st_mode)
                if not directory:
                    os.unlink(entry, dir_fd=fd)
            if directory:
                _remove(entry, below, fd)
            WORK.done += 1
    finally:
        os.close(fd)
    with _named(path):
        os.rmdir(name, dir_fd=within)


def _opened(name: "Union[bytes, str]", within: "Optional[int]") -> int:
    """This directory; one of ours that is closed to us is opened up: what it has is to go."""
    us = os.geteuid()
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=within)
    except PermissionError:
        pin = os.open(name, _DIRECTORY | os.O_PATH, dir_fd=within)
        try:
            if os.fstat(pin).st_uid != us:
                raise
            os.chmod("/proc/self/fd/%d" % pin, stat.S_IRWXU)
        finally:
            os.close(pin)
        return os.open(name, _DIRECTORY, dir_fd=within)
    seen = os.fstat(fd)
    if us and seen.st_uid == us and seen.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        try:
            os.fchmod(fd, stat.S_IRWXU)
        except OSError:
            pass  # what can't be removed then says so
    return fd


class _named:
    """Errors are to say where: what is used here is a name within a directory."""

    def __init__(self, path: bytes) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, OSError):
            error.filename = self._path
