"""The tree as it is now: it begins as the plan has it, and changes as branches break and heal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from nile.cascade.hosts import Contact, Host
from nile.topology.model import ROOT_ID, ROOT_NAME, Plan
from nile.topology.sites import Sites


class Tree:
    """Hosts by id, and who hangs below whom. The root is no host; its children are `top`."""

    def __init__(self, plan: Plan, ranks: dict[str, int]) -> None:
        self.hosts = {
            node.id: Host(node, ranks.get(node.host, 0), node.parent, list(node.children))
            for node in plan.nodes
        }
        self.spares = {node.id for node in plan.spares}
        """Gateways that nobody has called for yet."""
        for node in plan.spares:
            self.hosts[node.id] = Host(node, 0, ROOT_ID, [], contact=Contact.NONE, ended=True)
        self.top = [node.id for node in plan.nodes if node.parent == ROOT_ID]
        self.drawn = plan.drawn
        """The route file says who hangs below whom."""
        self.first_width = len(self.top)
        """How many children the plan gives the root."""
        self.depth = max((node.stage for node in plan.nodes), default=0)
        self.relays = {host.id for host in self.hosts.values() if host.children}
        """Ids of all that are relays, or were: a new agent there has what a relay needs from the start."""
        self._switches = {node.id: _switch(plan, node.host) for node in (*plan.nodes, *plan.spares)}
        self.sites = Sites(plan)
        self._gates = _gates(plan)
        self.gateways = frozenset(gate for gates in self._gates.values() for gate in gates)
        """Through one of which alone other hosts are reachable."""
        self.behind = Counter(gate for gates in self._gates.values() for gate in gates)
        """How many hosts whose verdict isn't in the store are reachable only through a gateway, by its id."""
        self.changes = 0
        """How often a host was hung elsewhere, or a gateway came to be of no more use."""
        for host in self.hosts.values():
            for child in host.children:
                host.give(child)

    def __getitem__(self, node_id: int) -> Host:
        return self.hosts[node_id]

    def switch(self, node_id: int) -> str | None:
        """The switch that a host hangs on; None where nobody said."""
        return self._switches[node_id]

    def children(self, node_id: int) -> list[int]:
        """Ids of a node's children now, in the order in which it logs in to them."""
        return self.top if node_id == ROOT_ID else self.hosts[node_id].children

    def needed(self, host: Host) -> bool:
        """Is there still something below it, or behind it?"""
        return self.behind[host.id] > 0 or any(not self.hosts[child].ended for child in host.children)

    def through(self, host: Host) -> list[Host]:
        """A host needs no way to it any more: the gateways that nobody needs now."""
        gates = self._gates.get(host.id, ())
        self.behind.subtract(gates)
        free = [self.hosts[gate] for gate in gates if not self.behind[gate]]
        self.changes += len(free)
        return free

    def call_up(self, host: Host) -> None:
        """A spare gateway is needed."""
        self.spares.discard(host.id)
        self.top.append(host.id)
        host.ended = False

    def move(self, host: Host, parent: int) -> None:
        """Hang a host, with all that is below it, below another node."""
        self.children(host.parent).remove(host.id)
        self.children(parent).append(host.id)
        host.former.add(host.parent)
        host.parent = parent
        host.carrier = None
        self.changes += 1

    def link_parent(self, host: Host) -> int:
        """The node whose link leads to this host."""
        return host.parent if host.carrier is None else ROOT_ID

    def route(self, node_id: int) -> tuple[int, ...]:
        """Ids from the root's own link down to a node."""
        hops: list[int] = []
        while node_id != ROOT_ID:
            hops.append(node_id)
            node_id = self.link_parent(self.hosts[node_id])
        return tuple(reversed(hops))

    def path(self, node_id: int) -> tuple[str, ...]:
        """Names from the root down to a node, both included."""
        names: list[str] = []
        while node_id != ROOT_ID:
            host = self.hosts[node_id]
            names.append(host.name)
            node_id = host.parent
        return (ROOT_NAME, *reversed(names))

    def stage(self, node_id: int) -> int:
        """How many logins lead to a node; 0 for the root."""
        stage = 0
        while node_id != ROOT_ID:
            node_id = self.hosts[node_id].parent
            stage += 1
        return stage

    def attached(self, node_id: int) -> bool:
        """Is every link from the root down to this node up? Else nothing can come from it."""
        while node_id != ROOT_ID:
            host = self.hosts[node_id]
            if host.contact is not Contact.UP or host.ended:
                return False
            node_id = self.link_parent(host)
        return True

    def below(self, host: Host) -> Iterator[Host]:
        """A host and all that hangs below it."""
        todo = [host.id]
        while todo:
            each = self.hosts[todo.pop()]
            yield each
            todo += each.children

    def waiting_below(self, host: Host) -> bool:
        """Is there a command in it, or below, that has to be ended?"""
        return any(each.may_have_started and not each.over for each in self.below(host))

    def height(self, host: Host) -> int:
        """Stages below a host."""
        if not host.children:
            return 0
        return 1 + max(self.height(self.hosts[child]) for child in host.children)

    def name(self, node_id: int) -> str:
        """A node's name; the root's for any id that isn't one."""
        return self.hosts[node_id].name if node_id in self.hosts else ROOT_NAME


def _switch(plan: Plan, name: str) -> str | None:
    spec = plan.specs.get(name)
    return spec.switch if spec else None


def _gates(plan: Plan) -> dict[int, tuple[int, ...]]:
    """Ids of the gateways in the plan through one of which alone an asked host is reachable, by its id."""
    ids = {node.host: node.id for node in (*plan.nodes, *plan.spares)}
    via = {node.id: plan.specs[node.host].via for node in plan.asked()}
    return {host: tuple(ids[name] for name in names if name in ids) for host, names in via.items() if names}
