"""Files and names that outlive a loss of power."""

import errno
import os
import stat
import time

from nile.agent.worker.forking import close_from, without_handlers

SYNC_S = 30.0  # for the kernel to bring all to the disk, before that is taken for done all the same
_PAUSE_S = 0.02


def read(path: bytes, most: int) -> bytes:
    """What is in a file; b"" where that is a pipe or anything else: nothing is waited for. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.read(fd, most) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def write(path: bytes, data: bytes) -> None:
    """Have this in a file, instead of what was in it: all of it, or none."""
    new = path + b"-new"
    no_file(new)
    with open(new, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    sync(os.path.dirname(path))


def no_file(path: bytes) -> None:
    """Have none of this name."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def sync(directory: bytes) -> None:
    """Names in it are to outlive a loss of power."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(fd)


def to_disk() -> None:
    """What was written is to outlive a loss of power, too: else `current` would lead to empty files.

    A child does it, since it can't be interrupted, and on a host that writes
    a lot it may take longer than all others should wait. It has nothing open: neither a
    lock that others wait for then, nor what the worker says to the root; and a signal just ends it.
    """
    child = os.fork()
    if not child:
        try:
            without_handlers()
            close_from(0)
            os.sync()
        finally:  # nothing of the worker is done twice
            os._exit(0)
    latest = time.monotonic() + SYNC_S
    while not os.waitpid(child, os.WNOHANG)[0] and time.monotonic() < latest:
        time.sleep(_PAUSE_S)
