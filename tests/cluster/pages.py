"""Examples of a page, run one after the other, and what they say held against what the page says."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from nile.lab import Lab

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```console\n(\$ .*?)^```", re.MULTILINE | re.DOTALL)
_RUN = re.compile(r"\b[0-9a-f]{8}\b")
_SHAPES = (
    (re.compile(r"\b\d+(\.\d+)? (bytes|[KMGT]iB)\b"), "SIZE"),
    (re.compile(r"\b\d+(\.\d+)? s\b"), "TIME"),
    (re.compile(r"into /\S+"), "into DIR"),
    (re.compile(r"routes: /\S+"), "routes: FILE"),
    (re.compile(r"\bpid \d+"), "pid PID"),
    (re.compile(r"^(\S+: +)\d+( [a-z-]+)$"), r"\1PID\2"),
    (re.compile(r" +"), " "),
)
_WHY = re.compile(r"(nile: unreachable: [^:]*:).*")
"""How a host that is out of reach shows depends on the network, and so does what helps."""


class Example:
    """A command, and the lines that the page shows below it."""

    def __init__(self, command: str, shown: list[str]) -> None:
        self.command = command
        self.shown = shown


def examples(page: str) -> Iterator[Example]:
    """All of a page, in order; blocks that don't begin with a command aren't any."""
    for block in _BLOCK.findall((DOCS / page).read_text()):
        commands: list[Example] = []
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(Example(line[2:], []))
            else:
                commands[-1].shown.append(line)
        yield from commands


class Reader:
    """Who follows a page in a directory of a lab's root machine; runs are called there as on the page."""

    def __init__(self, lab: Lab, here: Path, environment: Mapping[str, str]) -> None:
        self._lab = lab
        self._here = here
        self._environment = environment
        self.runs: dict[str, str] = {}
        """Ids of runs: those of the page -> those here."""

    def follow(self, example: Example, *, loosely: bool = False) -> str:
        """Do it; what was said, if that isn't what is shown, else nothing.

        `loosely`: what is shown only has to be among it, in any order.
        """
        command = _RUN.sub(lambda found: self.runs.get(found[0], found[0]), example.command)
        done = subprocess.run(
            self._lab.root_argv(["bash", "-c", f"{{ {command}\n}} 2>&1"], self._here),
            cwd=self._here,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        said = done.stdout.splitlines()
        self._learn(example.shown, said)
        back = {here: page for page, here in self.runs.items()}
        said = [_RUN.sub(lambda found: back.get(found[0], found[0]), line) for line in said]
        shown, lines = _shapes(example.shown), _shapes(said)
        well = _matches(shown, lines) if shown else done.returncode == 0
        if loosely:
            well = not Counter(line for line in shown if line != "...") - Counter(lines)
        return "" if well else f"$ {command}\n{done.stdout}"

    def _learn(self, shown: list[str], said: list[str]) -> None:
        """A run is named in the last line."""
        for page, here in zip(shown[-1:], said[-1:], strict=False):
            for mine, theirs in zip(_RUN.findall(page), _RUN.findall(here), strict=False):
                self.runs[mine] = theirs


def _shapes(lines: list[str]) -> list[str]:
    """What of them doesn't depend on the moment."""
    found = []
    skips = False
    for line in lines:
        if skips and line.startswith("  "):
            continue  # the remedy
        skips = _WHY.match(line) is not None
        text = _WHY.sub(r"\1", line.rstrip())
        for pattern, shape in _SHAPES:
            text = pattern.sub(shape, text)
        found.append(text)
    return found


def _matches(shown: list[str], said: list[str]) -> bool:
    """Are these the same lines, where `...` stands for any?"""
    if not shown:
        return not said
    if shown[0] == "...":
        return any(_matches(shown[1:], said[at:]) for at in range(len(said) + 1))
    return bool(said) and shown[0] == said[0] and _matches(shown[1:], said[1:])
