"""Kinds of values in a route file: each reads a YAML node, and says its own JSON schema.

One description, two uses: validation (errors with line, column and remedy) and
the published schema can't drift apart. A `read` either returns a value or notes
its error with the `Reader` and raises `Invalid`; containers go on with the next
value first, so that one reading shows every error.
"""

# ruff: noqa: D102 - `read` and `schema` are documented once, at `Kind`.

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nile.topology import hostsets, ssh_keywords
from nile.topology.durations import DURATION, YEAR_S, seconds
from nile.topology.refusal import Refusal
from nile.topology.yamltree import Invalid, Located, Reader, pairs, scalar, string

T = TypeVar("T")
Schema = dict[str, Any]


class Kind(ABC, Generic[T]):
    """What may stand at one place."""

    what: str
    """What a value is, for errors: "a host set"."""

    @abstractmethod
    def read(self, node: Node, reader: Reader) -> T:
        """The value of a node; raises `Invalid` after noting the error."""

    @abstractmethod
    def schema(self) -> Schema:
        """The JSON schema (2020-12) of what `read` takes."""


@dataclass(frozen=True)
class Text(Kind[str]):
    """A string; `pattern` is what it must match as a whole, `remedy` says so in words."""

    what: str
    pattern: str = r"[^\s\x00-\x1f\x7f]+"
    remedy: str = "write it without blanks"

    def read(self, node: Node, reader: Reader) -> str:
        text = string(node, reader, self.what)
        if not re.fullmatch(self.pattern, text) or not text.isprintable():
            reader.fail(node, f"{text!a} can't be {self.what}", self.remedy)
        return text

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.pattern}$"}


@dataclass(frozen=True)
class HostSet(Kind[Located]):
    """A host set, expanded later, when all groups are known."""

    what: str = "a host set"

    def read(self, node: Node, reader: Reader) -> Located:
        text = string(node, reader, self.what)
        if not text.strip():
            reader.fail(node, "a host set is empty", 'name at least one host, as in "n[1-9]"')
        return Located(text, reader.place(node))

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Name(Kind[str]):
    """A name that `check` takes; for keys."""

    what: str
    check: Callable[[str], None]

    def read(self, node: Node, reader: Reader) -> str:
        text = string(node, reader, self.what)
        try:
            self.check(text)
        except Refusal as refusal:
            reader.fail(node, refusal.message, refusal.remedy)
        return text

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


def one_host(name: str) -> None:
    """Raise `Refusal` unless `name` is a host's and not a host set."""
    if re.search(r"[\[\]@,!&^*?]", name):
        raise Refusal(
            f"'{name}' is a host set where one host is expected", "make a group of it, or name one host"
        )
    hostsets.check_name(name)


@dataclass(frozen=True)
class Integer(Kind[int | None]):
    """A whole number from `low` to `high`; `none` allows that word, which gives None."""

    low: int
    high: int
    none: bool = False
    what: str = "a whole number"

    def read(self, node: Node, reader: Reader) -> int | None:
        text = scalar(node, reader, self.what)
        if not (self.none and text == "none"):
            return self._number(text, node, reader)
        return None

    def _number(self, text: str, node: Node, reader: Reader) -> int:
        if not re.fullmatch(r"0|[1-9]\d{0,17}", text) or not self.low <= int(text) <= self.high:
            also = ", or none" if self.none else ""
            some = f"{self.low}" if self.low == self.high else f"one from {self.low} to {self.high}"
            reader.fail(node, f"'{text}' is not {self.what}", f"write {some}{also}")
        return int(text)

    def schema(self) -> Schema:
        number: Schema = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"const": "none"}]} if self.none else number


@dataclass(frozen=True)
class Duration(Kind[float | None]):
    """Seconds, at most `most_s`; written with a unit. `none` allows that word, which gives None."""

    none: bool = False
    most_s: float = YEAR_S
    what: str = "a duration"

    def read(self, node: Node, reader: Reader) -> float | None:
        text = scalar(node, reader, self.what)
        if self.none and text == "none":
            return None
        try:
            return seconds(text, self.most_s)
        except Refusal as refusal:
            reader.fail(node, refusal.message, refusal.remedy + (", or none" if self.none else ""))

    def schema(self) -> Schema:
        text: Schema = {"type": "string", "pattern": f"^{DURATION.pattern}$"}
        return {"anyOf": [text, {"const": "none"}]} if self.none else text


_TRUTH = {"yes": True, "no": False, "on": True, "off": False}


