"""How nodes reach each other: at a port of their own, or through ssh where no other port is open. Pure.

Nobody says beforehand what is open. A pair begins with a port of its own, and goes on through ssh where
that can't be reached; once this has befallen more pairs than not, others begin with ssh. A host may be led
to those alone to whom it may log in (see topology.reach). The root needs no login: links lead to every host.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from nile.cascade import Neighbours
from nile.topology.model import ROOT_ID

UNREACHED = frozenset({"refused", "no-route", "timeout"})
"""How a way to a port comes to nothing that a firewall closes."""


class Paths:
    """What is known of the ways between the nodes of a run, by ids."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._open: set[tuple[int, int]] = set()
        """(giver, taker): who has reached a port of whom,"""
        self._shut: set[tuple[int, int]] = set()
        """and who hasn't."""
        self._more_shut: Counter[bool] = Counter()
        """By how many these are more: from the root (True), and from hosts, which may share a firewall."""
        self._first: dict[bool, tuple[int, int, str]] = {}
        """The first of them (giver, taker, why)."""
        self.unbound: Counter[int] = Counter()
        """Signatures for logins of a giver that weren't bound to a host, by its id."""

    def address(self, giver: int, taker: int) -> str:
        """Where the one reaches a port of the other."""
        return self._neighbours.address(giver, taker)

    def login(self, giver: int, taker: int) -> dict[str, Any] | None:
        """What the one needs to log in to the other; None where it may not."""
        return self._neighbours.login(giver, taker)

    def rack(self, node_id: int) -> str:
        """What a host is kept together by: its switch, or its smallest group; "" where that isn't known."""
        return self._neighbours.rack(node_id)

    def by_ssh(self, giver: int, taker: int) -> bool:
        """Is the one to be led to the other through ssh?"""
        shut = (giver, taker) in self._shut or self._more_shut[giver == ROOT_ID] > 0
        return shut and self._may(giver, taker)

    def apart(self, giver: int, taker: int) -> bool:
        """Did the one reach no port of the other, and the route file says that it doesn't log in there?"""
        return (giver, taker) in self._shut and not self._may(giver, taker)

    def found(self, giver: int, taker: int, *, by_ssh: bool) -> None:
        """The one was led to the other."""
        if not by_ssh:
            self._note(giver, taker, self._open, self._shut, -1)

    def failed(self, giver: int, taker: int, code: str, reason: str, *, by_ssh: bool) -> bool:
        """The one didn't get to the other: is there another way to try?"""
        if by_ssh or code not in UNREACHED:
            return False
        self._note(giver, taker, self._shut, self._open, 1)
        self._first.setdefault(giver == ROOT_ID, (giver, taker, reason))
        return self._may(giver, taker)

    def why(self, giver: int) -> tuple[int, int, str]:
        """Why ssh was tried, if it was from this one: from whom and to whom no port was reached, and why."""
        return self._first[giver == ROOT_ID]

    def _may(self, giver: int, taker: int) -> bool:
        return giver == ROOT_ID or self.login(giver, taker) is not None

    def _note(
        self, giver: int, taker: int, now: set[tuple[int, int]], before: set[tuple[int, int]], sign: int
    ) -> None:
        way = (giver, taker)
        changes = (way in before) + (way not in now)
        before.discard(way)
        now.add(way)
        self._more_shut[giver == ROOT_ID] += sign * changes
