"""Hosts without a verdict, by what they wait for: made of a run's status (docs/reference/json.md). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nile.report.folding import folded

WORDS = {"out": "not reached yet", "up": "up", "running": "running"}
"""The phases of hosts that aren't done."""
WAITS = {
    "pause": "kept back by the pause",
    "parent": "wait until {} is up",
    "queue": "wait for their turn to be logged in to by {}",
    "login": "being logged in to by {}",
    "contact": "out of contact, and looked for",
    "password": "wait for the password of sudo",
    "turn": "wait for their turn to start",
    "start": "told to start",
    "command": "the command runs",
    "output": "the last of what they wrote is on its way",
    "back": "away, to come back",
}


@dataclass(frozen=True, slots=True)
class Group:
    """Hosts of one stage that wait for the same; the one that has waited longest, for `longest_s`."""

    stage: int
    waits: str
    """One of `WAITS`."""
    below: frozenset[str]
    """Who logs in to them, or did."""
    longest_s: float
    hosts: tuple[str, ...]

    def said(self, words: Mapping[str, str]) -> str:
        """What they wait for, in words such as `WAITS` has."""
        said = words[self.waits]
        return said.format(folded(self.below)) if "{}" in said else said


def groups(hosts: Iterable[Mapping[str, Any]], elapsed_s: float) -> list[Group]:
    """Of open hosts, by stage; those of which nobody knows what they wait for are left out."""
    found: defaultdict[tuple[int, str], list[Mapping[str, Any]]] = defaultdict(list)
    for host in hosts:
        if host.get("waits") in WAITS:
            found[host["stage"], host["waits"]].append(host)
    return [_group(*key, alike, elapsed_s) for key, alike in sorted(found.items(), key=lambda item: item[0])]


def _group(stage: int, waits: str, hosts: list[Mapping[str, Any]], elapsed_s: float) -> Group:
    longest_s = max(0.0, elapsed_s - min(host["waits_since_s"] for host in hosts))
    below = frozenset(host["below"] for host in hosts)
    return Group(stage, waits, below, longest_s, tuple(host["host"] for host in hosts))
