"""What an inventory says, as it stands there: hosts, groups, variables, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from nile.topology.yamltree import Located, Place

ALL, UNGROUPED = "all", "ungrouped"


@dataclass
class Group:
    """A group: its own hosts, the groups in it, and its variables."""

    place: Place
    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, Place] = field(default_factory=dict)
    said: dict[str, Located] = field(default_factory=dict)


@dataclass
class Host:
    """A host, and its own variables."""

    place: Place
    said: dict[str, Located] = field(default_factory=dict)


@dataclass
class Inventory:
    """All of a file. Of variables only those are kept that say how a host is reached."""

    hosts: dict[str, Host] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    passed_over: dict[str, None] = field(default_factory=dict)
    """Names of variables that would matter for a login, and that aren't taken."""
    remarks: list[str] = field(default_factory=list)

    def host(self, name: str, place: Place, group: str) -> Host:
        """A host that a group has, new or known."""
        self.group(group, place).hosts[name] = None
        return self.hosts.setdefault(name, Host(place))

    def group(self, name: str, place: Place) -> Group:
        """A group, new or known."""
        return self.groups.setdefault(name, Group(place))
