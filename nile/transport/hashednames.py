"""Which of many names stand behind the hashed entries of known_hosts.

A hashed name can only be compared: HMAC-SHA1 under a salt of the entry's own,
so nothing is shared between two entries, and every one has to be looked at for
every name (it may be a second key of the host, or revoke one). OpenSSL's hash
takes a tenth of the time that a call of Python takes: so both halves of an
entry's HMAC are prepared once and copied per name, an entry is done with when
its name is found, and a lot of work is shared among processes, one a core.
hashlib holds the interpreter's lock for data this short: threads gain nothing.

This file is also what those processes run, so it imports nothing of Nile.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

Hashed = tuple[bytes, bytes]
"""Salt and HMAC of one entry."""

ALONE = 400_000
"""Comparisons (0.6 microseconds each) for which starting processes doesn't pay."""
MOST_PROCESSES = 16

_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))
_BLOCK = 64


def find(entries: list[Hashed], names: Iterable[bytes]) -> dict[int, bytes]:
    """The name behind each of `entries`, by its index, as far as it is among `names` (lower case)."""
    wanted = list(dict.fromkeys(names))
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    if processes == 1 or len(entries) * len(wanted) <= ALONE:
        return compare(entries, wanted)
    size = -(-len(entries) // processes)
    parts = [entries[start : start + size] for start in range(0, len(entries), size)]
    with ThreadPoolExecutor(len(parts)) as pool:
        answers = pool.map(lambda part: _compare_apart(part, wanted), parts)
        return {
            number * size + at: name for number, found in enumerate(answers) for at, name in found.items()
        }


def compare(entries: Sequence[Hashed], names: Sequence[bytes]) -> dict[int, bytes]:
    """The same, by this process alone."""
    found = {}
    for number, (salt, wanted) in enumerate(entries):
        block = (salt if len(salt) <= _BLOCK else hashlib.sha1(salt).digest()).ljust(_BLOCK, b"\0")
        inner, outer = hashlib.sha1(block.translate(_IPAD)).copy, hashlib.sha1(block.translate(_OPAD)).copy
        for name in names:
            half = inner()
            half.update(name)
            whole = outer()
            whole.update(half.digest())
            if whole.digest() == wanted:
                found[number] = name
                break
    return found


def _compare_apart(entries: list[Hashed], names: list[bytes]) -> dict[int, bytes]:
    """The same, by a process of its own; where none can be had, by this one."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", __file__],
            input=marshal.dumps((entries, names)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return compare(entries, names)
    if done.returncode == -signal.SIGINT:
        raise KeyboardInterrupt  # Ctrl-C reaches it too: what it didn't do isn't to be done here
    if done.returncode:
        return compare(entries, names)
    found: dict[int, bytes] = marshal.loads(done.stdout)
    return found


if __name__ == "__main__":
    sys.stdout.buffer.write(marshal.dumps(compare(*marshal.load(sys.stdin.buffer))))
