"""The file that `nile exec --per-host` names: host sets, and what runs on the hosts of each.

    "@web": systemctl reload nginx
    db[1-3],db9: |
      pg_ctl status || exit 3
    "@cache":
      script: ./warm.py
      args: [--fast, "two words"]
    default: uptime

`default` is for hosts that are asked for and that no host set names. No host
may be in two of them: which one was meant can't be told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yaml.nodes import MappingNode, Node, SequenceNode

from nile.errors import RouteFileError
from nile.options import Task
from nile.topology.kinds import HostSet
from nile.topology.refusal import Refusal
from nile.topology.scriptfile import STDIN, read_script
from nile.topology.textfile import read_text
from nile.topology.yamltree import Invalid, Located, Place, Reader, compose, pairs, string

DEFAULT = "default"
_REMEDY = 'write lines like `"@web": systemctl reload nginx`'
_SCRIPT_REMEDY = "write `script: FILE`, and if it has any, `args: [--fast, two]`"


@dataclass(frozen=True)
class Written:
    """What runs on hosts, as it is written: a line, or (`is_script`) a file's name and its arguments."""

    text: str
    place: Place
    is_script: bool = False
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class PerHost:
    """A whole file: host sets with what they run, and that of all other hosts, if there is any."""

    file: str
    sets: tuple[tuple[Located, Written], ...]
    default: Written | None

    def named(self, expand: Callable[[str], Sequence[str]]) -> Mapping[str, Written]:
        """Hosts that host sets name, in their order, and what each runs.

        Raises `RouteFileError` for a host set that can't be expanded, and for a host in two of them.
        """
        found: dict[str, tuple[Located, Written]] = {}
        for where, task in self.sets:
            try:
                names = expand(where.text)
            except Refusal as refusal:
                raise _refused(where, refusal.message, refusal.remedy) from refusal
            for name in names:
                if name in found:
                    first = found[name][0]
                    remedy = f"the other one is at {first.place}; take it out of one"
                    raise _refused(where, f"{name} is in {where.text} and in {first.text}", remedy)
                found[name] = (where, task)
        return {name: task for name, (_, task) in found.items()}

    def of(self, hosts: Sequence[str], named: Mapping[str, Written]) -> dict[str, Written]:
        """What each of these hosts runs; raises `RouteFileError` where that isn't said of one."""
        found: dict[str, Written] = {}
        for host in hosts:
            task = named.get(host, self.default)
            if task is None:
                remedy = f"name it there, add `{DEFAULT}: COMMAND`, or choose other hosts"
                raise RouteFileError(f"it has no command for {host}", where=self.file, remedy=remedy)
            found[host] = task
        return found


def read_per_host(path: Path) -> PerHost:
    """The file; raises `RouteFileError`, the first of its errors."""
    reader = Reader(str(path))
    sets: list[tuple[Located, Written]] = []
    default: Written | None = None
    text = read_text(path, "a file of commands")
    if not text.strip():
        raise RouteFileError("the file is empty", where=f"{path}:1:1", remedy=_REMEDY)
    try:
        node = compose(text, reader)
        if not isinstance(node, MappingNode) or not node.value:
            reader.fail(node, "this is no mapping of host sets to commands", _REMEDY)
        for key, value in pairs(node, reader, "a file of commands"):
            try:
                task = _script(value, reader) if isinstance(value, MappingNode) else _command(value, reader)
                if key.value == DEFAULT:
                    default = task
                else:
                    sets.append((HostSet().read(key, reader), task))
            except Invalid:
                continue  # it is noted; the others may have errors too
    except Invalid:
        pass
    if reader.errors:
        raise reader.errors[0]
    return PerHost(str(path), tuple(sets), default)


def read_tasks(written: Mapping[str, Written], directory: Path) -> dict[str, Task]:
    """What hosts run, with what is in their scripts, whose names are seen from that directory.

    Each is read once. Raises UsageError, which names the place.
    """
    read: dict[Written, Task] = {}
    for task in dict.fromkeys(written.values()):
        read[task] = task.text
        if task.is_script:
            read[task] = read_script(str(directory / task.text), task.args, f"{task.place}: script")
    return {host: read[task] for host, task in written.items()}


def _command(node: Node, reader: Reader) -> Written:
    text = string(node, reader, "a command")
    if "\0" in text or not text.strip():
        reader.fail(node, f"{text!a} can't be a command", "write what the hosts' shells are to read")
    return Written(text, reader.place(node))


def _script(node: MappingNode, reader: Reader) -> Written:
    said = {key.value: (key, value) for key, value in pairs(node, reader, "a script")}
    for name, (key, _) in said.items():
        if name not in ("script", "args"):
            reader.fail(key, f"a script has no '{name}'", _SCRIPT_REMEDY)
    if "script" not in said:
        reader.fail(node, "this names no script", _SCRIPT_REMEDY)
    file = said["script"][1]
    name = string(file, reader, "a script's name")
    if "\0" in name or not name or name == STDIN:
        reader.fail(file, f"{name!a} can't be a file", _SCRIPT_REMEDY)
    args = _args(said["args"][1], reader) if "args" in said else ()
    return Written(name, reader.place(file), True, args)


def _args(node: Node, reader: Reader) -> tuple[str, ...]:
    if not isinstance(node, SequenceNode):
        reader.fail(node, "the arguments are no list", _SCRIPT_REMEDY)
    return tuple(string(each, reader, "an argument") for each in node.value)


def _refused(where: Located, message: str, remedy: str) -> RouteFileError:
    return RouteFileError(message, where=str(where.place), remedy=remedy)
