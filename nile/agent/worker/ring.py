"""The last bytes of a stream, and how far it may go on, given who reads it behind. No input or output.

Offsets count the bytes of the whole stream, from 0 on. A ring has two kinds of
readers. The *applier* may be a whole ring behind. The *successor* may be a
quarter behind, so that its own successor, which is a quarter behind it at most,
is found in this ring too when the one between dies, and even if two neighbours
die at once (if all rings of a chain are of one size, as they should be). A
successor that is *awaited* (the last one broke, or another one is called) is
kept its place for half a ring.

How far the stream may go is granted to whoever sends it, in steps. What was
granted can't be taken back; so where a new successor begins far behind, there
is a hard end besides: nothing is written over what a reader hasn't had.
"""

import zlib

from nile.agent.worker.hashing import hasher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple, Union

MOST_STEP = 1024 * 1024  # bytes: what is granted is said anew after as many at the latest
APPLIER = "applier"
SUCCESSOR = "successor"


class Digest:
    """What no other stream has: a hash of its bytes, in order. Where none has a `name`, it is b""."""

    def __init__(self, name: str) -> None:
        """`name`: see `hashing.hasher`."""
        self._hash = hasher(name) if name else None

    def add(self, data: "Union[bytes, memoryview]") -> None:
        """These bytes follow."""
        if self._hash is not None:
            self._hash.update(data)

    @property
    def value(self) -> bytes:
        """Of all so far."""
        return self._hash.digest() if self._hash is not None else b""


class Ring:
    """The last `size` bytes before `head`, and the CRC-32 of all that came; `begin`: the first byte here."""

    def __init__(self, memory: memoryview, hashed: str = "") -> None:
        """`memory`: bytes that can be written, as many as shall be kept. `hashed`: by what, for `digest`."""
        self.size = len(memory)
        self.head = 0
        self.crc = 0
        self.digest = Digest(hashed)
        self._view = memory

    @property
    def begin(self) -> int:
        """The oldest offset that is still here."""
        return max(0, self.head - self.size)

    def space(self, end: int) -> memoryview:
        """Where the bytes from `head` to `end` go: as many as are in one piece, perhaps none."""
        start = self.head % self.size
        return self._view[start : max(start, start + end - self.head)]

    def wrote(self, count: int) -> None:
        """So many bytes were written to the beginning of `space`."""
        start = self.head % self.size
        came = self._view[start : start + count]
        self.crc = zlib.crc32(came, self.crc)
        self.digest.add(came)
        self.head += count

    def view(self, offset: int, end: int) -> memoryview:
        """The bytes from `offset` to `end`, as many as are in one piece; ValueError if they aren't here."""
        if not self.begin <= offset <= end <= self.head:
            raise ValueError("%d to %d of a ring from %d to %d" % (offset, end, self.begin, self.head))
        start = offset % self.size
        return self._view[start : start + end - offset]

    def close(self) -> None:
        """Give the memory back: there is nothing in it any more."""
        self._view = memoryview(b"")


class Readers:
    """Who reads a ring of `size` bytes, and how far they are; None: there is no such reader.

    `applied`: what the applier was given; `taken`: what the present successor
    has acknowledged; `awaited`: what the one before it had.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.step = max(1, min(size // 16, MOST_STEP))
        self.applied: "Optional[int]" = None
        self.taken: "Optional[int]" = None
        self.awaited: "Optional[int]" = None

    def until(self, head: int) -> "Tuple[int, str]":
        """Up to which offset it may be granted, and who is to blame if that isn't far ("": nobody)."""
        ends = [(head + self._size, "")]
        if self.applied is not None:
            ends.append((self.applied + self._size, APPLIER))
        if self.taken is not None:
            ends.append((self.taken + max(1, self._size // 4), SUCCESSOR))
        elif self.awaited is not None:
            ends.append((self.awaited + max(1, self._size // 2), SUCCESSOR))
        end, blame = min(ends)
        return end, blame if end - head < self.step else ""

    def ceiling(self, head: int) -> int:
        """Up to which offset bytes may be written, whatever was granted."""
        present = [at for at in (self.applied, self.taken) if at is not None]
        return min([head] + present) + self._size
