"""An inventory as a part of a route file: groups with all that is in them, and what holds for each host.

Of what groups say of a host, the deeper one wins, and of two of one depth the
one whose name comes later; its own word wins over all (Ansible's rules).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, NoReturn

from nile.options import SshOptions
from nile.topology.document import Address, Document, GroupBlock, HostBlock, Settings
from nile.topology.inventory.model import ALL, UNGROUPED, Inventory
from nile.topology.inventory.variables import CONNECTION, HOST, KEY, PORT, USER
from nile.topology.kinds import one_host
from nile.topology.model import ROOT_NAME
from nile.topology.refusal import Refusal
from nile.topology.yamltree import DEPTH_MAX, Invalid, Located, Place, Reader

_BY_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "libssh", "ansible.builtin.ssh")
_NAMES_SHOWN = 3
MEMBERS_MAX = 2_000_000
"""Of 10,000 hosts, each may be in 200 groups."""


class Merging:
    """Works out one inventory; what is wrong is noted with the reader."""

    def __init__(self, inventory: Inventory, reader: Reader) -> None:
        self._inventory = inventory
        self._reader = reader
        self._ssh: dict[tuple[Any, ...], SshOptions] = {}
        """Shared by all hosts of which the same is said."""
        self._noted: set[tuple[Place, str]] = set()

    def document(self) -> Document:
        """Its groups and hosts; raises `Invalid` after noting a loop, or what is too deep or too much."""
        upward = self._bottom_up()
        depths, members = self._depths(upward), self._members(upward)
        groups: dict[str, Mapping[str, None]] = {name: members[name] for name in self._inventory.groups}
        of_host: dict[str, list[str]] = {}
        for name in sorted(groups, key=lambda name: (depths[name], name)):
            for member in groups[name]:
                of_host.setdefault(member, []).append(name)
        blocks: dict[str, tuple[Located, HostBlock]] = {}
        elsewhere: list[str] = []
        for name, host in self._inventory.hosts.items():
            said: dict[str, Located] = {}
            for group in (ALL, *of_host.get(name, ())):
                if group in self._inventory.groups:
                    said.update(self._inventory.groups[group].said)
            said.update(host.said)
            if CONNECTION in said and said[CONNECTION].text not in _BY_SSH:
                elsewhere.append(name)
            else:
                blocks[name] = (Located(name, host.place), self._block(said))
        self._remark(elsewhere)
        groups[ALL] = dict.fromkeys(blocks)
        if UNGROUPED in groups:
            implied = {ALL, UNGROUPED}
            groups[UNGROUPED] = {name: None for name in blocks if implied.issuperset(of_host.get(name, ()))}
        return Document(
            groups={
                name: self._group(name, [one for one in found if one in blocks])
                for name, found in groups.items()
            },
            inherited=blocks,
        )

    def _group(self, name: str, hosts: list[str]) -> tuple[Located, GroupBlock]:
        known = self._inventory.groups.get(name)
        place = known.place if known else Place(self._reader.file, 1, 1)
        block = GroupBlock((Located(",".join(hosts), place),) if hosts else (), Settings())
        return Located(name, place), block

    def _children(self, name: str) -> Mapping[str, Place]:
        """The groups in a group, with the places that say so."""
        group = self._inventory.groups.get(name)
        return group.children if group else {}

    def _bottom_up(self) -> list[str]:
        """All groups, each behind those that it contains."""
        sorter = TopologicalSorter({name: self._children(name) for name in self._inventory.groups})
        try:
            return list(sorter.static_order())
        except CycleError as error:
            found: list[str] = error.args[1][:0:-1]  # each contains the next one, and the last the first
            begin = found.index(next(name for name in self._inventory.groups if name in found))
            loop = [*found[begin:], *found[:begin], found[begin]]
            self._refuse(loop[-2], loop[-1], f"group {loop[-1]} contains itself: {' -> '.join(loop)}")

    def _depths(self, upward: Sequence[str]) -> Mapping[str, int]:
        """How far below `all` each group is, at most."""
        depths = {name: int(name != ALL) for name in upward}
        for name in reversed(upward):
            for child in self._children(name):
                depths[child] = max(depths[child], depths[name] + 1) if child != ALL else 0
                if depths[child] > DEPTH_MAX:
                    self._refuse(
                        name, child, f"groups are nested more than {DEPTH_MAX} deep, down to {child}"
                    )
        return depths

    def _members(self, upward: Sequence[str]) -> Mapping[str, Mapping[str, None]]:
        """The hosts of each group and of all below it."""
        found: dict[str, dict[str, None]] = {}
        count = 0
        for name in upward:
            group = self._inventory.groups.get(name)
            found[name] = dict(group.hosts) if group else {}
            for child in self._children(name):
                found[name].update(found[child])
                if count + len(found[name]) > MEMBERS_MAX:
                    what = (
                        f"its groups have more than {MEMBERS_MAX} hosts, each counted in every group it is in"
                    )
                    self._refuse(name, child, what)
            count += len(found[name])
        return found

    def _refuse(self, name: str, child: str, message: str) -> NoReturn:
        remedy = "take the loop out" if "itself" in message else "have fewer groups one inside the other"
        self._reader.note(self._children(name)[child], message, remedy)
        raise Invalid

    def _block(self, said: Mapping[str, Located]) -> HostBlock:
        """What holds for a host; notes what can't."""
        try:
            address = self._text(said.get(HOST), "ansible_host")
            if address is not None and address != ROOT_NAME:
                self._try(said[HOST], lambda: one_host(address))
            user = self._text(said.get(USER), "ansible_user")
            port = self._port(said.get(PORT))
            identity = self._identity(said.get(KEY))
        except Invalid:
            return HostBlock()
        ssh = self._ssh.setdefault((user, port, identity), SshOptions(user, port, identity))
        return HostBlock(Settings(ssh=ssh), Address(address, address))

    def _text(self, found: Located | None, variable: str) -> str | None:
        if found is None:
            return None
        if "{{" in found.text or "{%" in found.text:
            remedy = "write the value itself, or say it in a route file, which goes over the inventory"
            self._fail(found, f"{variable} is a template, and Nile works out none", remedy)
        if not found.text or not found.text.isprintable() or any(char.isspace() for char in found.text):
            self._fail(found, f"{found.text[:40]!a} can't be {variable}", "write it without blanks")
        return found.text

    def _port(self, found: Located | None) -> int | None:
        text = self._text(found, "ansible_port")
        if found is None or text is None:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536):
            self._fail(found, f"'{text[:40]}' is not a port", "write a number from 1 to 65535")
        return int(text)

    def _identity(self, found: Located | None) -> tuple[str, ...] | None:
        """A key file, if that is the same file wherever Nile is started."""
        if found is None:
            return None
        if found.text.startswith(("/", "~/")) and found.text.isprintable() and "{{" not in found.text:
            return (found.text,)
        self._inventory.passed_over["ansible_ssh_private_key_file (of no full path)"] = None
        return None

    def _try(self, found: Located, check: Callable[[], None]) -> None:
        try:
            check()
        except Refusal as refusal:
            self._fail(found, refusal.message, refusal.remedy)

    def _fail(self, found: Located, message: str, remedy: str) -> NoReturn:
        """Note an error, once for all hosts that a group says it of, and give the value up."""
        if (found.place, message) not in self._noted:
            self._noted.add((found.place, message))
            self._reader.note(found.place, message, remedy)
        raise Invalid

    def _remark(self, elsewhere: list[str]) -> None:
        """What a user should know of what was left out."""
        remarks, passed_over = self._inventory.remarks, self._inventory.passed_over
        if elsewhere:
            shown = ", ".join(elsewhere[:_NAMES_SHOWN]) + (", ..." if elsewhere[_NAMES_SHOWN:] else "")
            remarks.append(f"{shown}: left out, for ansible_connection isn't ssh")
        if passed_over:
            remarks.append(
                f"{', '.join(sorted(passed_over))}: not taken; Nile logs in with keys, and what ssh is to be"
                " told stands in a route file or in ssh_config"
            )


def over(document: Document, base: Document) -> Document:
    """A route file over its inventories: a group of both is the route file's."""
    groups = {**base.groups, **document.groups}
    return replace(document, groups=groups, inherited=base.inherited)


def joined(one: Document, other: Document) -> Document:
    """Two inventories as one: groups have the hosts of both; of a host the later one's word stands."""
    groups = dict(one.groups)
    for name, (key, block) in other.groups.items():
        if name in groups:
            known, had = groups[name]
            groups[name] = (known, GroupBlock((*had.hosts, *block.hosts), Settings()))
        else:
            groups[name] = (key, block)
    inherited = dict(one.inherited)
    for name, (key, later) in other.inherited.items():
        inherited[name] = (key, _later(later, inherited[name][1]) if name in inherited else later)
    return Document(groups=groups, inherited=inherited)


def _later(block: HostBlock, before: HostBlock) -> HostBlock:
    address = Address(
        block.address.root or before.address.root, block.address.inside or before.address.inside
    )
    return HostBlock(Settings(ssh=block.settings.ssh.over(before.settings.ssh)), address)
