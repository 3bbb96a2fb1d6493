"""How far copies are, how fast they come, and how long they will yet take. Pure arithmetic.

What hosts have got is told by their workers, or by those that copy to them, a
few times a second each; people are told at most every `EVERY_S`, of all hosts
together, of those that are furthest behind, and in turn of each. A part that is done never
becomes less: a copy that broke and begins anew adds nothing to it before it is
as far as the one before. The time that is left may become more.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

from nile.events import CopyProgress, HostCopy

EVERY_S = 0.5
BEHIND = 5
"""Hosts that are named as such."""
EACH = 50
"""Hosts that are told of in turn, at one time; all that are left, once all is told."""
MEMORY_S = 4.0
"""What came before that counts little for the rate."""
STILL_S = 3.0
"""Nothing came for so long: then nobody knows how long it will take."""


class Rate:
    """Bytes a second, smoothed: what is long ago fades."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._sum = 0.0

    def add(self, count: float, seconds: float) -> None:
        """So many bytes came in these seconds."""
        if seconds > 0:
            fades = math.exp(-seconds / MEMORY_S)
            self._sum = self._sum * fades + count / seconds * (1 - fades)
            self._weight = self._weight * fades + (1 - fades)

    @property
    def value(self) -> float:
        """Bytes a second; 0 where nothing is known. (What wasn't there yet isn't taken for a standstill.)"""
        return self._sum / self._weight if self._weight else 0.0


@dataclass(slots=True)
class _Host:
    """One host. Numbers are bytes; `at` is where the copy under way is, `came` all that ever came."""

    name: str
    whole: int
    got: int = 0
    at: int = 0
    came: int = 0
    told: int = 0
    """What of `came` the rate knows."""
    over: bool = False
    rate: Rate | None = None
    """None until something has come: it is waiting."""
    still_s: float = 0.0
    """Since when nothing has come."""
    stood: tuple[int, int, bool, bool] | None = None
    """Where it stood when it was told of in its turn,"""
    turn_s: float = -math.inf
    """and when that was."""

    @property
    def left(self) -> int:
        return 0 if self.over else self.whole - self.got

    @property
    def stands_still(self) -> bool:
        return bool(self.left) and self.still_s >= STILL_S

    @property
    def stands(self) -> tuple[int, int, bool, bool]:
        """What it is told of for, once that is another."""
        return self.got, self.whole, self.over, self.stands_still

    @property
    def eta_s(self) -> float | None:
        if self.stands_still:
            return None
        return eta_s(self.left, self.rate.value if self.rate else 0.0)


class Pace:
    """What all hosts that are to get something have got of it. Ids are those of hosts; times in seconds."""

    def __init__(self) -> None:
        self._hosts: dict[int, _Host] = {}
        self._rate = Rate()
        self._part = 0.0
        self._still_s = 0.0
        self._told_s: float | None = None
        self._under_way = 0
        """Hosts to which something comes, or may come."""
        self._begun = self._all_told = False

    def expect(self, node_id: int, name: str, whole: int) -> None:
        """A host is to get so many bytes."""
        self._hosts[node_id] = _Host(name, whole)
        self._under_way += 1

    def whole(self, node_ids: Iterable[int], whole: int) -> None:
        """It is known better now how much these get."""
        for node_id in node_ids:
            if (host := self._hosts.get(node_id)) is not None and not host.over:
                host.whole = max(whole, host.got)

    def at(self, node_id: int, count: int) -> None:
        """The copy to a host is so far; less than before: it is another one, that began anew."""
        host = self._hosts.get(node_id)
        if host is None or host.over:
            return
        host.came += count - host.at if count >= host.at else count
        host.at = count
        host.got = max(host.got, min(count, host.whole))
        host.rate = host.rate or Rate()
        self._begun = True

    def over(self, node_id: int, *, complete: bool) -> None:
        """Nothing more comes to a host; `complete`: it has got everything."""
        host = self._hosts.get(node_id)
        if host is not None and not host.over:
            host.over = self._begun = True
            self._under_way -= 1
            if complete:
                host.got = host.whole
            else:
                host.whole = host.got

    def again(self, node_id: int) -> None:
        """It had all of it, and yet gets another copy."""
        host = self._hosts.get(node_id)
        if host is not None:
            self._under_way += host.over
            host.over, host.at = False, 0
            self._all_told = False

    def due(self, t: float) -> CopyProgress | None:
        """What is to be told now, if it is time to: nothing before the first byte, and the end at once."""
        early = self._told_s is not None and t - self._told_s < EVERY_S
        if self._all_told or not self._begun or (early and self._under_way):
            return None
        passed = t - self._told_s if self._told_s is not None else 0.0
        self._told_s = t
        self._all_told = not self._under_way
        return self._progress(t, passed)

    def _progress(self, t: float, passed: float) -> CopyProgress:
        hosts = self._hosts.values()
        came = 0
        for host in hosts:
            if host.rate is not None:
                came += host.came - host.told
                host.rate.add(host.came - host.told, passed)
                host.still_s = 0.0 if host.came > host.told else host.still_s + passed
            host.told = host.came
        self._rate.add(came, passed)
        self._still_s = 0.0 if came else self._still_s + passed
        got, whole = sum(host.got for host in hosts), sum(host.whole for host in hosts)
        self._part = max(self._part, got / whole if whole else 1.0)
        under_way = [host for host in hosts if host.rate is not None and not host.over]
        behind = heapq.nsmallest(BEHIND, under_way, key=lambda host: host.got / max(host.whole, 1))
        return CopyProgress(
            hosts=len(hosts),
            complete=sum(host.over for host in hosts),
            got=got,
            whole=whole,
            part=self._part,
            rate=self._rate.value,
            eta_s=self._eta_s(sum(host.left for host in hosts), under_way),
            behind=tuple(_told(host) for host in behind),
            each=tuple(_told(host) for host in self._in_turn(t)),
        )

    def _in_turn(self, t: float) -> list[_Host]:
        """Those of whom there is something new to tell, and that have waited longest for that."""
        found = [host for host in self._hosts.values() if host.stands != host.stood]
        if not self._all_told:
            found = heapq.nsmallest(EACH, found, key=lambda host: host.turn_s)
        for host in found:
            host.stood, host.turn_s = host.stands, t
        return found

    def _eta_s(self, left: int, under_way: list[_Host]) -> float | None:
        """All together at the rate of all; but not before the slowest one."""
        together = eta_s(left, self._rate.value)
        if together is None or (left and self._still_s >= STILL_S):
            return None
        return max([together, *(host.eta_s for host in under_way if host.eta_s is not None)])


def eta_s(left: float, rate: float) -> float | None:
    """How long so many bytes take at this rate; None where that can't be said."""
    if left <= 0:
        return 0.0
    # Below a byte a second nothing is said of it: it stands.
    return left / rate if rate >= 1 else None


def _told(host: _Host) -> HostCopy:
    rate = host.rate.value if host.rate else 0.0
    return HostCopy(host.name, host.got, host.whole, rate, host.eta_s, host.over)
