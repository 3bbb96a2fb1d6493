"""Trees that are removed, entry by entry: that may take long, and it is seen how far it is."""

import contextlib
import os
import stat

from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional, Union

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: bytes) -> None:
    """A directory with all that is in it; no link is followed. Raises OSError."""
    _remove(path, path, None)


def _remove(name: "Union[bytes, str]", path: bytes, within: "Optional[int]") -> None:
    """The directory of this name, which is at `path`; `within` is the open one that has it."""
    with _named(path):
        fd = os.open(name, _DIRECTORY, dir_fd=within)
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


@contextlib.contextmanager
def _named(path: bytes) -> "Iterator[None]":
    """Errors are to say where: what is used here is a name within a directory."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise
