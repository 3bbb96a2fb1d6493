"""Where the bytes of a chain come from: a file that still grows, or the ring of what a predecessor sent."""

import mmap
import os
import zlib

from nile.agent.worker.ring import Ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Union

_CHUNK = 256 * 1024


class Stream:
    """Bytes from `begin` to `head`, for one applier and one successor.

    `total`: its length, once the end is known and the hash was right; then
    `crc` is that of all of it. `failed`: why nothing of it may be used.
    `digest`: of what came so far, where that is wanted, else b"".
    """

    digest = b""

    def __init__(self) -> None:
        self.total: "Optional[int]" = None
        self.failed = ""

    @property
    def begin(self) -> int:
        """The first offset that it has."""
        raise NotImplementedError

    @property
    def head(self) -> int:
        """The offset after the last one that it has."""
        raise NotImplementedError

    @property
    def crc(self) -> int:
        """CRC-32 of the bytes from 0 to `head`."""
        raise NotImplementedError

    def write(self, fd: int, offset: int, end: int) -> int:
        """Write some of the bytes from `offset` to `end` to a non-blocking pipe or socket: how many.

        Raises OSError as `os.write` does, BlockingIOError too.
        """
        raise NotImplementedError

    def part(self, offset: int, end: int) -> "Union[bytes, memoryview]":
        """Some of the bytes from `offset` to `end`, for who can't be written to; the same if asked again.

        Raises OSError, or ValueError where it hasn't got them.
        """
        raise NotImplementedError

    def close(self) -> None:
        """The chain that has it is over."""


class Received(Stream):
    """What came of a predecessor: the last `size` bytes."""

    def __init__(self, size: int, hashed: str = "") -> None:
        """`hashed`: by what, if there is to be a digest of it."""
        super().__init__()
        # Fresh from the kernel: what is never reached costs nothing (a bytearray is written at once).
        memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.ring = Ring(memoryview(memory), hashed)

    @property
    def begin(self) -> int:
        """The first offset that the ring has."""
        return self.ring.begin

    @property
    def head(self) -> int:
        """The offset after the last byte that came."""
        return self.ring.head

    @property
    def crc(self) -> int:
        """CRC-32 of all that came."""
        return self.ring.crc

    @property
    def digest(self) -> bytes:  # type: ignore[override]
        """Of all that came."""
        return self.ring.digest.value

    def write(self, fd: int, offset: int, end: int) -> int:
        """See `Stream.write`."""
        return os.write(fd, self.ring.view(offset, end))

    def part(self, offset: int, end: int) -> memoryview:
        """See `Stream.part`."""
        return self.ring.view(offset, end)

    def close(self) -> None:
        """See `Stream.close`."""
        self.ring.close()


class File(Stream):
    """A stream that is in a file, from its first byte on. Several chains may have it at once."""

    begin = 0

    def __init__(self, fd: int) -> None:
        """`fd` can be read; it remains the caller's."""
        super().__init__()
        self._fd = fd
        self._head = 0
        self._crc = 0
        self.changed: "List[Callable[[], None]]" = []  # to be called then

    @property
    def head(self) -> int:
        """Up to where it may be sent."""
        return self._head

    @property
    def crc(self) -> int:
        """CRC-32 of the bytes up to `head`."""
        return self._crc

    def limit(self, offset: int) -> None:
        """It may be sent up to there. What is new is read at once for the hash: say it as the file grows.

        Raises ValueError where that is less than before, or the stream is over; OSError.
        """
        self._grow(offset)
        self._tell()

    def finish(self, total: int) -> None:
        """This is all of it. Raises as `limit` does."""
        self._grow(total)
        self.total = total
        self._tell()

    def abort(self, reason: str) -> None:
        """Nothing of it may be used."""
        if self.total is None and not self.failed:
            self.failed = reason or "aborted"
            self._tell()

    def write(self, fd: int, offset: int, end: int) -> int:
        """See `Stream.write`."""
        count = os.sendfile(fd, self._fd, offset, end - offset)
        if not count:
            raise ValueError("the file ends at %d" % offset)
        return count

    def part(self, offset: int, end: int) -> bytes:
        """See `Stream.part`."""
        data = os.pread(self._fd, min(_CHUNK, end - offset), offset)
        if not data:
            raise ValueError("the file ends at %d" % offset)
        return data

    def _grow(self, offset: int) -> None:
        if self.total is not None or self.failed or offset < self._head:
            raise ValueError("a stream of %d bytes can't become one of %d" % (self._head, offset))
        while self._head < offset:
            data = os.pread(self._fd, min(_CHUNK, offset - self._head), self._head)
            if not data:
                raise ValueError("the file ends at %d" % self._head)
            self._crc = zlib.crc32(data, self._crc)
            self._head += len(data)

    def _tell(self) -> None:
        for changed in list(self.changed):
            changed()
