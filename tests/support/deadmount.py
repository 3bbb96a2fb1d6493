"""A directory whose file server never answers: whoever goes there hangs (FUSE; only root mounts)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence

_HOLD = """
import ctypes, os, sys
path, fd = os.fsencode(sys.argv[1]), int(sys.argv[2])
os.makedirs(path, exist_ok=True)
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"dead", path, b"fuse", 0, b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd):
    sys.exit(os.strerror(ctypes.get_errno()))
print("dead", flush=True)
sys.stdin.read()
libc.umount2(path, 2)
os.rmdir(path)
"""


@contextlib.contextmanager
def dead_directory(
    path: str, argv: Callable[[Sequence[str]], Sequence[str]] = lambda words: words
) -> Iterator[str]:
    """Such a directory; `argv` are the words that run a program on the host that is to have it."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    words = argv(["python3", "-c", _HOLD, path, str(fd)])
    with subprocess.Popen(
        words, pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        os.close(fd)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "dead\n"
        yield path
