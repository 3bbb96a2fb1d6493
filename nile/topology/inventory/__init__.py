"""Hosts and groups from files that other tools have: Ansible's inventories (INI and YAML), genders.

Such a file is read as text and nothing of it is carried out: no program, no
plugin, no template. What it says becomes a part of a route file (`Document`):
its groups stand beside the route file's own, which win where both have one of
a name; what it says of a host holds where the route file says nothing of the
host or its groups.
"""

from nile.topology.inventory.reading import add_inventories, split_kind

__all__ = ["add_inventories", "split_kind"]
