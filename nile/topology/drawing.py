"""The tree as a route file draws it: a mode, or hosts and what is below each. Read, not expanded."""

from __future__ import annotations

from dataclasses import dataclass

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nile.topology import hostsets
from nile.topology.kinds import Kind, Schema
from nile.topology.model import TreeMode
from nile.topology.yamltree import DEPTH_MAX, Located, Reader, pairs, string


@dataclass(frozen=True)
class Branch:
    """A part of an explicit tree: one host with what is below it, or a set of hosts without."""

    hosts: Located
    below: tuple[Branch, ...] = ()
    is_key: bool = False
    """It stands as a key, so names one host."""


class Tree(Kind[TreeMode | tuple[Branch, ...]]):
    """`auto`, `flat`, or an explicit tree: a mapping of hosts to what is below each, or a list of such."""

    what = "a tree"

    def read(self, node: Node, reader: Reader) -> TreeMode | tuple[Branch, ...]:
        """A mode, or the parts of an explicit tree; raises `Invalid`."""
        if isinstance(node, ScalarNode):
            if node.value not in (TreeMode.AUTO, TreeMode.FLAT):
                reader.fail(node, f"'{node.value}' is no tree", "write auto, flat, or a mapping of hosts")
            return TreeMode(node.value)
        branches = _Parts(reader).below(node)
        if not branches:
            reader.fail(node, "the tree is empty", "write auto, flat, or a mapping of hosts")
        return branches

    def schema(self) -> Schema:
        """It refers to `BELOW_SCHEMA`."""
        return {"anyOf": [{"enum": ["auto", "flat"]}, *BELOW_SCHEMA["anyOf"][1:]]}


class _Parts:
    """Reads what stands below hosts, and bounds it: aliases can make a short text endless."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._count = 0

    def below(self, node: Node, above: tuple[Node, ...] = ()) -> tuple[Branch, ...]:
        """The parts in a host set, a mapping, or a list of both."""
        self._check(node, above)
        if isinstance(node, MappingNode):
            return tuple(
                Branch(Located(key.value, self._reader.place(key)), self.below(value, (*above, node)), True)
                for key, value in pairs(node, self._reader, "a tree")
            )
        if isinstance(node, SequenceNode):
            return tuple(one for part in node.value for one in self._part(part, (*above, node)))
        return (Branch(Located(string(node, self._reader, "a host set"), self._reader.place(node))),)

    def _part(self, node: Node, above: tuple[Node, ...]) -> tuple[Branch, ...]:
        if isinstance(node, SequenceNode):
            self._reader.fail(node, "a list stands in a list", "write its parts into the outer one")
        return self.below(node, above)

    def _check(self, node: Node, above: tuple[Node, ...]) -> None:
        self._count += 1
        if any(node is one for one in above):
            self._reader.fail(node, "a part of the tree stands below itself", "take the alias out")
        if len(above) > 2 * DEPTH_MAX or sum(isinstance(one, MappingNode) for one in above) >= DEPTH_MAX:
            self._reader.fail(node, "the tree is nested too deeply", f"at most {DEPTH_MAX} levels")
        if self._count > hostsets.HOSTS_MAX:
            remedy = f"at most {hostsets.HOSTS_MAX}, aliases counted wherever they stand"
            self._reader.fail(node, "the tree has too many parts", remedy)


BELOW_SCHEMA: Schema = {
    "description": "A host set, a mapping of a host to what is below it, or a list of both.",
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/below"}},
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "object", "additionalProperties": {"$ref": "#/$defs/below"}},
                ]
            },
        },
    ],
}
