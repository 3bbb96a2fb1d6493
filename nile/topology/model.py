"""The values of topology: what is known of hosts, and the tree planned for one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nile.options import Limits, SshOptions, Timeouts

ROOT_ID = 0
ROOT_NAME = "root"


class RelayRole(StrEnum):
    """`yes`: may carry others; `no`: always a leaf; `only`: carries, and never runs commands."""

    YES = "yes"
    NO = "no"
    ONLY = "only"


class TreeMode(StrEnum):
    """Who shapes the tree: the planner, nobody (the root logs in everywhere), or the route file."""

    AUTO = "auto"
    FLAT = "flat"
    EXPLICIT = "explicit"


@dataclass(frozen=True, slots=True)
class HostSpec:
    """What a route file (and the command line over it) says of one host.

    `address_root` is where the root machine connects to, `address_inside` where
    other hosts do; both are the name itself unless the file says otherwise.
    `via` lists the gateways through one of which alone the host is reachable
    (empty: from anywhere). `groups` are the groups that it is in, the smallest first.
    """

    name: str
    address_root: str
    address_inside: str
    ssh: SshOptions = field(default_factory=SshOptions)
    host_key_alias: str | None = None
    relay: RelayRole = RelayRole.YES
    switch: str | None = None
    site: str | None = None
    via: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanNode:
    """One host's place in the tree. `id` counts from 1; the root is 0, and has stage 0."""

    id: int
    host: str
    parent: int
    stage: int
    asked: bool
    """False: it only relays, gets no command and has no verdict."""
    children: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The tree of one run: `nodes[i]` has id `i + 1`, parents stand before their children.

    Children stand in the order in which their parent should log in to them.
    """

    nodes: tuple[PlanNode, ...]
    specs: Mapping[str, HostSpec]
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    source: str | None = None
    """The route file, or None where there is none."""
    spares: tuple[PlanNode, ...] = ()
    """Gateways that can take the place of others and have none in the tree; their ids follow."""
    flat: bool = False
    """No host logs in to another one: the route file wants it so."""
    peering: frozenset[frozenset[str]] = frozenset()
    """Pairs of sites of which the hosts may be connected to each other in a swarm."""
    drawn: bool = False
    """Who hangs below whom is as the route file draws it."""
    audit: bool = True
    """Syslog is told of the run."""

    def node(self, node_id: int) -> PlanNode:
        """The node of an id from 1 on."""
        found = node_id - 1 - len(self.nodes)
        return self.nodes[node_id - 1] if found < 0 else self.spares[found]

    def children(self, node_id: int) -> tuple[int, ...]:
        """Ids of a node's children; `ROOT_ID` names the root."""
        if node_id == ROOT_ID:
            return tuple(node.id for node in self.nodes if node.parent == ROOT_ID)
        return self.node(node_id).children

    def asked(self) -> Iterator[PlanNode]:
        """Nodes that get the command; the others only relay."""
        return (node for node in self.nodes if node.asked)

    def path(self, node_id: int) -> tuple[str, ...]:
        """Names from the root down to a node, both included."""
        names: list[str] = []
        while node_id != ROOT_ID:
            node = self.node(node_id)
            names.append(node.host)
            node_id = node.parent
        return (ROOT_NAME, *reversed(names))
