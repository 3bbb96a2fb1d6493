"""A bounded number of things under way at one time."""

from __future__ import annotations

import heapq

from nile.cascade.hosts import Host

FIRST = 1 << 32


def login_key(host: Host) -> int:
    """Its turn among those that wait to be logged in to.

    Before all others comes whoever may have a command that waits for its adoption, or is but
    a way to others: no pause keeps these back, so none may stand behind one that it does.
    """
    return host.id - (FIRST if host.urgent else 0)


class Gate:
    """Who may have a slot at all, if one is free: anybody."""

    def may_start(self, host: Host) -> bool:
        """May this host, whose turn it is, have one now? Where it may not, nobody behind it may."""
        return True

    def took(self, host: Host) -> None:
        """It has a slot."""

    def gave_back(self, host: Host) -> None:
        """It had one."""


OPEN = Gate()


class Slots:
    """At most `limit` hosts at one time, lowest key first; None: no bound, and nothing to wait for."""

    def __init__(self, limit: int | None, gate: Gate = OPEN) -> None:
        self._limit = limit
        self._gate = gate
        self._waiting: list[tuple[int, int]] = []
        self._hosts: dict[int, Host] = {}
        self._busy: set[int] = set()
        self._lingering = (0, 0)
        """Slots of hosts that moved: since the last tick, and in the second before it."""

    def resize(self, limit: int) -> None:
        """From now on so many at one time. Who has a slot keeps it."""
        self._limit = limit

    @property
    def bounded(self) -> bool:
        """Is there anything to wait for?"""
        return self._limit is not None

    def offer(self, key: int, host: Host) -> None:
        """This host would like a slot."""
        self._hosts[host.id] = host
        heapq.heappush(self._waiting, (key, host.id))

    def give_back(self, host: Host) -> None:
        """This host needs its slot no more, or wants none."""
        if host.id in self._busy:
            self._busy.discard(host.id)
            self._gate.gave_back(host)
        self._hosts.pop(host.id, None)

    def occupy(self, host: Host) -> None:
        """This host has a slot already, whether there is one or not."""
        self._hosts[host.id] = host
        self._busy.add(host.id)
        self._gate.took(host)

    def move_on(self, host: Host) -> None:
        """This host goes elsewhere. Its slot is free a second later: its former parent has to hear of it."""
        if host.id in self._busy:
            fresh, old = self._lingering
            self._lingering = fresh + 1, old
        self.give_back(host)

    def tick(self) -> None:
        """A second passed."""
        self._lingering = 0, self._lingering[0]

    def grant(self) -> list[Host]:
        """The hosts that get a slot now."""
        granted = []
        while self._limit is not None and self._waiting and self._taken() < self._limit:
            host_id = self._waiting[0][1]
            host = self._hosts.get(host_id)
            wanted = host is not None and host_id not in self._busy  # one offered twice gets no second slot
            if host is not None and wanted and not self._gate.may_start(host):
                break
            heapq.heappop(self._waiting)
            if host is not None and wanted:
                self._busy.add(host_id)
                self._gate.took(host)
                granted.append(host)
        return granted

    def drain(self) -> list[Host]:
        """Those that would like a slot, and get none any more."""
        ids = [host_id for _, host_id in self._waiting]
        self._waiting.clear()
        return [
            self._hosts[host_id] for host_id in ids if host_id in self._hosts and host_id not in self._busy
        ]

    def _taken(self) -> int:
        return len(self._busy) + sum(self._lingering)
