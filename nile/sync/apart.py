"""Which addresses the peers of a site refuse: those of hosts to which they aren't to be connected. Pure.

Nobody is told of these hosts; but a tracker may name them, and one of them may try. Where a name leads is
what the root finds: from nowhere else is one list to be had for all. An address that also is that of a host
to which they may be connected isn't refused, since the two can't be told apart, nor is one of the root's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nile.cascade import Publish
from nile.events import Notice
from nile.sync.addresses import Addresses
from nile.sync.asking import Errands
from nile.sync.means import Means
from nile.sync.wording import not_refused

MOST_S = 20.0
"""To find all addresses; peers begin then, and refuse those that are known."""


class Apart:
    """That of one swarm; where there is but one site, nothing is to be found. `ready(t)`: they are known."""

    def __init__(self, means: Means, ready: Callable[[float], Errands]) -> None:
        self._means = means
        self._sites = means.hosts.sites
        self._ready = ready
        self._addresses = Addresses(means, self._over)
        self._refused: dict[str | None, list[bytes]] = {}
        self._by_s = 0.0
        self.known = not self._sites.several
        """Are they, as far as they are going to be?"""

    def begin(self, t: float) -> Errands:
        """Look for them."""
        if self._sites.several:
            self._by_s = t + MOST_S
            yield from self._addresses.begin()

    def look_after(self, t: float) -> Errands:
        """It isn't waited for beyond that."""
        if self._addresses.names and not self.known and t > self._by_s:
            self._addresses.give_up()
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
        for node_id in self._addresses.names:
            together = self._sites.together(site, self._sites[node_id])
            (near if together else apart).update(self._addresses.of(node_id))
        return [ranges(each for each in apart - near if len(each) == size) for size in (4, 16)]

    def _over(self, t: float) -> Errands:
        self.known = True
        known = self._addresses
        if nowhere := [self._means.hosts.name(each) for each in known.names if not known.of(each)]:
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
