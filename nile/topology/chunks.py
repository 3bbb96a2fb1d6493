"""Cutting hosts into chunks: at rack boundaries, or into equal parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from nile.topology.items import Item


def cut(items: Sequence[Item], count: int) -> list[list[Item]]:
    """Cut items into at most `count` chunks at rack boundaries, the largest as small as that admits."""
    ordered = by_racks(items)
    low, high = math.ceil(len(items) / count), len(items)
    while low < high:
        middle = (low + high) // 2
        if _packed(ordered, middle) <= count:
            high = middle
        else:
            low = middle + 1
    return _pack(ordered, high)


def by_racks(items: Sequence[Item]) -> list[list[Item]]:
    """Items rack by rack, in the order in which each first comes."""
    racks: dict[str, list[Item]] = {}
    for item in items:
        racks.setdefault(item.rack, []).append(item)
    return list(racks.values())


def _packed(racks: Sequence[Sequence[Item]], size: int) -> int:
    """How many chunks of at most `size` hosts `_pack` makes."""
    chunks, filled = 0, size
    for rack in racks:
        if len(rack) > size:
            chunks += math.ceil(len(rack) / size)
            filled = size
        elif filled + len(rack) > size:
            chunks += 1
            filled = len(rack)
        else:
            filled += len(rack)
    return chunks


def _pack(racks: Sequence[Sequence[Item]], size: int) -> list[list[Item]]:
    """Chunks of at most `size` hosts: large racks in equal parts, small ones whole, several in one."""
    chunks: list[list[Item]] = []
    filled = size
    for rack in racks:
        if len(rack) > size:
            chunks += evenly(rack, math.ceil(len(rack) / size))
            filled = size
        elif filled + len(rack) > size:
            chunks.append(list(rack))
            filled = len(rack)
        else:
            chunks[-1] += rack
            filled += len(rack)
    return chunks


def evenly(items: Sequence[Item], count: int) -> list[list[Item]]:
    """Cut into `count` runs whose lengths differ by one at most."""
    size, more = divmod(len(items), count)
    ends = [0]
    for index in range(count):
        ends.append(ends[-1] + size + (index < more))
    return [list(items[start:end]) for start, end in pairwise(ends)]


def lend_relays(chunks: list[list[Item]]) -> bool:
    """Swap hosts so that each chunk of several has one that may relay; False if there aren't enough."""
    poor = [chunk for chunk in chunks if len(chunk) > 1 and not any(one.relay for one in chunk)]
    for chunk in poor:
        rich = max(chunks, key=lambda one: sum(item.relay for item in one) - (len(one) > 1))
        spare = [index for index, one in enumerate(rich) if one.relay]
        if len(spare) <= (len(rich) > 1):
            return False
        rich[spare[-1]], chunk[0] = chunk[0], rich[spare[-1]]
    return True
