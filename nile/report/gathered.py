"""Who printed the same, by hashes: what was printed is read back from the store when it is shown.

Standard output and standard error are gathered apart (how they were mixed
differs from host to host, and would keep equal output from folding); what is
equal is the bytes, but for a missing last line end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from nile.events import Event, HostOutput

STREAMS = ("stdout", "stderr")

ReadChunks = Callable[[str, str], Iterator[bytes]]
"""(host, stream) -> what it printed, piece by piece."""


class Gathered:
    """A hash of each stream of each host that printed something."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, str], _Digest] = {}

    def take(self, event: Event) -> None:
        """Take output in."""
        if isinstance(event, HostOutput) and event.data:
            key = (event.stream, event.host)
            if key not in self._digests:
                self._digests[key] = _Digest()
            self._digests[key].update(event.data)

    def hosts(self, stream: str) -> list[str]:
        """Those that printed something on it."""
        return [host for of, host in self._digests if of == stream]

    def groups(self, stream: str) -> list[list[str]]:
        """Hosts that printed the same on it, most hosts first."""
        groups: dict[bytes, list[str]] = {}
        for host in self.hosts(stream):
            groups.setdefault(self._digests[stream, host].value(), []).append(host)
        return sorted(groups.values(), key=lambda hosts: (-len(hosts), hosts))


class _Digest:
    """A hash of a stream that doesn't see whether its last line has an end."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)
        self._line_end = False

    def update(self, data: bytes) -> None:
        if self._line_end:
            self._hash.update(b"\n")
        self._line_end = data.endswith(b"\n")
        self._hash.update(data[:-1] if self._line_end else data)

    def value(self) -> bytes:
        return self._hash.digest()
