"""What a copy would change, counted before it begins: once for all hosts that have the same. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nile.cascade import Errand, Tell
from nile.sync.targets import Difference, Step, Target
from nile.topology.model import ROOT_ID

Group = tuple[bytes, str]
"""Hosts with the same fingerprint, and owners compared alike: what they have is equal."""
Answer = Callable[[dict[str, Any], float], Iterator[Errand]]
Ask = Callable[[int, str, dict[str, Any], Answer | None], Tell]


class Counting:
    """One host of each group gets the source's manifest, and says what differs."""

    def __init__(self, targets: Mapping[int, Target], ask: Ask, checksum: bool) -> None:
        self._targets = targets
        self._ask = ask
        self._checksum = checksum
        self._found: dict[Group, Difference] = {}
        self._asked: dict[Group, int] = {}
        self._chunks: list[bytes] = []
        self._packed = False
        self._packing = False

    def of(self, target: Target) -> Difference | None:
        """What differs there, where that is known."""
        return self._found.get(_group(target))

    def complete(self, differing: list[Target]) -> bool:
        """Is it known of all of these?"""
        return all(_group(target) in self._found for target in differing if target.step is not Step.OVER)

    def go_on(self, differing: list[Target]) -> Iterator[Errand]:
        """Ask for what isn't known yet, of one of each group."""
        wanted = {_group(target): target for target in reversed(differing)}
        missing = {group: target for group, target in wanted.items() if group not in self._found}
        if not missing:
            return
        if not self._packed:
            if not self._packing:
                self._packing = True
                yield self._ask(ROOT_ID, "pack", {}, self._pack)
            return
        for group, target in missing.items():
            if group not in self._asked:
                self._asked[group] = target.id
                yield from self._compare(target)

    def gone(self, target: Target) -> None:
        """It answers no more: another one of its group has to."""
        self._asked = {group: asked for group, asked in self._asked.items() if asked != target.id}

    def _pack(self, message: dict[str, Any], _t: float) -> Iterator[Errand]:
        chunk = message["chunk"]
        if not isinstance(chunk, bytes):
            raise TypeError("a chunk that is no bytes")
        self._chunks.append(chunk)
        self._packed = message.get("more") is not True
        return iter(())

    def _compare(self, target: Target) -> Iterator[Errand]:
        for chunk in self._chunks:
            yield self._ask(target.id, "source", {"chunk": chunk}, None)
        yield self._ask(
            target.id, "compare", {"owner": target.owner, "checksum": self._checksum}, self._compared
        )

    def _compared(self, message: dict[str, Any], _t: float) -> Iterator[Errand]:
        self._found[_group(self._targets[message["from"]])] = Difference.of(message)
        return iter(())


def _group(target: Target) -> Group:
    return (target.found.fingerprint if target.found else b"", target.owner)
