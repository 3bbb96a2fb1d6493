"""The file that `nile exec --per-host` names: host sets, and what runs on the hosts of each.

    "@web": systemctl reload nginx
    db[1-3],db9: |
      pg_ctl status || exit 3
    default: uptime

`default` is for hosts that are asked for and that no host set names. No host
may be in two of them: which one was meant can't be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yaml.nodes import MappingNode, Node

from nile.errors import RouteFileError
from nile.topology.kinds import HostSet
from nile.topology.refusal import Refusal
from nile.topology.textfile import read_text
from nile.topology.yamltree import Invalid, Located, Reader, compose, pairs, string

DEFAULT = "default"
_REMEDY = 'write lines like `"@web": systemctl reload nginx`'


@dataclass(frozen=True)
class PerHost:
    """A whole file: host sets with their commands, and the one for all other hosts, if there is one."""

    file: str
    sets: tuple[tuple[Located, Located], ...]
    default: Located | None

    def named(self, expand: Callable[[str], Sequence[str]]) -> Mapping[str, Located]:
        """Hosts that host sets name, in their order, and what each runs.

        Raises `RouteFileError` for a host set that can't be expanded, and for a host in two of them.
        """
        found: dict[str, tuple[Located, Located]] = {}
        for where, line in self.sets:
            try:
                names = expand(where.text)
            except Refusal as refusal:
                raise _refused(where, refusal.message, refusal.remedy) from refusal
            for name in names:
                if name in found:
                    first = found[name][0]
                    remedy = f"the other one is at {first.place}; take it out of one"
                    raise _refused(where, f"{name} is in {where.text} and in {first.text}", remedy)
                found[name] = (where, line)
        return {name: line for name, (_, line) in found.items()}

    def of(self, hosts: Sequence[str], named: Mapping[str, Located]) -> dict[str, Located]:
        """What each of these hosts runs; raises `RouteFileError` where that isn't said of one."""
        found: dict[str, Located] = {}
        for host in hosts:
            line = named.get(host, self.default)
            if line is None:
                remedy = f"name it there, add `{DEFAULT}: COMMAND`, or choose other hosts"
                raise RouteFileError(f"it has no command for {host}", where=self.file, remedy=remedy)
            found[host] = line
        return found


def read_per_host(path: Path) -> PerHost:
    """The file; raises `RouteFileError`, the first of its errors."""
    reader = Reader(str(path))
    sets: list[tuple[Located, Located]] = []
    default: Located | None = None
    text = read_text(path, "a file of commands")
    if not text.strip():
        raise RouteFileError("the file is empty", where=f"{path}:1:1", remedy=_REMEDY)
    try:
        node = compose(text, reader)
        if not isinstance(node, MappingNode) or not node.value:
            reader.fail(node, "this is no mapping of host sets to commands", _REMEDY)
        for key, value in pairs(node, reader, "a file of commands"):
            try:
                line = _command(value, reader)
                if key.value == DEFAULT:
                    default = line
                else:
                    sets.append((HostSet().read(key, reader), line))
            except Invalid:
                continue  # it is noted; the others may have errors too
    except Invalid:
        pass
    if reader.errors:
        raise reader.errors[0]
    return PerHost(str(path), tuple(sets), default)


def _command(node: Node, reader: Reader) -> Located:
    text = string(node, reader, "a command")
    if "\0" in text or not text.strip():
        reader.fail(node, f"{text!a} can't be a command", "write what the hosts' shells are to read")
    return Located(text, reader.place(node))


def _refused(where: Located, message: str, remedy: str) -> RouteFileError:
    return RouteFileError(message, where=str(where.place), remedy=remedy)