@dataclass(frozen=True)
class Choice(Kind[T]):
    """One of some words. `yes`, `no`, `on` and `off` count as written, which YAML has for truth values."""

    words: Mapping[str, T]
    what: str = "one of some words"

    def read(self, node: Node, reader: Reader) -> T:
        text = scalar(node, reader, self.what)
        if text not in self.words:
            near = get_close_matches(text, list(self.words), n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            reader.fail(node, f"'{text}' is not {self.what}", f"{hint}write one of: {', '.join(self.words)}")
        return self.words[text]

    def schema(self) -> Schema:
        also: list[Any] = [_TRUTH[word] for word in self.words if word in _TRUTH]
        return {"enum": [*self.words, *also]}


@dataclass(frozen=True)
class OneOrMore(Kind[tuple[T, ...]]):
    """A value, or a list of them; `none` allows that word for the empty tuple."""

    kind: Kind[T]
    none: bool = False

    def read(self, node: Node, reader: Reader) -> tuple[T, ...]:
        if self.none and isinstance(node, ScalarNode) and node.value == "none":
            return ()
        if not isinstance(node, SequenceNode):
            return (self.kind.read(node, reader),)
        if not node.value:
            word = ", or write none" if self.none else ""
            reader.fail(node, "the list is empty", f"give {self.kind.what}{word}")
        return _all(node.value, reader, self.kind)

    def schema(self) -> Schema:
        one = self.kind.schema()
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _all(nodes: Sequence[Node], reader: Reader, kind: Kind[T]) -> tuple[T, ...]:
    """Read every node before giving up."""
    values: list[T] = []
    failed = False
    for node in nodes:
        try:
            values.append(kind.read(node, reader))
        except Invalid:
            failed = True
    if failed:
        raise Invalid
    return tuple(values)


@dataclass(frozen=True)
class MapOf(Kind[dict[str, tuple[Located, T]]]):
    """A mapping of names to values of one kind: name -> (the key as located, value)."""

    key: Name
    value: Kind[T]
    what: str = "a mapping"

    def read(self, node: Node, reader: Reader) -> dict[str, tuple[Located, T]]:
        values: dict[str, tuple[Located, T]] = {}
        failed = False
        for key, value in pairs(node, reader, self.what):
            try:
                name = self.key.read(key, reader)
                values[name] = (Located(name, reader.place(key)), self.value.read(value, reader))
            except Invalid:
                failed = True
        if failed:
            raise Invalid
        return values

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": self.value.schema()}


@dataclass(frozen=True)
class SshKeywords(Kind[Mapping[str, str]]):
    """ssh_config(5) keywords, in their canonical spelling, and values as they were written."""

    what: str = "ssh options"

    def read(self, node: Node, reader: Reader) -> Mapping[str, str]:
        values: dict[str, str] = {}
        failed = False
        for key, value in pairs(node, reader, self.what):
            try:
                keyword, text = self._option(key, value, reader)
                if keyword in values:
                    reader.fail(key, f"{keyword} is given twice", "keep one of them")
                values[keyword] = text
            except Invalid:
                failed = True
        if failed:
            raise Invalid
        return MappingProxyType(values)

    def _option(self, key: Node, value: Node, reader: Reader) -> tuple[str, str]:
        text = scalar(value, reader, "the value of an ssh option").strip()
        try:
            keyword = ssh_keywords.canonical(str(key.value))
            ssh_keywords.check_option(keyword, text)
        except Refusal as refusal:
            reader.fail(key, refusal.message, refusal.remedy)
        return keyword, text

    def schema(self) -> Schema:
        value: Schema = {"type": ["string", "integer", "boolean"]}
        taken = [word for word in ssh_keywords.KEYWORDS if word not in ssh_keywords.OWN_SETTING]
        return {
            "type": "object",
            "properties": dict.fromkeys(taken, value),
            "additionalProperties": value,
        }


@dataclass(frozen=True)
class Field:
    """One key of a record. `into` is the argument that its value becomes, if it isn't the key."""

    name: str
    kind: Kind[Any]
    doc: str
    required: bool = False
    into: str = ""
    default: str = ""
    """For the documentation: what holds where the key is absent."""


@dataclass(frozen=True)
class Record(Kind[T]):
    """A mapping with known keys. `build` gets the values that are given, and may raise `Refusal`.

    With `ref`, its schema is a reference to a definition of that name, which `definition` gives.
    """

    what: str
    build: Callable[..., T]
    fields: tuple[Field, ...]
    ref: str = ""

    def read(self, node: Node, reader: Reader) -> T:
        known = {field.name: field for field in self.fields}
        given: dict[str, Any] = {}
        failed = False
        for key, value in pairs(node, reader, self.what):
            try:
                field = known.get(key.value) or self._unknown(key, reader)
                given[field.into or field.name] = field.kind.read(value, reader)
                del known[key.value]
            except Invalid:
                known.pop(key.value, None)
                failed = True
        for missing in [field for field in known.values() if field.required]:
            reader.note(reader.place(node), f"`{missing.name}` is missing in {self.what}", missing.doc)
            failed = True
        if failed:
            raise Invalid
        try:
            return self.build(**given)
        except Refusal as refusal:
            reader.fail(node, refusal.message, refusal.remedy)

    def _unknown(self, key: Node, reader: Reader) -> Field:
        names = [field.name for field in self.fields]
        near = get_close_matches(str(key.value), names, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(names)}"
        reader.fail(key, f"'{key.value}' is unknown in {self.what}", remedy)

    def schema(self) -> Schema:
        return {"$ref": f"#/$defs/{self.ref}"} if self.ref else self.definition()

    def definition(self) -> Schema:
        """The schema itself, where `schema` may only refer to it."""
        schema: Schema = {
            "type": "object",
            "properties": {field.name: _described(field) for field in self.fields},
            "additionalProperties": False,
        }
        if required := [field.name for field in self.fields if field.required]:
            schema["required"] = required
        return schema


def _described(field: Field) -> Schema:
    text = field.doc + (f" Default: {field.default}." if field.default else "")
    return {"description": text, **field.kind.schema()}


@dataclass(frozen=True)
class MappingOr(Kind[T]):
    """A mapping of one kind, or a value of another one in short form."""

    mapping: Kind[T]
    short: Kind[T]

    def read(self, node: Node, reader: Reader) -> T:
        return (self.mapping if isinstance(node, MappingNode) else self.short).read(node, reader)

    def schema(self) -> Schema:
        return {"anyOf": [self.short.schema(), self.mapping.schema()]}


@dataclass(frozen=True)
class Made(Kind[T]):
    """A value of another kind, made into something by `make`, which may raise `Refusal`."""

    kind: Kind[Any]
    make: Callable[[Any], T]

    def read(self, node: Node, reader: Reader) -> T:
        value = self.kind.read(node, reader)
        try:
            return self.make(value)
        except Refusal as refusal:
            reader.fail(node, refusal.message, refusal.remedy)

    def schema(self) -> Schema:
        return self.kind.schema()
