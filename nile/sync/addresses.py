"""Where the names of all hosts lead, as the root finds it: from nowhere else is one list to be had. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from nile.sync.asking import Errands
from nile.sync.means import Means
from nile.topology.model import ROOT_ID

AT_ONE_TIME = 500
"""Names in one question."""
MOST_ADDRESSES = 4
"""Of one host."""


class Addresses:
    """Those of one run's hosts; the root's own are left out. `known(t)`: all are that can be."""

    def __init__(self, means: Means, known: Callable[[float], Errands]) -> None:
        self._means = means
        self._known = known
        self._left: list[str] = []
        self._asked: list[str] = []
        self._found: dict[str, frozenset[bytes]] = {}
        self._over = False
        self.names: dict[int, str] = {}
        """By host; empty as long as nobody was asked."""

    def begin(self) -> Errands:
        """Look for them."""
        address = self._means.paths.address
        self.names = {node_id: address(node_id, node_id) for node_id in self._means.hosts.hosts}
        self._left = list(dict.fromkeys(self.names.values()))
        yield from self._ask()

    def give_up(self) -> None:
        """What isn't known by now isn't waited for."""
        self._over = True

    def of(self, node_id: int) -> frozenset[bytes]:
        """As far as they are known, packed."""
        return self._found.get(self.names.get(node_id, ""), frozenset())

    def _ask(self) -> Errands:
        self._asked, self._left = self._left[:AT_ONE_TIME], self._left[AT_ONE_TIME:]
        yield self._means.asking.ask(ROOT_ID, "addresses", {"names": self._asked}, self._answered)

    def _answered(self, message: dict[str, object], t: float) -> Errands:
        found = message.get("found", {})
        if not isinstance(found, dict):
            raise TypeError("addresses that are none")
        if self._over:
            return
        for name in self._asked:
            self._found[name] = frozenset(map(packed, list(found.get(name, ()))[:MOST_ADDRESSES]))
        if self._left:
            yield from self._ask()
        else:
            self._over = True
            yield from self._known(t)


def packed(address: object) -> bytes:
    """Raises TypeError or ValueError."""
    if not isinstance(address, str):
        raise TypeError("an address that is none")
    return ipaddress.ip_address(address.partition("%")[0]).packed
