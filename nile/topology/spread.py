"""How hosts are spread below the nodes that may carry them: the shape of automatic trees.

The rule. With equal login times a node brings up `c` children in ceil(c/P)
rounds (P = limits.parallel), and a tree is ready after the rounds of its longest
path. Directly below the root stand near sqrt(N) branches (N = hosts to place),
for then root and relays have about the same work and two stages do for up to
branches squared hosts; "near" is from half to double of it, and in that range the number with
the fewest rounds wins, then the nearest. Further down the number with the fewest rounds
wins outright, then the one with the fewest stages, for each stage more is one
more machine that can fail. limits.branches and limits.stages bound everything.

Racks (the switch, else the smallest group) stay together: chunks of hosts are
cut at rack boundaries wherever the limits admit it, large racks into equal parts, small ones
joined whole. A chunk's head relays for the rest of it: a host that does nothing else
(`relay: only`) if there is one, else its first host that may relay. Where this finds no
tree (many hosts that may not relay, gateways that take most places), hosts are
filled in stage by stage, those that may relay first, which finds one if there is one for
hosts that are alike.

Everything here is a pure function of its arguments and deterministic.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from nile.options import Limits
from nile.topology.chunks import by_racks, cut, evenly, lend_relays
from nile.topology.fill import fill
from nile.topology.items import Item, NoRoom, Seat, hang, loaded_item
from nile.topology.shape import Tree

NEVER = 1 << 30
"""Rounds of what the limits don't admit."""


