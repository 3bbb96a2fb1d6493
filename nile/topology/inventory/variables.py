"""Variables of Ansible that say how a host is reached: which are taken, and as what.

    ansible_host, ansible_port, ansible_user, ansible_ssh_private_key_file

(and their older names with `ssh_`). Secrets and ssh arguments aren't taken;
they are named, so that nobody waits for them to have an effect. All others
are for playbooks, and of no concern here.
"""

from __future__ import annotations

import re

from nile.topology.inventory.model import Inventory
from nile.topology.yamltree import Located

HOST, PORT, USER, KEY, CONNECTION = "host", "port", "user", "key", "connection"

TAKEN = {
    "ansible_host": HOST,
    "ansible_ssh_host": HOST,
    "ansible_port": PORT,
    "ansible_ssh_port": PORT,
    "ansible_user": USER,
    "ansible_ssh_user": USER,
    "ansible_ssh_private_key_file": KEY,
    "ansible_private_key_file": KEY,
    "ansible_connection": CONNECTION,
}
_SECRET = re.compile(r"ansible_\w*(pass|password|passphrase)")
_ARGUMENTS = re.compile(r"ansible_(ssh|sftp|scp)_\w*args|ansible_become\w*|ansible_host_key_checking")


def take(name: str, value: Located | None, said: dict[str, Located], inventory: Inventory) -> None:
    """Keep a variable among what is `said`, if it is one of those; `value` is None where it is no text."""
    if name in TAKEN:
        if value is not None:
            said[TAKEN[name]] = value
    elif _SECRET.fullmatch(name) or _ARGUMENTS.fullmatch(name):
        inventory.passed_over[name] = None
