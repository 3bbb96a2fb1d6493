"""How copies differ from the source, as the hosts say that get its manifest. Pure.

Before a copy begins, one host of those that have the same answers for all of
them: an estimate, that people are shown and asked about. Whether a host that
got its copy has all of the source only that host itself is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nile.cascade import Tell
from nile.cascade.verdicts import Judgement
from nile.sync.asking import Answer, Errands
from nile.sync.judging import told
from nile.sync.targets import Difference, Step, Target
from nile.topology.model import ROOT_ID

Group = tuple[bytes, str]
"""Hosts with the same fingerprint, and owners compared alike: what they have is equal, if they don't lie."""
Ask = Callable[[int, str, dict[str, Any], Answer | None], Tell]
Fail = Callable[[Target, Judgement], Errands]

AT_ONE_TIME = 8
"""Hosts that are told the manifest at one time: the root has all of it in memory for each."""


class Counting:
    """`fail(target, judgement)` gives the verdict on a host that can't answer.

    With `exact` every difference is told, else not all of those of attributes of directories.
    """

    def __init__(
        self, targets: Mapping[int, Target], ask: Ask, fail: Fail, checksum: bool, exact: bool
    ) -> None:
        self._targets = targets
        self._ask = ask
        self._fail = fail
        self._checksum = checksum
        self._exact = exact
        self._estimates: dict[Group, Difference] = {}
        self._asked: dict[Group, int] = {}
        self._own: dict[int, Difference] = {}
        self._comparing: set[int] = set()
        self._chunks: list[bytes] = []
        self._packed = False
        self._packing = False

    def estimate(self, target: Target) -> Difference | None:
        """What differs there, as far as another one that has the same says."""
        return self._estimates.get(self._group(target))

    def complete(self, differing: Iterable[Target]) -> bool:
        """Is there an estimate for all of these?"""
        return all(
            self._group(target) in self._estimates for target in differing if target.step is not Step.OVER
        )

    def is_asked(self, target: Target) -> bool:
        """Has it to answer, and not only to wait for its turn?"""
        return target.id in self._comparing

    def take_own(self, target: Target) -> Difference | None:
        """What differs there, as it says itself, if it was asked since it was scanned last; said once."""
        return self._own.pop(target.id, None)

    def go_on(self, differing: Iterable[Target]) -> Errands:
        """Ask one of each group of which there is no estimate."""
        wanted = {self._group(target): target for target in differing}
        for group, target in wanted.items():
            if (
                group not in self._estimates
                and group not in self._asked
                and len(self._comparing) < AT_ONE_TIME
            ):
                yield from self._compare(target)
                if target.id in self._comparing:
                    self._asked[group] = target.id

    def go_on_each(self, copied: Iterable[Target]) -> Errands:
        """Ask each of these."""
        for target in copied:
            if (
                target.id not in self._comparing
                and target.id not in self._own
                and len(self._comparing) < AT_ONE_TIME
            ):
                yield from self._compare(target)

    def gone(self, target: Target) -> None:
        """It answers no more: another one of its group has to."""
        self._comparing.discard(target.id)
        self._asked = {group: asked for group, asked in self._asked.items() if asked != target.id}

    def _pack(self, message: dict[str, Any], _t: float) -> Errands:
        chunk = message["chunk"]
        if not isinstance(chunk, bytes):
            raise TypeError("a chunk that is no bytes")
        self._chunks.append(chunk)
        self._packed = message.get("more") is not True
        return iter(())

    def _compare(self, target: Target) -> Errands:
        if not self._packed:
            if not self._packing:
                self._packing = True
                yield self._ask(ROOT_ID, "pack", {}, self._pack)
            return
        self._comparing.add(target.id)
        for chunk in self._chunks:
            yield self._ask(target.id, "source", {"chunk": chunk}, None)
        fields = {"owner": target.owner, "checksum": self._checksum}
        yield self._ask(target.id, "compare", fields, self._compared)

    def _compared(self, message: dict[str, Any], _t: float) -> Errands:
        target = self._targets[message["from"]]
        self._comparing.discard(target.id)
        if message.get("code"):
            yield from self._fail(target, told(message))
            return
        found = Difference.of(message)
        self._own[target.id] = found
        self._estimates.setdefault(self._group(target), found)

    def _group(self, target: Target) -> Group:
        found = target.found
        if found is None:
            return (b"", target.owner)
        # How much is to come depends on what a copy may be linked to.
        terms = f"{target.owner} {target.current}"
        return (found.fingerprint if self._exact else found.like, terms)
