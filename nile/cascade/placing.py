"""Which node may take a host, and which one should. Pure; a view of the tree as it is at one moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable, Iterator

from nile.cascade.hosts import Contact, Host
from nile.cascade.tree import Tree
from nile.topology.model import ROOT_ID, HostSpec, Plan
from nile.topology.reach import can_log_in, may_relay

PENDING = (Contact.WAITING, Contact.LOGIN)


class Places:
    """Nodes that have room. `barren` ones can log in to nobody, as it turned out."""

    def __init__(self, tree: Tree, plan: Plan, barren: Collection[int] = ()) -> None:
        self._tree = tree
        self._plan = plan
        self._barren = barren
        self._stages = max(plan.limits.stages, tree.depth)
        self._load: dict[int, tuple[int, int]] = {}
        self._stage: dict[int, int] = {}
        self._height: dict[int, int] = {}
        self._relays: list[int] | None = None
        self._leaves: list[int] | None = None
        self._near: dict[Hashable, list[int]] | None = None
        self._out: list[int] | None = None
        self._ways: dict[tuple[str, tuple[str, ...]], list[int]] = {}

    def best(
        self, host: Host, avoid: Collection[int] = (), prefer: int | None = None, *, beyond: bool = False
    ) -> int | None:
        """Whom to have log in to a host: whoever has least to do, then a neighbour; None where nobody may.

        Only where no relay has room, a host that was a leaf becomes one. `beyond`: the bounds on
        children and stages give way, as somebody has to take it.
        """
        height = UNBOUNDED if beyond else self._height_of(host)
        below = (each.id for each in self._tree.below(host))
        avoid = {*avoid, *below}
        wanted = prefer is not None and prefer not in avoid and self._able_id(prefer)
        if prefer is not None and wanted and self._may(prefer, host, height):
            return prefer
        old = self._reaching(self._old_relays, host)
        able = [node for node in old if node not in avoid and self._has_room(node, height)]
        if not able:
            new = (node for node in self._near_first(host) if node not in avoid)
            able = list(
                itertools.islice((node for node in new if self._has_room(node, height)), MOST_COMPARED)
            )
        return min(able, key=lambda node: self._cost(node, host), default=None)

    def may(self, node: int, host: Host) -> bool:
        """Could this node take it, within all bounds?"""
        return self._may(node, host, self._height_of(host))

    def idle(self) -> list[int]:
        """Nodes that have logged in to all their children, and may have more of them."""
        idle = [node for node in self._old_relays() if self._loads(node)[0] == 0]
        roomy = [node for node in idle if self._loads(node)[1] < self._most(node)]
        return [node for node in roomy if self._stage_of(node) < self._stages]

    def took(self, host: Host, node: int) -> None:
        """A host goes there: that node has more to do."""
        pending, children = self._loads(node)
        self._load[node] = pending + 1, children + 1

    def hope(self, host: Host) -> bool:
        """May somebody who isn't up now become able to take it?"""
        reach = self._reaching(self._down, host)
        own = {each.id for each in self._tree.below(host)} if reach else set()
        return any(node not in own for node in reach)

    def spare(self, host: Host) -> Host | None:
        """A gateway to call up for it, unless one that was called is on its way."""
        called = (self._tree[node.id] for node in self._plan.spares if node.id not in self._tree.spares)
        if any(not each.ended and self._reaches(each.id, host) for each in called):
            return None
        able = (self._tree[each] for each in sorted(self._tree.spares) if self._reaches(each, host))
        return next((each for each in able if may_relay(self._spec(each))), None)

    def kept_back(self, host: Host) -> Host | None:
        """A gateway of it to which nobody logs in while a pause lasts; None where one is on its way."""
        names = self._spec(host).via
        ways = [each for each in map(self._tree.hosts.__getitem__, self._down()) if each.name in names]
        tried = [each for each in ways if each.was_here]  # these are looked for anyway
        if any(self._under_way(each) for each in ways if each not in tried):
            return None
        able = (each for each in ways if each not in tried and may_relay(self._spec(each)))
        return next((each for each in able if not (each.called and each.contact is Contact.NONE)), None)

    def _under_way(self, host: Host) -> bool:
        """Is somebody at it, or will be in his turn, whom no pause keeps from it?"""
        if host.contact is Contact.WAITING:
            return host.urgent and (host.parent == ROOT_ID or self._tree.attached(host.parent))
        return host.contact is Contact.LOGIN

    def _able(self, host: Host) -> bool:
        return (
            host.contact is Contact.UP
            and not (host.ended or host.leaving or host.kept_free or host.shell)
            and host.id not in self._barren
            and may_relay(self._spec(host))
            and self._tree.attached(host.id)
        )

    def _near_first(self, host: Host) -> Iterator[int]:
        """Leaves that could become relays of this host, its neighbours first."""
        leaves = self._reaching(self._new_relays, host)
        if self._near is None:
            self._near = {}
            for leaf in self._new_relays():
                self._near.setdefault(self._where(self._tree[leaf]), []).append(leaf)
        yield from (leaf for leaf in self._near.get(self._where(host), ()) if self._reaches(leaf, host))
        yield from leaves

    def _where(self, host: Host) -> Hashable:
        spec = self._spec(host)
        return spec.switch, spec.groups[:1]

    def _reaching(self, nodes: Callable[[], list[int]], host: Host) -> list[int]:
        """Those of some nodes that have a way to a host; the same for all that have its gateways."""
        via = self._spec(host).via
        if not via:
            return nodes()
        key = nodes.__name__, via
        if key not in self._ways:
            self._ways[key] = [node for node in nodes() if self._reaches(node, host)]
        return self._ways[key]

    def _down(self) -> list[int]:
        """Relays and gateways that are out of contact."""
        if self._out is None:
            relays, behind = self._tree.relays, self._tree.behind
            ways = [
                each for each in self._tree.hosts.values() if each.id in relays or behind.get(each.id, 0) > 0
            ]
            out = (each for each in ways if each.contact is not Contact.UP and not each.leaving)
            self._out = [each.id for each in out if not (each.ended or each.shell)]
        return self._out

    def _able_id(self, node: int) -> bool:
        return node == ROOT_ID or self._able(self._tree[node])

    def _old_relays(self) -> list[int]:
        """The root, and what is a relay already; most decisions need none of them."""
        if self._relays is None:
            relays = map(self._tree.hosts.__getitem__, self._tree.relays)
            self._relays = [ROOT_ID, *sorted(each.id for each in relays if self._able(each))]
        return self._relays

    def _new_relays(self) -> list[int]:
        """Leaves that could become relays; in a flat tree nobody does."""
        if self._leaves is None:
            hosts = self._tree.hosts.values() if self._tree.depth > 1 else ()
            leaves = (each for each in hosts if each.id not in self._tree.relays)
            self._leaves = [each.id for each in leaves if self._able(each)]
        return self._leaves

    def _may(self, node: int, host: Host, height: int) -> bool:
        """Has a node that is able to log in room for this host, and a way to it?"""
        return self._reaches(node, host) and self._has_room(node, height)

    def _has_room(self, node: int, height: int) -> bool:
        """For a host, and for so many stages below that."""
        if height == UNBOUNDED:
            return True
        return self._loads(node)[1] < self._most(node) and self._stage_of(node) + 1 + height <= self._stages

    def _most(self, node: int) -> int:
        """How many children it may have."""
        limit = self._plan.limits.branches
        return max(limit, self._tree.first_width) if node == ROOT_ID else limit

    def _reaches(self, node: int, host: Host) -> bool:
        parent = None if node == ROOT_ID else self._spec(self._tree[node])
        return can_log_in(parent, self._spec(host))

    def _cost(self, node: int, host: Host) -> tuple[int, bool, int, int, int]:
        pending, children = self._loads(node)
        rounds = pending // self._plan.limits.parallel
        return rounds, not self._neighbours(node, host), self._stage_of(node), pending + children, node

    def _neighbours(self, node: int, host: Host) -> bool:
        return node != ROOT_ID and self._where(self._tree[node]) == self._where(host)

    def _loads(self, node: int) -> tuple[int, int]:
        """Logins that a node has before it, and children in all."""
        load = self._load.get(node)
        if load is None:
            children = [self._tree.hosts[child] for child in self._tree.children(node)]
            pending = [child for child in children if child.contact in PENDING]
            there = [child for child in children if not child.ended]
            load = self._load[node] = len(pending), len(there)
        return load

    def _stage_of(self, node: int) -> int:
        if node not in self._stage:
            self._stage[node] = self._tree.stage(node)
        return self._stage[node]

    def _height_of(self, host: Host) -> int:
        if host.id not in self._height:
            self._height[host.id] = self._tree.height(host) if host.children else 0
        return self._height[host.id]

    def _spec(self, host: Host) -> HostSpec:
        return self._plan.specs[host.name]


UNBOUNDED = -1
MOST_COMPARED = 50
"""Of leaves, so many are enough to choose from."""
