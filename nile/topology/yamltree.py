"""YAML text to a tree of nodes that know their line and column, and errors that name them.

The values of YAML are not used, only its nodes: a loader turns `no` into False,
`010` into 8 and `1:30` into 90 before anyone can object. Anchors, aliases and
merge keys (`<<`) work; a key given twice is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from nile.errors import RouteFileError

DEPTH_MAX = 100
"""Nested deeper than this is no route file; libyaml itself would go on until the stack is used up."""

_TAG = "tag:yaml.org,2002:"
_STRING, _MERGE = f"{_TAG}str", f"{_TAG}merge"
# Plain words that PyYAML takes for strings and YAML 1.2 (so, editors and other tools) for numbers.
_NUMBER = re.compile(r"[-+]?(\.\d+|\d[\d_]*(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+")
_CLOSERS = {"]": "[", "}": "{"}

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Located:
    """A string and where it stands."""

    text: str
    place: Place


class Invalid(Exception):
    """A value was refused; the error is already among those of the `Reader`."""


class Reader:
    """Knows the file's name and gathers what is wrong in it, so that one reading shows every error."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.errors: list[RouteFileError] = []
        self.merged: dict[int, list[tuple[ScalarNode, Node]]] = {}
        """What `_merge` found for a node (by id): aliases can bring the same one in thousands of times."""

    def place(self, node: Node) -> Place:
        """Where a node begins."""
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def note(self, place: Place, message: str, remedy: str) -> None:
        """Add an error."""
        self.errors.append(RouteFileError(message, where=str(place), remedy=remedy))

    def fail(self, node: Node, message: str, remedy: str) -> NoReturn:
        """Add an error, and give the value up."""
        self.note(self.place(node), message, remedy)
        raise Invalid


def compose(text: str, reader: Reader) -> Node:
    """The one document of `text`; raises `RouteFileError`."""
    _check_depth(text, reader)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except RecursionError as error:  # of the parser in Python, where there is no libyaml
        raise _too_deep(reader) from error
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, reader) from error
    except yaml.YAMLError as error:  # the stream itself: control characters, bad encoding
        line, column = _line_column(text, getattr(error, "position", 0) or 0)
        message = f"not YAML: {getattr(error, 'reason', None) or 'unreadable character'}"
        raise RouteFileError(
            message, where=str(Place(reader.file, line, column)), remedy="take the character out"
        ) from error
    if node is None:
        raise RouteFileError(
            "the file is empty", where=f"{reader.file}:1:1", remedy="begin with `version: 1`"
        )
    return node


def _syntax_error(error: yaml.MarkedYAMLError, reader: Reader) -> RouteFileError:
    mark = error.problem_mark or error.context_mark
    where = str(Place(reader.file, mark.line + 1, mark.column + 1)) if mark else reader.file
    remedy = "check brackets, quotes and indentation (spaces only)"
    if error.problem and "another document" in error.problem:
        remedy = "a route file is one document: take the `---` out"
    return RouteFileError(f"not YAML: {error.problem or error.context}", where=where, remedy=remedy)


def _line_column(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - before.rfind("\n")


def _check_depth(text: str, reader: Reader) -> None:
    """Refuse nesting that only an accident or an attack makes, by a count that may err on the safe side."""
    depth = deepest = 0
    for line in text.splitlines():
        deepest = max(deepest, (len(line) - len(line.lstrip(" -?"))) // 2)
        for char in line:
            if char in "[{":
                depth += 1
            elif char in _CLOSERS:
                depth = max(0, depth - 1)
        deepest = max(deepest, depth)
    if deepest > 10 * DEPTH_MAX:
        raise _too_deep(reader)


def _too_deep(reader: Reader) -> RouteFileError:
    remedy = f"a tree has at most {DEPTH_MAX} levels"
    return RouteFileError("nested too deeply", where=f"{reader.file}:1:1", remedy=remedy)


def string(node: Node, reader: Reader, what: str) -> str:
    """The text of a node that must be a string in YAML; `what` names it ("a host set") for the error."""
    text = scalar(node, reader, what)
    plain = isinstance(node, ScalarNode) and not node.style  # '' by libyaml, None by the Python parser
    if plain and (node.tag != _STRING or _NUMBER.fullmatch(text)):
        reader.fail(node, f"{text or 'nothing'} is not a string in YAML", f'{what} must be quoted: "{text}"')
    return text


def scalar(node: Node, reader: Reader, what: str) -> str:
    """The text of a node as it was written, whatever YAML would make of it."""
    if not isinstance(node, ScalarNode):
        kind = "a mapping" if isinstance(node, MappingNode) else "a list"
        reader.fail(node, f"{kind} stands here", f"{what} is expected")
    if not node.tag.startswith(_TAG):
        reader.fail(node, f"the tag {node.tag} is not allowed", "take the tag out")
    return str(node.value)


def pairs(node: Node, reader: Reader, what: str) -> list[tuple[ScalarNode, Node]]:
    """The keys (all strings, none twice) and values of a mapping, merge keys resolved.

    What stands in the mapping itself wins over what it merges in, and a mapping merged first over later ones.
    """
    if not isinstance(node, MappingNode):
        reader.fail(node, f"{what} must be a mapping", "write `key: value` pairs")
    own: dict[str, tuple[ScalarNode, Node]] = {}
    merged: dict[str, tuple[ScalarNode, Node]] = {}
    for key, value in node.value:
        if key.tag == _MERGE:
            for pair in _merge(value, reader, (node,)):
                merged.setdefault(pair[0].value, pair)
            continue
        name = string(key, reader, f"a key of {what}")
        if name in own:
            first = reader.place(own[name][0])
            reader.fail(key, f"'{name}' is given twice", f"the first one is at {first}; keep one of them")
        own[name] = (key, value)
    return list({**merged, **own}.values())


def _merge(node: Node, reader: Reader, above: tuple[Node, ...]) -> list[tuple[ScalarNode, Node]]:
    """The pairs that `<<` brings in: of a mapping, or of a list of mappings."""
    if any(node is one for one in above):
        reader.fail(node, "a mapping is merged into itself", "take the loop out")
    if id(node) not in reader.merged:
        reader.merged[id(node)] = _merged(node, reader, above)
    return reader.merged[id(node)]


def _merged(node: Node, reader: Reader, above: tuple[Node, ...]) -> list[tuple[ScalarNode, Node]]:
    if isinstance(node, yaml.SequenceNode):
        parts = [pair for part in node.value for pair in _merge(part, reader, (*above, node))]
        return list({key.value: (key, value) for key, value in reversed(parts)}.values())
    if not isinstance(node, MappingNode):
        reader.fail(node, "<< must name a mapping", "write `<<: *anchor`")
    found: dict[str, tuple[ScalarNode, Node]] = {}
    later: list[tuple[ScalarNode, Node]] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            later += _merge(value, reader, (*above, node))
        else:
            found[string(key, reader, "a key")] = (key, value)
    for pair in later:
        found.setdefault(pair[0].value, pair)
    return list(found.values())
