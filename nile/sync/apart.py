"""Which addresses the peers of a site refuse: those of hosts to which they aren't to be connected. Pure.

Nobody is told of these hosts; but a tracker may name them, and one of them may try. Where a name leads is
what the root finds: from nowhere else is one list to be had for all. An address that also is that of a host
to which they may be connected isn't refused, since the two can't be told apart, nor is one of the root's own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from nile.cascade import Publish
from nile.events import Notice
from nile.sync.asking import Errands
from nile.sync.means import Means
from nile.sync.wording import not_refused
from nile.topology.model import ROOT_ID

MOST_S = 20.0
"""To find all addresses; peers begin then, and refuse those that are known."""
AT_ONE_TIME = 500
"""Names in one question."""
MOST_ADDRESSES = 4
"""Of one host."""


class Apart:
    """That of one swarm; where there is but one site, nothing is to be found. `ready(t)`: they are known."""

    def __init__(self, means: Means, ready: Callable[[float], Errands]) -> None:
        self._means = means
        self._sites = means.hosts.sites
        self._ready = ready
        self._names: dict[int, str] = {}
        self._left: list[str] = []
        self._asked: list[str] = []
        self._found: dict[str, frozenset[bytes]] = {}
        self._refused: dict[str | None, list[bytes]] = {}
        self._by_s = 0.0
        self.known = not self._sites.several
        """Are they, as far as they are going to be?"""

    def begin(self, t: float) -> Errands:
        """Look for them."""
        if self._sites.several:
            paths = self._means.paths
            self._names = {node_id: paths.address(node_id, node_id) for node_id in self._means.hosts.hosts}
            self._left = list(dict.fromkeys(self._names.values()))
            self._by_s = t + MOST_S
            yield from self._ask()

    def look_after(self, t: float) -> Errands:
        """It isn't waited for beyond that."""
        if self._asked and not self.known and t > self._by_s:
            yield from self._over(t)

    def fields(self, node_id: int) -> dict[str, list[bytes]]:
        """What a host's peer is to be told of it."""
        if not self._sites.several:
            return {}
        site = self._sites[node_id]
        if site not in self._refused:
            self._refused[site] = self._refused_at(site)
        return {"refuse": self._refused[site]}

    def _refused_at(self, site: str | None) -> list[bytes]:
        apart: set[bytes] = set()
        near: set[bytes] = set()
        for node_id, name in self._names.items():
            together = self._sites.together(site, self._sites[node_id])
            (near if together else apart).update(self._found.get(name, ()))
        return [ranges(each for each in apart - near if len(each) == size) for size in (4, 16)]

    def _ask(self) -> Errands:
        self._asked, self._left = self._left[:AT_ONE_TIME], self._left[AT_ONE_TIME:]
        yield self._means.asking.ask(ROOT_ID, "addresses", {"names": self._asked}, self._answered)

    def _answered(self, message: dict[str, object], t: float) -> Errands:
        found = message.get("found", {})
        if not isinstance(found, dict):
            raise TypeError("addresses that are none")
        for name in self._asked if not self.known else ():
            self._found[name] = frozenset(map(_packed, list(found.get(name, ()))[:MOST_ADDRESSES]))
        if self.known:
            return
        if self._left:
            yield from self._ask()
        else:
            yield from self._over(t)

    def _over(self, t: float) -> Errands:
        self.known = True
        hosts = self._means.hosts
        if nowhere := [
            hosts.name(node_id) for node_id, name in self._names.items() if not self._found.get(name)
        ]:
            yield Publish(Notice(not_refused(nowhere)))
        yield from self._ready(t)


def ranges(addresses: Iterable[bytes]) -> bytes:
    """First and last of those that follow each other, one after the other; all have the same length."""
    ends: list[bytes] = []
    for each in sorted(addresses):
        if ends and int.from_bytes(ends[-1], "big") + 1 == int.from_bytes(each, "big"):
            ends[-1] = each
        else:
            ends += (each, each)
    return b"".join(ends)


def _packed(address: object) -> bytes:
    """Raises TypeError or ValueError."""
    if not isinstance(address, str):
        raise TypeError("an address that is none")
    return ipaddress.ip_address(address.partition("%")[0]).packed
