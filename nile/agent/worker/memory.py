"""What is in a file that is on no disk, for who takes it from files alone."""

import os
import tempfile

DIRECTORIES = ("/dev/shm", "/run/user/%d" % os.getuid())


def in_memory(text: str) -> str:
    """The path of a file with this text, which is there as long as this process; raises OSError."""
    return "/proc/self/fd/%d" % kept(text.encode())


def kept(data: bytes) -> int:
    """A descriptor of a file with just that; raises OSError."""
    fd = _file()
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd


def _file() -> int:
    """It has no name any more before anything is in it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nile")
    for place in DIRECTORIES:  # before Python 3.8
        try:
            fd, path = tempfile.mkstemp(prefix="nile-", dir=place)
        except OSError:
            continue
        os.unlink(path)
        return fd
    raise OSError("there is no memory file system for its files")
