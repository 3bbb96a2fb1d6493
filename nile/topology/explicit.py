"""Explicit trees: the tree as the route file draws it.

The drawing is checked when the file is read (a host twice, a loop) and when a
plan is made of it (limits, gateways, relay roles), each with its place. Only the part that
leads to hosts that were asked for is used; a host on the way that wasn't asked
for relays and runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from nile.errors import PlanError
from nile.options import Limits
from nile.topology.drawing import Branch
from nile.topology.hostsets import fold
from nile.topology.model import HostSpec
from nile.topology.reach import can_log_in, may_relay
from nile.topology.shape import Tree
from nile.topology.yamltree import Invalid, Located, Place, Reader


@dataclass(frozen=True, slots=True)
class Drawn:
    """A host in an explicit tree, where it stands in the file, and what is drawn below it."""

    host: str
    place: Place
    below: tuple[Drawn, ...] = ()


Expand = Callable[[Located], tuple[str, ...]]


def expand_tree(branches: Iterable[Branch], expand: Expand, reader: Reader) -> tuple[Drawn, ...]:
    """The drawing with host sets expanded; notes a host twice and a loop with both places."""
    return _Expansion(expand, reader).branches(branches, ())


class _Expansion:
    def __init__(self, expand: Expand, reader: Reader) -> None:
        self._expand = expand
        self._reader = reader
        self._seen: dict[str, Place] = {}

    def branches(self, branches: Iterable[Branch], above: tuple[str, ...]) -> tuple[Drawn, ...]:
        drawn: list[Drawn] = []
        for branch in branches:
            try:
                drawn += self._branch(branch, above)
            except Invalid:
                continue
        return tuple(drawn)

    def _branch(self, branch: Branch, above: tuple[str, ...]) -> Iterable[Drawn]:
        names = self._expand(branch.hosts)
        place = branch.hosts.place
        if branch.is_key and len(names) != 1:
            self._note(
                place, f"'{branch.hosts.text}' names {len(names)} hosts", "one host stands above others"
            )
        for name in names:
            if name in above:
                self._note(place, f"{name} stands below itself", f"it stands first at {self._seen[name]}")
            if name in self._seen:
                self._note(place, f"{name} is in the tree twice", f"the first one is at {self._seen[name]}")
            self._seen[name] = place
        if not branch.is_key:
            return [Drawn(name, place) for name in names]
        return [Drawn(names[0], place, self.branches(branch.below, (*above, names[0])))]

    def _note(self, place: Place, message: str, remedy: str) -> None:
        self._reader.note(place, message, remedy)
        raise Invalid


def names_of(drawn: Iterable[Drawn]) -> list[str]:
    """Every host of a drawing."""
    names: list[str] = []
    for one in drawn:
        names.append(one.host)
        names += names_of(one.below)
    return names


def plan_explicit(
    drawn: Iterable[Drawn], asked: Collection[str], spec: Callable[[str], HostSpec], limits: Limits
) -> list[Tree]:
    """The part of the drawing that leads to the asked hosts; raises `PlanError`."""
    wanted = dict.fromkeys(asked)
    trees = [tree for one in drawn if (tree := _needed(one, wanted))]
    if missing := wanted.keys() - set(names_of(drawn)):
        names = fold(name for name in wanted if name in missing)
        raise PlanError(
            f"{names}: asked for, but not in the explicit tree",
            remedy="add the hosts to `tree:`, leave them out with -x, or plan with --tree auto",
        )
    _Check(spec, limits, {one.host: one for one in _walk(drawn)}).level(None, trees, 1)
    return trees


def _walk(drawn: Iterable[Drawn]) -> Iterable[Drawn]:
    for one in drawn:
        yield one
        yield from _walk(one.below)


def _needed(one: Drawn, wanted: Collection[str]) -> Tree | None:
    below = [tree for part in one.below if (tree := _needed(part, wanted))]
    return Tree(one.host, below) if below or one.host in wanted else None


@dataclass(frozen=True)
class _Check:
    """Holds a tree against roles, gateways and limits."""

    spec: Callable[[str], HostSpec]
    limits: Limits
    drawn: dict[str, Drawn]

    def level(self, parent: str | None, trees: list[Tree], stage: int) -> None:
        """Check the children of `parent` (None: the root), which stand at `stage`."""
        if not trees:
            return
        where = str(self.drawn[trees[0].host].place)
        if stage > self.limits.stages:
            raise PlanError(
                f"{trees[0].host} stands at stage {stage}; limits.stages is {self.limits.stages}",
                where=where,
                remedy=f"make the tree flatter, or raise the limit (--stages {stage})",
            )
        if len(trees) > self.limits.branches:
            raise PlanError(
                f"{parent or 'root'} has {len(trees)} children; limits.branches is {self.limits.branches}",
                where=where,
                remedy=f"spread them over more relays, or raise the limit (--branches {len(trees)})",
            )
        above = None if parent is None else self.spec(parent)
        if above is not None and not may_relay(above):
            where = str(self.drawn[above.name].place)
            raise PlanError(
                f"{above.name} has hosts below it, but is `relay: no`", where=where, remedy="change one"
            )
        for tree in trees:
            self._reach(above, tree)
            self.level(tree.host, tree.below, stage + 1)

    def _reach(self, parent: HostSpec | None, tree: Tree) -> None:
        child = self.spec(tree.host)
        if can_log_in(parent, child):
            return
        gateways = fold(child.via)
        below = set(tree.hosts())
        if own := [gateway for gateway in child.via if gateway in below]:
            message = f"gateway {own[0]} stands below {tree.host}, which is reachable only through {gateways}"
        else:
            message = f"{tree.host} is reachable only through {gateways}, and stands below {_name(parent)}"
        raise PlanError(
            message,
            where=str(self.drawn[tree.host].place),
            remedy=f"put it below one of {gateways}, or change `via`",
        )


def _name(spec: HostSpec | None) -> str:
    return spec.name if spec else "the root"
