"""Host sets: ClusterShell's NodeSet syntax to host names, and back.

A host set is operands joined by `,` (and), `!` (but not), `&` (only those also
in) and `^` (in one of both), worked off from left to right, where an operand is
a name with ranges (`n[1-3,5]p[a-b]` as NodeSet has it), a group (`@rack1`,
`@source:group`, `@*` for all) or a wildcard (`db*`).

ClusterShell expands the ranges; the operators work here on plain Python strings.
That is deliberate: set algebra of NodeSet folds multi-dimensional sets at every
step, which takes minutes for thousands of hosts, and it is silent about groups
that are unknown or empty. Here both are errors, and 10,000 names take some 10 ms.
Names stay in the order in which they were written, without repetition.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

from nile.topology.model import ROOT_NAME
from nile.topology.refusal import Refusal

HOSTS_MAX = 100_000
"""More names than this in one range are taken for a slip of the finger."""

NAME_LENGTH_MAX = 253  # RFC 1035, 2.3.4: 255 octets on the wire

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_IPV6 = re.compile(r"(?=.*:.*:)[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FOREIGN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=:/%-]*")
"""Groups of other sources: a word to any shell, whatever comes before it."""
_OPERATOR = re.compile(r"[,!&^]")
_BRACKETS = re.compile(r"\[([^][]*)\]")
_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})(?:/(\d{1,18}))?")


class HostSetError(Refusal):
    """A host set that names nothing usable."""


GroupSource = Callable[[str, str | None], Sequence[str]]
"""Looks up (group, source or None) outside of the route file: host sets, or none where it is unknown.

The group `*` means all hosts of the source. It raises `HostSetError` for what it can't read.
"""


def no_groups(group: str, source: str | None) -> Sequence[str]:
    """A source of groups that knows none."""
    return ()


@dataclass(frozen=True)
class HostSets:
    """Expands host sets; `groups` are the route file's own, with names already expanded.

    `hosts` are the names that `@*` and wildcards stand for. `in_groups` says which of the hosts
    that a group or a wildcard brings in are taken (a host written by its name always is).
    """

    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hosts: Sequence[str] = ()
    source: GroupSource = no_groups
    in_groups: Callable[[str], bool] | None = None

    def expand(self, text: str) -> tuple[str, ...]:
        """The names that a host set stands for, at least one; raises `HostSetError`."""
        names = self._expand(text, None, ())
        if not names:
            raise HostSetError(
                f"host set '{text}' is empty", "what it names is taken out again by its operators"
            )
        return names

    def _expand(self, text: str, source: str | None, above: tuple[str, ...]) -> tuple[str, ...]:
        """`source` is where groups that name no source are looked up; `above` are the groups being read."""
        found: dict[str, None] = {}
        for operator, operand in _split(text):
            names = self._operand(operand, source, above)
            if operator == ",":
                found.update(dict.fromkeys(names))
            else:
                found = _combine(operator, found, dict.fromkeys(names))
        return tuple(found)

    def _operand(self, operand: str, source: str | None, above: tuple[str, ...]) -> Iterable[str]:
        if operand.startswith("@"):
            return self._groups(operand, source, above)
        if "*" in operand or "?" in operand:
            return self._wildcard(operand)
        return expand_ranges(operand)

    def _groups(self, operand: str, source: str | None, above: tuple[str, ...]) -> Iterable[str]:
        names: dict[str, None] = {}
        for one in [operand] if "*" in operand else _ranges(operand):
            names.update(dict.fromkeys(self._group(one, source, above)))
        return self._taken(names, operand)

    def _taken(self, names: Iterable[str], operand: str) -> Iterable[str]:
        """Those of the names of a group or wildcard that are wanted; at least one."""
        if self.in_groups is None:
            return names
        if not (taken := [name for name in names if self.in_groups(name)]):
            remedy = "such hosts carry others, and run no commands themselves"
            raise HostSetError(f"all hosts of {operand} are `relay: only`", remedy)
        return taken

    def _group(self, operand: str, source: str | None, above: tuple[str, ...]) -> Sequence[str]:
        """The hosts of one `@group` or `@source:group`."""
        group = operand[1:]
        if ":" in group:
            source, _, group = group.partition(":")
        own = self._own(group) if source is None else None
        names = own if own is not None else self._foreign(group, source, above)
        if names is None:
            raise HostSetError(f"group {operand} is unknown", self._remedy(group))
        if not names:
            raise HostSetError(f"group {operand} is empty", "a group that is named must have a host")
        return names

    def _own(self, group: str) -> Sequence[str] | None:
        if group == "*":
            return self.hosts or None
        return self.groups.get(group)

    def _foreign(self, group: str, source: str | None, above: tuple[str, ...]) -> Sequence[str] | None:
        _check_foreign(group, source)
        key = f"@{source or ''}:{group}"
        if key in above:
            raise HostSetError(f"group {key} contains itself", "take the loop out of the group's source")
        texts = self.source(group, source)
        if not texts:
            return None
        return self._expand(",".join(texts), source, (*above, key))

    def _wildcard(self, pattern: str) -> Iterable[str]:
        if not self.hosts:
            raise HostSetError(
                f"wildcard '{pattern}' has no hosts to choose from",
                "it chooses among a route file's hosts: give one with -r, or write a range like n[1-9]",
            )
        texts = expand_ranges(pattern, check=False)
        names = dict.fromkeys(name for one in texts for name in fnmatch.filter(self.hosts, one))
        if not names:
            raise HostSetError(f"no host of the route file matches '{pattern}'", "see `nile hosts`")
        return self._taken(names, f"'{pattern}'")

    def _remedy(self, group: str) -> str:
        if near := get_close_matches(group, list(self.groups), n=1):
            return f"did you mean @{near[0]}?"
        return "groups come from the route file (see `nile hosts`) and from ClusterShell's groups.conf"


def _combine(operator: str, left: dict[str, None], right: dict[str, None]) -> dict[str, None]:
    """Apply `!`, `&` or `^`, which need the whole of both sides."""
    if operator == "!":
        return {name: None for name in left if name not in right}
    if operator == "&":
        return {name: None for name in left if name in right}
    only_left = {name: None for name in left if name not in right}
    return only_left | {name: None for name in right if name not in left}


def _split(text: str) -> list[tuple[str, str]]:
    """Cut a host set at the operators outside of brackets: [(operator, operand)], the first with `,`."""
    if not text.strip():
        raise HostSetError("a host set is empty", "name at least one host, as in n[1-9]")
    if not text.strip().isprintable():
        raise HostSetError(f"a host set has unprintable characters: {text[:80]!a}", "take them out")
    plain = _BRACKETS.sub(lambda found: "[" + "." * len(found[1]) + "]", text)
    parts: list[tuple[str, str]] = []
    operator, start = ",", 0
    for found in _OPERATOR.finditer(plain):
        parts.append((operator, text[start : found.start()].strip()))
        operator, start = found[0], found.end()
    parts.append((operator, text[start:].strip()))
    for operator, operand in parts:
        if not operand:
            raise HostSetError(
                f"host set '{text}' lacks a name beside '{operator}'", "write it as in n[1-9],m1!n3"
            )
    return parts


def expand_ranges(text: str, *, check: bool = True) -> list[str]:
    """The names of one operand without group or wildcard; `check` that each can be a host's name."""
    names = _ranges(text)
    if check:
        for name in names:
            check_name(name)
    return names


