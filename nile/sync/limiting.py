"""Rates that the peers of a swarm keep to, also where these change while it runs. Pure.

A peer begins with what it is to send at most. What comes over the uplink of a rack comes to its gateways:
each of them takes an equal part of what the rack may, and is told which hosts are in its rack, since what
these send doesn't count. As gateways come and go the parts change.

A peer says when it keeps to what it was told: so it is known how many do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nile.events import SwarmLimits
from nile.options import MOST_RATE, RateLimits
from nile.sync.asking import Errands
from nile.sync.means import Means
from nile.topology.model import ROOT_ID

if TYPE_CHECKING:
    from nile.sync.swarmers import Swarmer, Swarmers

KIB = 1024


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one peer, in bytes a second; 0: as much as it can."""

    out: int
    uplink: int | None = None
    """What a gateway takes from others than those `near` at most; None: it is none."""
    near: frozenset[int] = frozenset()


class Limiting:
    """What all peers are to keep to, and who does."""

    def __init__(self, means: Means, all_of_them: Swarmers) -> None:
        options = means.options
        self._means = means
        self._all = all_of_them
        self._limits = RateLimits(
            options.seed_limit_kib_s, options.bwlimit_kib_s or 0, options.rack_limit_kib_s or 0
        )
        self._lacking: set[int] = set()
        """Who was told, and hasn't said yet that it keeps to that."""

    def begins(self, node_id: int) -> Rates:
        """With what its peer is begun; until it listens it is connected to nobody."""
        return Rates(_bytes(self._sends(node_id)))

    def change(self, limits: RateLimits, peers: Iterable[Swarmer]) -> Errands:
        """From now on; what isn't given stays."""
        before = self._limits
        seed, host, rack = limits.seed_kib_s, limits.host_kib_s, limits.rack_kib_s
        self._limits = RateLimits(
            before.seed_kib_s if seed is None else seed,
            before.host_kib_s if host is None else host,
            before.rack_kib_s if rack is None else rack,
        )
        for peer in peers:
            yield from self.keep(peer)

    def keep(self, peer: Swarmer) -> Errands:
        """Tell it, if it runs and what it is to keep to isn't what it was told last."""
        due = self._due(peer)
        if not (peer.number and peer.port) or due == peer.rates:
            return
        before = peer.rates.near if peer.rates is not None else frozenset[int]()
        peer.rates = due
        self._lacking.add(peer.id)
        fields: dict[str, Any] = {"what": peer.number, "limit": due.out}
        if due.uplink is not None:
            address = self._means.paths.address
            near = [address(peer.id, each) for each in sorted(due.near - before)]
            fields |= {"uplink": due.uplink, "near": near}
        yield self._means.asking.ask(peer.id, "limit", fields, partial(self._kept, peer, due))

    def share(self) -> Errands:
        """Gateways have come or gone: what the others take over the uplinks changes."""
        for peer in self._all.gateways if self._limits.rack_kib_s else ():
            yield from self.keep(peer)

    def _kept(self, peer: Swarmer, what: Rates, message: dict[str, Any], _: float) -> Errands:
        if peer.rates == what and not message.get("code"):
            self.drop(peer.id)
        yield from ()

    def drop(self, node_id: int) -> None:
        """It keeps to what it was told, or is out."""
        self._lacking.discard(node_id)

    def told(self, seed: Swarmer | None) -> SwarmLimits:
        """How that is said: what holds, and for how many of those that run."""
        limits, racks = self._limits, self._all.racks
        peers = self._all.listening + (seed is not None and seed.port > 0 and seed.number > 0)
        return SwarmLimits(
            seed=_bytes(self._sends(ROOT_ID)),
            host=_bytes(limits.host_kib_s),
            rack=_bytes(limits.rack_kib_s),
            racks=racks.number if racks.several else 0,
            peers=peers,
            keeping=max(0, peers - len(self._lacking)),
        )

    @property
    def least(self) -> int:
        """Bytes a second that a peer may get of one other; 0: any number."""
        limits = self._limits
        known = [each for each in (limits.seed_kib_s, limits.host_kib_s) if each]
        if self._all.racks.several and limits.rack_kib_s:
            known.append(max(1, limits.rack_kib_s // self._all.racks.quota))
        return _bytes(min(known, default=0))

    def _due(self, peer: Swarmer) -> Rates:
        rates, racks = self.begins(peer.id), self._all.racks
        if peer.target is None or not racks.several or not racks.is_gateway(peer.id):
            return rates
        rack = _bytes(self._limits.rack_kib_s)
        share = max(1, rack // racks.sharing(peer.id)) if rack else 0
        return replace(rates, uplink=share, near=frozenset(racks.beside(peer.id)))

    def _sends(self, node_id: int) -> int:
        limits = self._limits
        own = limits.seed_kib_s if node_id == ROOT_ID else None
        return (limits.host_kib_s or 0) if own is None else own


def _bytes(kib_s: int | None) -> int:
    """A second; who may send more than a peer can be told may send as much as it can."""
    return KIB * min(kib_s or 0, MOST_RATE)
