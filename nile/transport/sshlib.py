"""asyncssh, imported without what costs nearly half of it and serves nobody here.

On being imported, asyncssh asks `ctypes.util.find_library` for libraries that
few machines have; that runs ldconfig, gcc and ld in turn: 40 ms of CPU before
the first login. The loader's cache has the answer, in a tenth of a millisecond.
And it loads cryptography's X.509, 15 ms, which it can do without: Nile trusts
OpenSSH's host keys and certificates alone.

Whoever needs asyncssh takes it from here, so that no other import comes first.
"""

from __future__ import annotations

import ctypes.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOADER_CACHE = Path("/etc/ld.so.cache")
X509 = "asyncssh.crypto.x509"

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
def _sparing() -> Iterator[None]:
    """For one import; where asyncssh is made otherwise some day, it only costs more."""
    search = ctypes.util.find_library
    ctypes.util.find_library = finder(search)  # type: ignore[assignment] # its parameter has a name
    # None says that it can't be imported (see importlib), and asyncssh takes that as "no X.509".
    sys.modules.setdefault(X509, None)  # type: ignore[arg-type] # what the import system allows
    try:
        yield
    finally:
        ctypes.util.find_library = search
        if sys.modules[X509] is None:
            del sys.modules[X509]


with _sparing():
    import asyncssh as asyncssh
    from asyncssh import encryption as encryption
    from asyncssh import kex as kex
    from asyncssh import mac as mac
    from asyncssh import public_key as public_key
