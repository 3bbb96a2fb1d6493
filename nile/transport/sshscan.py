"""A light look at ssh_config files: which hosts can they tell apart?

`ssh -G` gives the truth, at 5 ms a host. Hosts that match the same `Host` and
`Match host` patterns get the same answer, so one of them can be asked for all.
Nothing here interprets settings; where a file asks for more than patterns
(a program to run, canonical names), the scan says that it can't tell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nile.transport.patterns import Patterns

MAX_DEPTH = 16
"""Of includes, as in OpenSSH."""

_DIRECTIVE = re.compile(r"\s*([A-Za-z0-9]+)\s*=?\s*(.*)")
_HOST_CRITERIA = ("host", "originalhost")
_SAME_FOR_ALL = (
    "all",
    "canonical",
    "final",
    "localuser",
    "localnetwork",
    "tagged",
    "user",
    "version",
    "sessiontype",
    "command",
)
_WITHOUT_ARGUMENT = ("all", "canonical", "final")


@dataclass(slots=True)
class ConfigScan:
    """What some ssh_config files can tell hosts apart by."""

    questions: list[Patterns] = field(default_factory=list)
    asks_more: bool = False
    """Hosts with equal answers may still differ: ask `ssh -G` for each."""
    matches_hostname: bool = False
    """A `Match host` is there: it compares HostName, where that is set."""
    says_something: bool = False
    """There is at least one directive."""
    _rewrites_names: bool = False

    def answers(self, name: str) -> tuple[bool, ...]:
        """What tells `name` apart; hosts with equal answers are alike."""
        return tuple(question.match(name) for question in self.questions)

    @property
    def inexact(self) -> bool:
        """Answers aren't enough."""
        return self.asks_more or (self.matches_hostname and self._rewrites_names)

    def add(self, keyword: str, words: Sequence[str]) -> None:
        """Take note of one directive."""
        self.says_something = True
        if keyword == "host":
            self.questions.append(Patterns(words))
        elif keyword == "match":
            self._add_match(words)
        elif keyword == "hostname":
            self._rewrites_names = self._rewrites_names or any("%" in word for word in words)
        elif keyword == "canonicalizehostname":
            self.asks_more = self.asks_more or [word.lower() for word in words] != ["no"]

    def _add_match(self, words: Sequence[str]) -> None:
        for criterion, argument in _criteria(words):
            if criterion in _HOST_CRITERIA:
                self.questions.append(Patterns(argument.split(",")))
                self.matches_hostname = self.matches_hostname or criterion == "host"
            elif criterion not in _SAME_FOR_ALL:
                self.asks_more = True


def scan(files: Iterable[tuple[Path, Path]]) -> ConfigScan:
    """Scan ssh_config files: pairs of a file and the directory that its includes are relative to.

    Files that can't be read are left to `ssh -G`, which complains or not.
    """
    found = ConfigScan()
    for path, base in files:
        for keyword, words in _directives(path, base, found, 0):
            found.add(keyword, words)
    return found


def _directives(path: Path, base: Path, found: ConfigScan, depth: int) -> Iterator[tuple[str, Sequence[str]]]:
    try:
        text = path.read_text("utf-8", "surrogateescape")
    except OSError:
        return
    for line in text.splitlines():
        keyword, words = _split(line)
        if keyword != "include":
            if keyword:
                yield keyword, words
            continue
        for word in words:
            if "%" in word or "${" in word or depth >= MAX_DEPTH:
                found.asks_more = True
                continue
            for name in _expand(base / Path(word).expanduser()):
                yield from _directives(name, base, found, depth + 1)


def _expand(path: Path) -> list[Path]:
    """The files that an Include names, in the order of their names."""
    return sorted(Path("/").glob(str(path.absolute()).lstrip("/")))


def _split(line: str) -> tuple[str, Sequence[str]]:
    """Keyword in lower case and arguments; an empty keyword for a comment or an empty line."""
    match = _DIRECTIVE.match(line)
    if match is None:
        return "", ()
    head, rest = match.groups()
    try:
        return head.lower(), shlex.split(rest, comments=True)
    except ValueError:
        return head.lower(), rest.split()


def _criteria(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The criteria of a Match line with their arguments."""
    rest = list(words)
    while rest:
        criterion, equals, argument = rest.pop(0).lstrip("!").partition("=")
        criterion = criterion.lower()
        if not equals and criterion not in _WITHOUT_ARGUMENT and rest:
            argument = rest.pop(0)
        yield criterion, argument
