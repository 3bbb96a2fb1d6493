"""What the planner moves about: hosts to place, and the nodes that have room for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nile.topology.shape import Tree


@dataclass(slots=True)
class Item:
    """A host to place, with what already hangs below it (a gateway's zone, a severed subtree)."""

    host: str
    rack: str
    relay: bool
    """It may have hosts below it."""
    tree: Tree
    """Its root is the host itself."""
    height: int = 0
    size: int = 1
    rounds: int = 0
    """Rounds from the host's being up until all below it is."""
    only: bool = False
    """It does nothing but relay, so it comes first when a relay is chosen."""


@dataclass(slots=True)
class Seat:
    """A node that takes children: the root, a gateway, a relay that survived.

    `room` is how many more children it may have, `stages` how many stages there may be below it.
    """

    tree: Tree
    room: int
    stages: int


class NoRoom(Exception):
    """The limits admit no tree for these hosts."""


def plain_item(host: str, rack: str, *, relay: bool, only: bool = False) -> Item:
    """A host with nothing below it."""
    return Item(host, rack, relay, Tree(host), only=only)


def loaded_item(tree: Tree, rack: str, parallel: int) -> Item:
    """A host with what is below it; it may relay, for it does."""
    return Item(tree.host, rack, True, tree, tree.height, tree.size, rounds_of(tree, parallel))


def rounds_of(tree: Tree, parallel: int) -> int:
    """Login rounds until everything below a host is up."""
    if not tree.below:
        return 0
    return math.ceil(len(tree.below) / parallel) + max(rounds_of(one, parallel) for one in tree.below)


def hang(seat: Seat, trees: Sequence[Tree]) -> None:
    """Put trees below a seat."""
    seat.tree.below.extend(trees)
    seat.room -= len(trees)
