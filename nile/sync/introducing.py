"""Whom peers of a swarm are told of: they connect to nobody else. Pure.

The root can't be reached: its seed is told of hosts, and goes to them.
"""

from __future__ import annotations

from collections.abc import Iterable

from nile.sync.asking import Errands
from nile.sync.means import Means
from nile.sync.swarmers import Swarmer, Swarmers

LONELY_S = 3.0
"""Who knows too few others is told of more, this often."""


class Introducing:
    """Makes those of a swarm known to each other. `seed` is the root's, once there is one."""

    def __init__(self, means: Means, all_of_them: Swarmers) -> None:
        self._means = means
        self._all = all_of_them
        self.seed: Swarmer | None = None

    def listens(self, peer: Swarmer, hosts: int) -> Errands:
        """It is to connect to some of those that listen already, and the seed to it, perhaps."""
        seeded = self._all.is_for_seed(peer, hosts)
        if seeded and (share := self._all.share(peer, hosts)) is not None:
            fields = {"what": peer.number, "part": share[0], "parts": share[1]}
            yield self._means.asking.ask(peer.id, "share", fields, None)
        yield from self._tell_of(peer, self._all.others_for(peer))
        if self._all.racks.is_gateway(peer.id):
            yield from self.elsewhere(peer)
        if seeded:
            yield from self._tell_of(self.seed, [peer])

    def more(self, peer: Swarmer, t: float) -> Errands:
        """If it knows too few others, it is told of more."""
        if t - max(peer.told_s, peer.moved_s) > LONELY_S and peer.connected < self._all.enough(peer):
            peer.told_s = t
            yield from self._tell_of(peer, self._all.more_for(peer))
            yield from self._tell_of(self.seed, self._door(peer))

    def outside(self, peer: Swarmer) -> Errands:
        """It has become a gateway of its rack, or site."""
        yield from self.elsewhere(peer)
        yield from self._tell_of(peer, self._all.gateways_for(peer))
        yield from self._tell_of(self.seed, self._door(peer))

    def elsewhere(self, peer: Swarmer) -> Errands:
        """It may look where the user said, too: over the uplink of its rack, if there are several."""
        options = self._means.options
        if options.trackers or options.web_seeds:
            webs = [] if peer.target is None else list(options.web_seeds)
            fields = {"what": peer.number, "trackers": list(options.trackers), "webs": webs}
            yield self._means.asking.ask(peer.id, "elsewhere", fields, None)

    def _door(self, peer: Swarmer) -> list[Swarmer]:
        """The one, if the seed may go to it."""
        return [peer] if self._all.racks.is_door(peer.id) else []

    def _tell_of(self, teller: Swarmer | None, others: Iterable[Swarmer]) -> Errands:
        if teller is None or not teller.number:
            return
        peers = [[self._means.paths.address(teller.id, other.id), other.port] for other in others]
        if peers:
            yield self._means.asking.ask(teller.id, "peers", {"what": teller.number, "peers": peers}, None)
