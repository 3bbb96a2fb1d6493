"""Genders (genders(5), nodeattr(1)): a line for one or some nodes, with their attributes.

    node[1-3],login    compute,rack=r1

An attribute is a group, `@compute`, and one with a value two: `@rack`, `@rack=r1`.
`%n` in a value stands for the node's name, `%%` for `%`. What follows a `#` is a comment.
"""

from __future__ import annotations

import re

from nile.topology.hostsets import check_group_name, expand_ranges
from nile.topology.inventory.model import ALL, Inventory
from nile.topology.refusal import Refusal
from nile.topology.yamltree import Place, Reader

_NODES = re.compile(r"[^,\[\]]*(?:\[[^\]]*\][^,\[\]]*)*")
_VALUE = re.compile(r"[A-Za-z0-9_.=-]+")


def read_genders(text: str, reader: Reader) -> Inventory:
    """All that the text says; what is wrong is noted with the reader."""
    inventory = Inventory()
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.partition("#")[0].split():
            place = Place(reader.file, number, line.index(words[0]) + 1)
            try:
                _line(words, place, inventory)
            except Refusal as refusal:
                reader.note(place, refusal.message, refusal.remedy)
    return inventory


def _line(words: list[str], place: Place, inventory: Inventory) -> None:
    if len(words) > 2:
        remedy = "write nodes, blanks, and attributes with commas and without blanks between them"
        raise Refusal(f"{len(words)} words stand here", remedy)
    nodes = [name for one in _NODES.findall(words[0]) if one for name in expand_ranges(one)]
    attributes = [one for one in (words[1] if len(words) > 1 else "").split(",") if one]
    for node in nodes:
        inventory.host(node, place, ALL)
        for attribute in attributes:
            name, equals, value = attribute.partition("=")
            check_group_name(name)
            inventory.host(node, place, name)
            value = value.replace("%n", node).replace("%%", "%")
            if equals and _VALUE.fullmatch(value):
                inventory.host(node, place, f"{name}={value}")
