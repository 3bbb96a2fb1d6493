"""The file that `--repos` names: several repositories, and which hosts get each of them.

    - source: /srv/builds/site/
      dest: /srv/site
      exclude: "*.tmp"
      hosts: "@web"
    - {source: [app.conf, certs], dest: /etc/app}

A source that isn't absolute is one of the file's own directory.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yaml.nodes import Node, SequenceNode

from nile.errors import RouteFileError
from nile.topology.kinds import Field, HostSet, Kind, OneOrMore, Record
from nile.topology.kinds import Schema as JsonSchema
from nile.topology.refusal import Refusal
from nile.topology.textfile import read_text
from nile.topology.yamltree import Invalid, Located, Reader, compose, string

_REMEDY = "write lines like `- {source: site/, dest: /srv/site}`"


@dataclass(frozen=True)
class Repository:
    """One of them, as it was written, and the places where that stands; `hosts` is empty for all of them."""

    source: tuple[Located, ...]
    dest: Located
    exclude: tuple[Located, ...] = ()
    hosts: tuple[Located, ...] = ()

    def names(self, expand: Callable[[str], Sequence[str]], chosen: Sequence[str]) -> frozenset[str]:
        """The chosen hosts that get it; raises `RouteFileError` where a host set can't be expanded."""
        if not self.hosts:
            return frozenset(chosen)
        found: set[str] = set()
        for word in self.hosts:
            try:
                found.update(expand(word.text))
            except Refusal as refusal:
                raise refused(word, refusal.message, refusal.remedy) from refusal
        return frozenset(found.intersection(chosen))


@dataclass(frozen=True)
class _Words(Kind[Located]):
    """A string of any characters but line ends."""

    what: str

    def read(self, node: Node, reader: Reader) -> Located:
        text = string(node, reader, self.what)
        if not text or "\n" in text or "\0" in text:
            reader.fail(node, f"{text!a} can't be {self.what}", f"give {self.what} on one line")
        return Located(text, reader.place(node))

    def schema(self) -> JsonSchema:
        return {"type": "string", "minLength": 1}


_REPOSITORY = Record(
    "a repository",
    Repository,
    (
        Field("source", OneOrMore(_Words("a path on this machine")), "What is copied.", required=True),
        Field("dest", _Words("a path on the hosts"), "The directory that gets it.", required=True),
        Field("exclude", OneOrMore(_Words("a pattern")), "What is left out, as rsync(1) has it."),
        Field("hosts", OneOrMore(HostSet()), "Which of the chosen hosts get it."),
    ),
)


def read_repositories(path: Path) -> tuple[Repository, ...]:
    """Those of a file, in its order, at least one; raises `RouteFileError`, the first of its errors."""
    reader = Reader(str(path))
    found: list[Repository] = []
    try:
        text = read_text(path)
        if not text.strip():
            raise RouteFileError("the file is empty", where=f"{path}:1:1", remedy=_REMEDY)
        node = compose(text, reader)
        if not isinstance(node, SequenceNode) or not node.value:
            reader.fail(node, "this is no list of repositories", _REMEDY)
        for each in node.value:
            try:
                found.append(_REPOSITORY.read(each, reader))
            except Invalid:
                continue  # it is noted; the others may have errors too
    except Invalid:
        pass
    if reader.errors:
        raise reader.errors[0]
    _check_apart(found)
    return tuple(found)


def _check_apart(found: Sequence[Repository]) -> None:
    """No two may write to one place, nor one below another's, since each clears up behind itself."""
    for number, one in enumerate(found):
        for other in found[:number]:
            ours, theirs = _parts(one.dest.text), _parts(other.dest.text)
            common = min(len(ours), len(theirs))
            if ours[:common] == theirs[:common]:
                message = f"{one.dest.text} and {other.dest.text} are not apart"
                raise refused(
                    one.dest, message, f"the other one is at {other.dest.place}; give separate ones"
                )


def _parts(path: str) -> list[str]:
    """The names on the way there, however that is written."""
    return [name for name in posixpath.normpath(path).split("/") if name]


def refused(word: Located, message: str, remedy: str) -> RouteFileError:
    """The error for what stands there."""
    return RouteFileError(message, where=str(word.place), remedy=remedy)
