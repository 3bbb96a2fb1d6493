"""Work moves toward whoever is free: an idle node takes hosts that a busy one hasn't begun with.

As in TakTuk (see its manual, on work stealing): one host, then twice as many each
time, and at most half of what the other has left.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from nile.cascade.hosts import Contact, Host
from nile.cascade.placing import Places
from nile.cascade.tree import Tree
from nile.topology.model import ROOT_ID

LEAST = 2
"""Who has fewer hosts left keeps them."""


class Stealing:
    """Remembers how many hosts each node takes next time."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._appetite: dict[int, int] = {}

    def take(self, places: Places, up_before_s: float) -> Iterator[tuple[Host, int]]:
        """(host, new parent) for each that moves, from nodes that have been up since before that time."""
        for left in self._busy(up_before_s):
            for thief in places.idle():
                if len(left) < LEAST:
                    break
                most = min(self._appetite.get(thief, 1), len(left) // 2)
                taken = list(islice((host for host in reversed(left) if places.may(thief, host)), most))
                for host in taken:
                    left.remove(host)
                    places.took(host, thief)
                    yield host, thief
                if taken:
                    self._appetite[thief] = 2 * self._appetite.get(thief, 1)

    def _busy(self, up_before_s: float) -> list[list[Host]]:
        """What nodes have left, each in a list; those that have most come first."""
        nodes = [ROOT_ID] if up_before_s > 0 else []
        for node in self._tree.relays:
            host = self._tree[node]
            if host.t_ready_s is not None and host.t_ready_s < up_before_s and host.alive:
                nodes.append(node)
        left = {node: self._left(node) for node in nodes}
        busy = [node for node in nodes if len(left[node]) >= LEAST]
        return [left[node] for node in sorted(busy, key=lambda node: (-len(left[node]), node))]

    def _left(self, node: int) -> list[Host]:
        """Hosts that nobody began with, and that may be logged in to; none is moved twice."""
        children = map(self._tree.hosts.__getitem__, self._tree.children(node))
        return [
            host
            for host in children
            if host.contact is Contact.WAITING and host.permitted and host.epoch == 1
        ]
