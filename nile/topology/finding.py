"""The routes that a command line, or a program, means: a route file, inventories, both, or neither."""

from __future__ import annotations

from collections.abc import Sequence

from nile.topology.groups_conf import system_groups
from nile.topology.hostsets import GroupSource
from nile.topology.places import find_route_file
from nile.topology.routes import Routes, inventory_routes, load_routes


def read_routes(
    option: str | None, inventories: Sequence[str] = (), source: GroupSource = system_groups
) -> Routes:
    """The route file that -r (or no option) means, with inventories; defaults where there is neither.

    `source` knows the groups that stand in none of them.
    """
    if path := find_route_file(option):
        return load_routes(path, source, inventories)
    return inventory_routes(inventories, source) if inventories else Routes(group_source=source)