@dataclass(frozen=True)
class Spreader:
    """Places items below seats, within limits."""

    limits: Limits

    def settle(self, items: Sequence[Item], seats: Sequence[Seat], *, near_sqrt: bool = False) -> None:
        """Hang all `items` below `seats`, any below any; raises `NoRoom` and leaves the seats as they were.

        `near_sqrt` asks for the number of branches that suits the root.
        """
        if not items:
            return
        try:
            self._balanced(items, seats, near_sqrt)
        except NoRoom:
            fill(items, seats, self.limits.branches)

    def _balanced(self, items: Sequence[Item], seats: Sequence[Seat], near_sqrt: bool) -> None:
        shares = self._shares(items, [seat for seat in seats if seat.room > 0 and seat.stages > 0])
        grown = [
            (seat, self._grow(share, seat.stages, seat.room, near_sqrt=near_sqrt))
            for seat, share in shares
            if share
        ]
        for seat, trees in grown:
            hang(seat, trees)

    def _shares(self, items: Sequence[Item], seats: Sequence[Seat]) -> list[tuple[Seat, list[Item]]]:
        """Divide items over seats: heavy ones to whoever has least, the others evenly, rack by rack."""
        if not seats:
            raise NoRoom
        if len(seats) == 1:
            return [(seats[0], list(items))]
        shares: list[list[Item]] = [[] for _ in seats]
        heap = [(seat.tree.size, index) for index, seat in enumerate(seats)]
        heapq.heapify(heap)
        for item in sorted((one for one in items if one.height), key=lambda one: -one.size):
            low = [seat.stages <= item.height for seat in seats]
            weight, index = min(heap, key=lambda pair: (low[pair[1]], pair))
            shares[index].append(item)
            heap[heap.index((weight, index))] = (weight + item.size, index)
        heapq.heapify(heap)
        light = [one for one in items if not one.height]
        even = len({weight for weight, _ in heap}) == 1
        # Where seats are loaded unequally already, smaller chunks level that.
        for chunk in cut(light, len(seats) * (1 if even else 8)) if light else []:
            _give(chunk, len(chunk), shares, heap)
        return list(zip(seats, shares, strict=True))

    def _grow(self, items: list[Item], stages: int, room: int, *, near_sqrt: bool) -> list[Tree]:
        """Trees to hang below one node that has `room` children and `stages` stages left."""
        heavy = [one for one in items if one.height]
        light = [one for one in items if not one.height]
        if any(one.height >= stages for one in heavy) or len(heavy) + bool(light) > room or stages < 1:
            raise NoRoom
        chunks = 0
        if light:
            chunks = self._branches(light, heavy, stages, room - len(heavy), near_sqrt)
        heads = [*heavy, *(self._headed(chunk, stages - 1) for chunk in self._chunks(light, chunks, stages))]
        heads.sort(key=lambda one: (-one.rounds, -one.size))  # who has most work below is logged in to first
        return [one.tree for one in heads]

    def _branches(self, light: list[Item], heavy: list[Item], stages: int, room: int, near_sqrt: bool) -> int:
        """Into how many chunks to cut `light`, which share the node with `heavy` ones."""
        count = len(light)
        relays = sum(one.relay for one in light)
        total = count + sum(one.size for one in heavy)
        slowest = max((one.rounds for one in heavy), default=0)
        root = math.sqrt(total)
        best: tuple[int, int, float, int] | None = None
        for chunks in range(1, min(count, room) + 1):
            if chunks > relays and chunks < count:
                continue
            below, depth = _rounds(
                _rest(count, chunks), stages - 1, self.limits.branches, self.limits.parallel
            )
            if below >= NEVER:
                continue
            children = len(heavy) + chunks
            off = abs(children - root)
            far = near_sqrt and not root / 2 <= children <= 2 * root
            rounds = math.ceil(children / self.limits.parallel) + max(below, slowest)
            mark = (
                (NEVER + int(off), 0, off, chunks)
                if far
                else (rounds, 0 if near_sqrt else depth, off, chunks)
            )
            if best is None or mark < best:
                best = mark
        if best is None:
            raise NoRoom
        return best[3]

    def _chunks(self, light: list[Item], count: int, stages: int) -> list[list[Item]]:
        """Cut at rack boundaries if what results still fits below one relay, else evenly."""
        if not count:
            return []
        fits = 1 + capacity(self.limits.branches, stages - 1)
        by_rack = cut(light, count)
        if max(map(len, by_rack)) <= fits and lend_relays(by_rack):
            return by_rack
        even = evenly([one for rack in by_racks(light) for one in rack], count)
        if max(map(len, even)) > fits or not lend_relays(even):
            raise NoRoom
        return even

    def _headed(self, chunk: list[Item], stages: int) -> Item:
        """Make one item of a chunk: its head, and the rest below it."""
        if len(chunk) == 1:
            return chunk[0]
        head = self._head(chunk)
        rest = [one for one in chunk if one is not head]
        tree = Tree(head.host, self._grow(rest, stages, self.limits.branches, near_sqrt=False))
        return loaded_item(tree, head.rack, self.limits.parallel)

    def _head(self, chunk: list[Item]) -> Item:
        relays = [one for one in chunk if one.relay]
        if not relays:
            raise NoRoom
        return max(relays, key=lambda one: one.only)


def _give(chunk: list[Item], weight: int, shares: list[list[Item]], heap: list[tuple[int, int]]) -> None:
    """Give a chunk to the seat with the least weight."""
    least, index = heapq.heappop(heap)
    shares[index] += chunk
    heapq.heappush(heap, (least + weight, index))


def capacity(branches: int, stages: int) -> int:
    """Hosts that fit below one node."""
    total, width = 0, 1
    for _ in range(stages):
        width *= branches
        total += width
        if total > NEVER:
            return NEVER
    return total


def _rest(hosts: int, chunks: int) -> int:
    """Hosts below the head of the largest chunk."""
    return math.ceil((hosts - chunks) / chunks)


@lru_cache(maxsize=65536)
def _rounds(hosts: int, stages: int, branches: int, parallel: int) -> tuple[int, int]:
    """The fewest (rounds, stages) in which `hosts` come up below one node; NEVER where they don't fit."""
    if hosts == 0:
        return 0, 0
    if hosts > capacity(branches, stages):
        return NEVER, NEVER
    best = (math.ceil(hosts / parallel), 1) if hosts <= branches else (NEVER, NEVER)
    for children in range(1, min(hosts - 1, branches) + 1):
        first = math.ceil(children / parallel)
        if first >= best[0]:
            break
        below, depth = _rounds(_rest(hosts, children), stages - 1, branches, parallel)
        best = min(best, (first + below, 1 + depth))
    return best
