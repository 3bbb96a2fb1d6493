"""Which way packets get through: cables that are cut and mended, whole or in one direction.

Packets that don't get through are sent again until they do, as TCP does: a
partition that ends soon is a delay, and nobody is told of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """No packet gets from any of `sources` to any of `targets`, or the other way round where `both`."""

    sources: Collection[int]
    targets: Collection[int]
    both: bool = True

    def stops(self, source: int, target: int) -> bool:
        """Is this way blocked?"""
        if source in self.sources and target in self.targets:
            return True
        return self.both and target in self.sources and source in self.targets


class Network:
    """What is blocked now. Ids are those of nodes; 0 is the root."""

    def __init__(self, ids: Collection[int]) -> None:
        self._ids = frozenset({0, *ids})
        self._blocks: list[Block] = []
        self._waiting: list[Callable[[], None]] = []

    def isolate(self, host: int, *, outward: bool = True, inward: bool = True) -> Block:
        """Cut the cable of a host, or one direction of it."""
        others = self._ids - {host}
        if outward and inward:
            return self.block(Block({host}, others))
        return self.block(Block({host}, others, False) if outward else Block(others, {host}, False))

    def block(self, block: Block) -> Block:
        """Something is in the way from now on."""
        self._blocks.append(block)
        return block

    def mend(self, block: Block) -> None:
        """It is out of the way: whatever was sent meanwhile arrives."""
        self._blocks.remove(block)
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    def passes(self, source: int, target: int) -> bool:
        """Does a packet get through?"""
        return not self._blocks or not any(block.stops(source, target) for block in self._blocks)

    def connects(self, one: int, other: int) -> bool:
        """Do packets get through both ways?"""
        return self.passes(one, other) and self.passes(other, one)

    def when_mended(self, call: Callable[[], None]) -> None:
        """Have a call made, once, when something was mended; it has to look whether that helped."""
        self._waiting.append(call)
