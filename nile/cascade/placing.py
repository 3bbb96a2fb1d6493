"""Which node may take a host, and which one should. Pure; a view of the tree as it is at one moment."""

from __future__ import annotations

from collections.abc import Collection, Iterable

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
        self._most = max(plan.limits.branches, sum(node.parent == ROOT_ID for node in plan.nodes))
        self._load: dict[int, tuple[int, int]] = {}
        self._stage: dict[int, int] = {}
        relays = [host.id for host in tree.hosts.values() if host.relays and self._able(host)]
        self._relays = [ROOT_ID, *relays]
        self._leaves: list[int] | None = None

    def best(self, host: Host, avoid: Collection[int] = (), prefer: int | None = None) -> int | None:
        """Whom to have log in to a host: whoever has least to do, then a neighbour; None where nobody may.

        Only where no relay has room, a host that was a leaf becomes one.
        """
        height = self._tree.height(host)
        if prefer is not None and prefer not in avoid and self._may(prefer, host, height):
            return prefer
        for nodes in (lambda: self._relays, self._new_relays):
            able = [node for node in nodes() if node not in avoid and self._may(node, host, height)]
            if able:
                return min(able, key=lambda node: self._cost(node, host))
        return None

    def took(self, host: Host, node: int) -> None:
        """A host goes there: that node has more to do."""
        pending, children = self._loads(node)
        self._load[node] = pending + 1, children + 1

    def hope(self, host: Host) -> bool:
        """May somebody who isn't up now become able to take it?"""
        own = {each.id for each in self._tree.below(host)}
        return any(
            other.contact is not Contact.UP
            and not other.ended
            and other.id not in own
            and other.relays
            and self._reaches(other.id, host)
            for other in self._tree.hosts.values()
        )

    def _able(self, host: Host) -> bool:
        return (
            host.alive
            and host.id not in self._barren
            and may_relay(self._spec(host))
            and self._tree.attached(host.id)
        )

    def _new_relays(self) -> Iterable[int]:
        """Leaves that could become relays; in a flat tree nobody does."""
        if self._leaves is None:
            hosts = self._tree.hosts.values()
            deep = self._tree.depth > 1
            self._leaves = [host.id for host in hosts if deep and not host.relays and self._able(host)]
        return self._leaves

    def _may(self, node: int, host: Host, height: int) -> bool:
        if not self._reaches(node, host):
            return False
        if node != ROOT_ID and not self._able(self._tree[node]):
            return False
        limit = self._most if node == ROOT_ID else self._plan.limits.branches
        return self._loads(node)[1] < limit and self._stage_of(node) + 1 + height <= self._stages

    def _reaches(self, node: int, host: Host) -> bool:
        parent = None if node == ROOT_ID else self._spec(self._tree[node])
        return node != host.id and can_log_in(parent, self._spec(host))

    def _cost(self, node: int, host: Host) -> tuple[int, bool, int, int, int]:
        pending, children = self._loads(node)
        rounds = pending // self._plan.limits.parallel
        return rounds, not self._neighbours(node, host), self._stage_of(node), pending + children, node

    def _neighbours(self, node: int, host: Host) -> bool:
        if node == ROOT_ID:
            return False
        one, other = self._spec(self._tree[node]), self._spec(host)
        return (one.switch, one.groups[:1]) == (other.switch, other.groups[:1])

    def _loads(self, node: int) -> tuple[int, int]:
        """Logins that a node has before it, and children in all."""
        if node not in self._load:
            children = [self._tree[child] for child in self._tree.children(node)]
            pending = sum(child.contact in PENDING for child in children)
            self._load[node] = pending, sum(not child.ended for child in children)
        return self._load[node]

    def _stage_of(self, node: int) -> int:
        if node not in self._stage:
            self._stage[node] = self._tree.stage(node)
        return self._stage[node]

    def _spec(self, host: Host) -> HostSpec:
        return self._plan.specs[host.name]
