"""A bounded number of things under way at one time."""

from __future__ import annotations

import heapq

from nile.cascade.hosts import Host


class Slots:
    """At most `limit` hosts at one time, lowest key first; None: no bound, and nothing to wait for."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._waiting: list[tuple[int, int]] = []
        self._hosts: dict[int, Host] = {}
        self._busy: set[int] = set()

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
        self._busy.discard(host.id)
        self._hosts.pop(host.id, None)

    def occupy(self, host: Host) -> None:
        """This host has a slot already, whether there is one or not."""
        self._hosts[host.id] = host
        self._busy.add(host.id)

    def grant(self) -> list[Host]:
        """The hosts that get a slot now."""
        granted = []
        while self._limit is not None and self._waiting and len(self._busy) < self._limit:
            _, host_id = heapq.heappop(self._waiting)
            host = self._hosts.get(host_id)
            if host is not None and host_id not in self._busy:  # one offered twice gets no second slot
                self._busy.add(host_id)
                granted.append(host)
        return granted
