"""How copies differ from the source, as the hosts say that get its manifest. Pure.

Before a copy begins, one host of those that have the same answers for all of
them: an estimate, that people are shown and asked about. It is asked as soon as
it is known to differ, while others still look at what they have. Whether a host
that got its copy has all of the source only that host itself is asked.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from nile.cascade import Tell
from nile.cascade.verdicts import Judgement
from nile.sync.asking import Answer, Errands
from nile.sync.judging import told
from nile.sync.roster import Roster
from nile.sync.targets import Difference, Step, Target
from nile.topology.model import ROOT_ID

Group = tuple[bytes, str]
"""Hosts with the same fingerprint, and owners compared alike: what they have is equal, if they don't lie."""
Ask = Callable[[int, str, dict[str, Any], Answer | None], Tell]
Fail = Callable[[Target, Judgement], Errands]

AT_ONE_TIME = 8
"""Hosts that are told the manifest at one time: the root has all of it in memory for each."""
SLOW_LINK = 64 * 1024
"""Bytes a second: as long as the manifest comes, a host has nothing to say."""


class Counting:
    """`fail(target, judgement)` gives the verdict on a host that can't answer.

    With `exact` every difference is told, else not all of those of attributes of directories.
    """

    def __init__(self, targets: Roster, ask: Ask, fail: Fail, checksum: bool, exact: bool) -> None:
        self._targets = targets
        self._ask = ask
        self._fail = fail
        self._checksum = checksum
        self._exact = exact
        self._estimates: dict[Group, Difference] = {}
        self._members: defaultdict[Group, list[Target]] = defaultdict(list)
        """Those of them that may yet be asked."""
        self._groups: deque[Group] = deque()
        """Those of which there is no estimate, and nobody is asked for one."""
        self._asked: dict[int, Group] = {}
        """By the id of the one that is asked."""
        self._each: deque[Target] = deque()
        """Those that got their copy, and have yet to be asked."""
        self.first: tuple[Target, Difference] | None = None
        """Who has said first what differs there."""
        self._own: dict[Target, Difference] = {}
        self._comparing: set[int] = set()
        self._chunks: list[bytes] = []
        self._packed = False
        self._packing = False
        targets.watch(self._moved)

    def estimate(self, target: Target) -> Difference | None:
        """What differs there, as far as another one that has the same says."""
        return self._estimates.get(self._group(target))

    def is_asked(self, target: Target) -> bool:
        """Has it to answer, and not only to wait for its turn?"""
        return target.id in self._comparing

    @property
    def coming_s(self) -> float:
        """For how long the manifest may be under way to a host that is asked."""
        return sum(map(len, self._chunks)) * AT_ONE_TIME / SLOW_LINK

    def answered(self) -> list[tuple[Target, Difference]]:
        """Those that got their copy and say what differs there nevertheless; each is told once."""
        own, self._own = self._own, {}
        return sorted(own.items(), key=lambda each: each[0].id)

    @property
    def complete(self) -> bool:
        """Is there an estimate for all that differ?"""
        return self._group_without() is None and not self._asked

    def go_on(self) -> Errands:
        """Ask one of each group of which there is no estimate, and each of those that got their copy."""
        if not self._packed:
            if (self._group_without() is not None or self._each) and not self._packing:
                self._packing = True
                yield self._ask(ROOT_ID, "pack", {}, self._pack)
            return
        while len(self._comparing) < AT_ONE_TIME and (target := self._next()) is not None:
            yield from self._compare(target)

    def _next(self) -> Target | None:
        if (group := self._group_without()) is not None:
            self._groups.popleft()
            target = self._members[group].pop()
            self._asked[target.id] = group
            return target
        while self._each:
            target = self._each.popleft()
            if target.step is Step.COMPARING:
                return target
        return None

    def _group_without(self) -> Group | None:
        """The first one without an estimate that has members who can be asked."""
        while self._groups:
            members = self._members[self._groups[0]]
            while members and members[-1].step is Step.OVER:
                members.pop()
            if members:
                return self._groups[0]
            del self._members[self._groups.popleft()]
        return None

    def _moved(self, target: Target, before: Step) -> None:
        if target.step is Step.DIFFERS and before is Step.SCANNING:
            self._differs(target)
        elif target.step is Step.COMPARING:
            self._each.append(target)
        elif target.step is Step.OVER:  # another one of its group has to answer
            self._comparing.discard(target.id)
            if (group := self._asked.pop(target.id, None)) is not None:
                self._groups.appendleft(group)

    def _differs(self, target: Target) -> None:
        """What it has is to be known."""
        group = self._group(target)
        if group not in self._members:
            self._groups.append(group)
        self._members[group].append(target)

    def _pack(self, message: dict[str, Any], _t: float) -> Errands:
        chunk = message["chunk"]
        if not isinstance(chunk, bytes):
            raise TypeError("a chunk that is no bytes")
        self._chunks.append(chunk)
        self._packed = message.get("more") is not True
        return iter(())

    def _compare(self, target: Target) -> Errands:
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
        self._asked.pop(target.id, None)
        self.first = self.first or (target, found)
        if target.step is Step.COMPARING:
            self._own[target] = found
        self._estimates.setdefault(self._group(target), found)

    def _group(self, target: Target) -> Group:
        found = target.found
        if found is None:
            return (b"", target.owner)
        return (found.fingerprint if self._exact else found.like, target.owner)
