"""Ansible's inventories in INI form, as its `ini` plugin reads them.

    mail.example.org                      a host in no group
    [web]
    web[01:20].example.org ansible_port=2222
    [site:children]
    web
    [site:vars]
    ansible_user=deploy

Lines that begin with `#` or `;` are comments, and what follows a `#` is one.
"""

from __future__ import annotations

import re
import shlex

from nile.topology.hostsets import check_group_name
from nile.topology.inventory.model import ALL, UNGROUPED, Inventory
from nile.topology.inventory.ranges import expand, split_port
from nile.topology.inventory.variables import PORT, take
from nile.topology.refusal import Refusal
from nile.topology.yamltree import Located, Place, Reader

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_COMMENT = re.compile(r"\s#.*")


def read_ini(text: str, reader: Reader) -> Inventory:
    """All that the text says; what is wrong is noted with the reader."""
    ini = _Ini(reader.file)
    for number, line in enumerate(text.splitlines(), 1):
        if (stripped := line.strip()) and stripped[0] not in "#;":
            place = Place(reader.file, number, len(line) - len(line.lstrip()) + 1)
            try:
                ini.line(stripped, place)
            except Refusal as refusal:
                reader.note(place, refusal.message, refusal.remedy)
    ini.check(reader)
    return ini.inventory


class _Ini:
    """Reads line by line; what it says goes to the section that was opened last."""

    def __init__(self, file: str) -> None:
        self.inventory = Inventory()
        self.inventory.group(UNGROUPED, Place(file, 1, 1))
        self._group = UNGROUPED
        self._read = self._host
        self._named: dict[str, Place] = {}
        """Groups that must have a section of their own somewhere."""
        self._sections = {ALL, UNGROUPED}

    def line(self, text: str, place: Place) -> None:
        """Take one line in; raises `Refusal`."""
        if section := _SECTION.fullmatch(text):
            self._open(section[1], section[2], place)
        elif text.startswith("[") and text.endswith("]") and ":" not in text:
            raise Refusal(f"{text} is no section", "write [group], [group:children] or [group:vars]")
        else:
            self._read(text, place)

    def check(self, reader: Reader) -> None:
        """Note groups that are named and not there."""
        for name, place in self._named.items():
            if name not in self._sections:
                reader.note(place, f"group {name} is unknown", f"write a section [{name}]")

    def _open(self, group: str, kind: str | None, place: Place) -> None:
        kinds = {None: self._host, "hosts": self._host, "children": self._child, "vars": self._variable}
        if kind not in kinds:
            raise Refusal(f"a section can't be '{kind}'", "write [group], [group:children] or [group:vars]")
        check_group_name(group)
        self._group, self._read = group, kinds[kind]
        self.inventory.group(group, place)
        if kind == "vars":
            self._named.setdefault(group, place)
        else:
            self._sections.add(group)

    def _host(self, text: str, place: Place) -> None:
        try:
            first, *words = shlex.split(text, comments=True)
        except ValueError as error:
            raise Refusal(f"not readable: {str(error).lower()}", "close the quotation mark") from error
        pattern, port = split_port(first)
        for name in expand(pattern):
            said = self.inventory.host(name, place, self._group).said
            if port:
                said[PORT] = Located(port, place)
            for word in words:
                variable, equals, value = word.partition("=")
                if not equals:
                    raise Refusal(
                        "behind the host stands a word without '='", "write key=value there, one host a line"
                    )
                take(variable, Located(value, place), said, self.inventory)

    def _child(self, text: str, place: Place) -> None:
        name = _COMMENT.sub("", text).strip()
        check_group_name(name)
        self._named.setdefault(name, place)
        self.inventory.group(self._group, place).children[name] = place

    def _variable(self, text: str, place: Place) -> None:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not _VARIABLE.fullmatch(name):
            raise Refusal("no variable stands here", "write key=value")
        value = _COMMENT.sub("", value).strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        take(name, Located(value, place), self.inventory.groups[self._group].said, self.inventory)
