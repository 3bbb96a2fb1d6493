"""asyncssh, imported without the searches that cost more than a third of it.

On being imported, asyncssh asks `ctypes.util.find_library` for libraries that
few machines have; that runs ldconfig, gcc and ld in turn: 40 ms of CPU before
the first login. The loader's cache has the answer, in a tenth of a millisecond.

Whoever needs asyncssh takes it from here, so that no other import comes first.
"""

from __future__ import annotations

import ctypes.util
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOADER_CACHE = Path("/etc/ld.so.cache")

Find = Callable[[str], str | None]
"""Like ctypes.util.find_library: a library's name without `lib` -> what to load, or None."""


def finder(search: Find, cache: Path = LOADER_CACHE) -> Find:
    """A `find_library` that runs no program: what the loader's cache lists, and loads.

    Where there is no cache (musl), or where $LD_LIBRARY_PATH names more directories, it is `search`.
    """
    try:
        listed = b"" if os.environ.get("LD_LIBRARY_PATH") else cache.read_bytes()
    except OSError:
        listed = b""

    def find(name: str) -> str | None:
        pattern = rb"(?<![\w.+-])lib%s\.so[^\0/]*(?=\0)" % re.escape(name.encode())
        return next(filter(_loads, dict.fromkeys(map(os.fsdecode, re.findall(pattern, listed)))), None)

    return find if listed else search


def _loads(name: str) -> bool:
    """The cache may list it for another architecture."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


@contextmanager
def _finding_without_programs() -> Iterator[None]:
    search = ctypes.util.find_library
    ctypes.util.find_library = finder(search)  # type: ignore[assignment] # its parameter has a name
    try:
        yield
    finally:
        ctypes.util.find_library = search


with _finding_without_programs():
    import asyncssh as asyncssh
    from asyncssh import encryption as encryption
    from asyncssh import kex as kex
    from asyncssh import mac as mac
    from asyncssh import public_key as public_key
