"""A tree while it is being shaped, before it becomes the frozen `Plan`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nile.topology.model import ROOT_ID, PlanNode


@dataclass(slots=True)
class Tree:
    """A host with what is below it."""

    host: str
    below: list[Tree] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Hosts in it, itself included."""
        return 1 + sum(tree.size for tree in self.below)

    @property
    def height(self) -> int:
        """Stages below it."""
        return max((1 + tree.height for tree in self.below), default=0)

    def hosts(self) -> Iterator[str]:
        """Itself and all below it."""
        yield self.host
        for tree in self.below:
            yield from tree.hosts()


def number(trees: Iterable[Tree], asked: Mapping[str, object]) -> tuple[PlanNode, ...]:
    """Nodes numbered stage by stage (so, parents first), brothers in their order."""
    queue: list[tuple[Tree, int, int]] = [(tree, ROOT_ID, 1) for tree in trees]
    children: dict[int, list[int]] = {}
    for position, (tree, parent, stage) in enumerate(queue, 1):
        children.setdefault(parent, []).append(position)
        queue.extend((below, position, stage + 1) for below in tree.below)  # the loop goes on over these
    return tuple(
        PlanNode(position, tree.host, parent, stage, tree.host in asked, tuple(children.get(position, ())))
        for position, (tree, parent, stage) in enumerate(queue, 1)
    )
