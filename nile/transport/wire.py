"""The data types of the SSH wire (RFC 4251, 5), as far as keys and signatures need them."""

from __future__ import annotations

import struct

_U32 = struct.Struct(">I")


class WireError(ValueError):
    """Bytes that aren't what their place in the protocol asks for."""


def u32(value: int) -> bytes:
    """Four bytes, most significant first."""
    return _U32.pack(value)


def string(data: bytes) -> bytes:
    """Bytes behind their length."""
    return _U32.pack(len(data)) + data


class Reader:
    """Takes values off the front of `data`; every method raises `WireError` when they aren't there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise WireError(f"{count} bytes wanted at {self._at}, {len(self._data)} there")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def byte(self) -> int:
        """One byte as a number."""
        return self._take(1)[0]

    def boolean(self) -> bool:
        """One byte; anything but 0 is true."""
        return self._take(1) != b"\0"

    def u32(self) -> int:
        """A number of four bytes."""
        return int(_U32.unpack(self._take(4))[0])

    def string(self) -> bytes:
        """Bytes behind their length."""
        return self._take(self.u32())

    def rest(self) -> bytes:
        """All that is left."""
        return self._take(len(self._data) - self._at)

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise WireError(f"{len(self._data) - self._at} bytes too many")


def algorithm(blob: bytes) -> str:
    """The first name in a public key, certificate or signature; raises `WireError`."""
    name = Reader(blob).string()
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise WireError("an algorithm's name is ASCII") from None
