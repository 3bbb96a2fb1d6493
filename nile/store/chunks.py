"""Where a chunk of output goes: bytes have absolute offsets, so what comes twice is kept once. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Placed(NamedTuple):
    """A chunk as it is kept: `data`, perhaps empty, at `offset`, after `missing` bytes that never came."""

    offset: int
    data: bytes
    missing: int


def place(end: int, offset: int, data: bytes) -> Placed:
    """Fit a chunk that begins at `offset` behind the `end` bytes that a stream has.

    The part that is there already is cut off: the first arrival counts. A
    chunk that begins past the end is kept at its own offset; the hole is
    reported by `missing`.
    """
    if offset > end:
        return Placed(offset, data, offset - end)
    return Placed(end, data[end - offset :], 0)
