"""The routes that a command line, or a program, means: a route file, inventories, both, or neither."""

from __future__ import annotations

from collections.abc import Sequence

from nile.topology.groups_conf import system_groups
from nile.topology.places import find_route_file
from nile.topology.routes import Routes, inventory_routes, load_routes


def read_routes(option: str | None, inventories: Sequence[str] = ()) -> Routes:
    """The route file that -r (or no option) means, with inventories; defaults where there is neither."""
    if path := find_route_file(option):
        return load_routes(path, system_groups, inventories)
    return inventory_routes(inventories) if inventories else Routes(group_source=system_groups)
