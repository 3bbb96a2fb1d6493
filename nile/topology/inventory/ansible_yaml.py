"""Ansible's inventories in YAML form: groups, each with `hosts`, `children` and `vars`.

Only nodes are looked at, never values: no tag (`!vault`, `!unsafe`) is resolved.
"""

from __future__ import annotations

from yaml.nodes import MappingNode, Node, ScalarNode

from nile.topology.hostsets import HOSTS_MAX, check_group_name
from nile.topology.inventory.model import UNGROUPED, Inventory
from nile.topology.inventory.ranges import expand, split_port
from nile.topology.inventory.variables import PORT, take
from nile.topology.refusal import Refusal
from nile.topology.yamltree import DEPTH_MAX, Invalid, Located, Place, Reader, compose, pairs, string

_NOTHING = ("", "~", "null", "Null", "NULL")
_WHAT = "an inventory"


def read_yaml(text: str, reader: Reader) -> Inventory:
    """All that the text says; raises `RouteFileError` for what isn't YAML, else notes with the reader."""
    root = compose(text, reader)
    found = _Yaml(reader)
    for key, node in pairs(root, reader, _WHAT):
        if key.value == "plugin":
            reader.fail(
                key,
                "this configures a plugin, and Nile carries out none",
                "write what it finds to a file: ansible-inventory -i THIS --list --yaml --output hosts.yaml",
            )
        if key.value == "_meta":
            reader.fail(
                key, "this is what an inventory program prints", "give `ansible-inventory --list --yaml`"
            )
        found.group(key, node, 1)
    return found.inventory


class _Yaml:
    def __init__(self, reader: Reader) -> None:
        self.inventory = Inventory()
        self.inventory.group(UNGROUPED, Place(reader.file, 1, 1))
        self._reader = reader
        self._count = 0

    def group(self, key: ScalarNode, node: Node, depth: int) -> None:
        """Take in a group and what is below it; aliases can make that endless, so it is bounded."""
        self._count += 1
        if depth > DEPTH_MAX or self._count > HOSTS_MAX:
            self._reader.fail(key, "groups are nested too deeply", f"at most {DEPTH_MAX} levels")
        name = self._name(key)
        group = self.inventory.group(name, self._reader.place(key))
        for part, value in self._mapping(node, f"group {name}"):
            if part.value == "hosts":
                self._hosts(name, value)
            elif part.value == "children":
                for child, below in self._mapping(value, "children"):
                    self.group(child, below, depth + 1)
                    group.children[child.value] = self._reader.place(child)
            elif part.value == "vars":
                self._variables(value, group.said)
            else:
                self._reader.note(
                    self._reader.place(part),
                    f"a group has no '{part.value}'",
                    "it has hosts, children and vars",
                )

    def _hosts(self, group: str, node: Node) -> None:
        if isinstance(node, ScalarNode) and node.value not in _NOTHING:
            self._host(group, node, None)
            return
        for key, value in self._mapping(node, "hosts"):
            self._host(group, key, value)

    def _host(self, group: str, key: ScalarNode, node: Node | None) -> None:
        place = self._reader.place(key)
        pattern, port = split_port(string(key, self._reader, "a host"))
        try:
            names = expand(pattern)
        except Refusal as refusal:
            self._reader.note(place, refusal.message, refusal.remedy)
            return
        own: dict[str, Located] = {PORT: Located(port, place)} if port else {}
        if node is not None:
            self._variables(node, own)
        for name in names:
            self.inventory.host(name, place, group).said.update(own)

    def _variables(self, node: Node, said: dict[str, Located]) -> None:
        for key, value in self._mapping(node, "variables"):
            text = None
            if isinstance(value, ScalarNode) and value.value not in _NOTHING:
                text = Located(value.value, self._reader.place(value))
            take(key.value, text, said, self.inventory)

    def _mapping(self, node: Node, what: str) -> list[tuple[ScalarNode, Node]]:
        """The pairs of a mapping; none where nothing is written."""
        if isinstance(node, ScalarNode) and node.value in _NOTHING and not node.style:
            return []
        if not isinstance(node, MappingNode):
            self._reader.fail(node, f"{what} must be a mapping", "write `name:` for each, with a colon")
        return pairs(node, self._reader, what)

    def _name(self, key: ScalarNode) -> str:
        name = string(key, self._reader, "a group's name")
        try:
            check_group_name(name)
        except Refusal as refusal:
            self._reader.note(self._reader.place(key), refusal.message, refusal.remedy)
            raise Invalid from refusal
        return name