def _ranges(text: str) -> list[str]:
    if "[" not in text and "]" not in text:
        return [text]
    _check_size(text)
    try:
        return list(NodeSet(text, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise HostSetError(f"'{text}' is no host set: {error}", "write ranges as in n[1-3,5]") from error


def _check_size(text: str) -> None:
    """Refuse a range that would fill the memory, before ClusterShell makes a set of it."""
    size = 1
    for found in _BRACKETS.finditer(text):
        ranges = _RANGE.findall(found[1])
        size *= max(1, sum(max(0, int(b) - int(a)) // max(1, int(step or 1)) + 1 for a, b, step in ranges))
    if size > HOSTS_MAX:
        raise HostSetError(f"'{text}' names {size} hosts", f"at most {HOSTS_MAX} are allowed in one range")


def check_name(name: str) -> None:
    """Raise `HostSetError` unless `name` can be a host's name or address."""
    if name == ROOT_NAME:
        raise HostSetError(
            f"a host can't be called '{ROOT_NAME}'",
            f"that word is the machine that runs Nile; take another name and write `address: {ROOT_NAME}`",
        )
    if len(name) <= NAME_LENGTH_MAX and (_NAME.fullmatch(name) or _IPV6.fullmatch(name)):
        return
    shown = name if name.isprintable() else ascii(name)
    raise HostSetError(f"'{shown[:80]}' can't be a host's name", _name_remedy(name))


def _name_remedy(name: str) -> str:
    if "@" in name[1:]:
        return "the user is given with -l, or in a route file as `user:`"
    if re.fullmatch(r"[^:]+:\d+", name):
        return "the port is given with -o Port=N, or in a route file as `port:`"
    if any(char.isspace() for char in name):
        return "names are separated by commas"
    if not name.isascii():
        return "write an international name in its ASCII form (xn--...)"
    return "names have letters, digits, '.', '-' and '_', and begin with a letter or digit"


def check_group_name(name: str) -> None:
    """Raise `HostSetError` unless `name` can be a group's name."""
    if not _GROUP.fullmatch(name):
        raise HostSetError(
            f"'{name}' can't be a group's name",
            "groups have letters, digits, '.', '-' and '_', without the @",
        )


def _check_foreign(group: str, source: str | None) -> None:
    """Refuse what would be more than a word to the shell in which ClusterShell looks a group up."""
    if (group == "*" or _FOREIGN.fullmatch(group)) and (source is None or _GROUP.fullmatch(source)):
        return
    name = f"@{source}:{group}" if source is not None else f"@{group}"
    raise HostSetError(
        f"{name[:80]!a} can't be looked up as a group",
        "such groups have letters, digits and . - _ + = : / %, and begin with a letter, digit or _",
    )


def fold(names: Iterable[str]) -> str:
    """Names as one short host set: n1, n2, n3 as n[1-3]."""
    return str(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order in which they fold, by numbers: n2 before n10; each once."""
    return list(NodeSet.fromlist(list(names), resolver=RESOLVER_NOGROUP))
