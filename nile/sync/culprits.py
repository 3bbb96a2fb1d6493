"""Who sent damaged pieces, as those say that got them. Pure.

A peer holds each piece against its hash in the torrent, throws away what isn't as it should be, and has
nothing more to do with whoever sent that. It says at which address that was, which is harder to forge than a
name that one gives oneself. Whose address it is the root looks up then, and not before.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict

from nile.sync.addresses import Addresses, packed
from nile.sync.asking import Errands
from nile.sync.following import Following
from nile.sync.means import Means
from nile.sync.remarks import Remarks

MOST_BY_ONE = 16
"""Of whom one host may say that: it may say anything."""


class Culprits:
    """Those of one swarm."""

    def __init__(self, means: Means, following: Following, remarks: Remarks) -> None:
        self._hosts = means.hosts
        self._following = following
        self._remarks = remarks
        self._addresses = Addresses(means, self._known)
        self._by: defaultdict[bytes, dict[int, None]] = defaultdict(dict)
        """Who has banned the one at an address."""
        self._said: Counter[int] = Counter()
        self._at: defaultdict[bytes, list[int]] = defaultdict(list)
        """Hosts by address."""

    def banned(self, by: int, address: object) -> Errands:
        """That one has nothing more to do with the one there. Raises TypeError or ValueError."""
        where = _plain(packed(address))
        if by in self._by.get(where, ()) or self._said[by] >= MOST_BY_ONE:
            return
        self._said[by] += 1
        self._by[where][by] = None
        if not self._addresses.names:
            yield from self._addresses.begin()
        self._name(where)

    def _known(self, _: float) -> Errands:
        self._remarks.forget_banned()
        for node_id in self._addresses.names:
            for where in self._addresses.of(node_id):
                self._at[where].append(node_id)
        for where in self._by:
            self._name(where)
        yield from ()

    def _name(self, where: bytes) -> None:
        """Where several hosts have one address, or none that is known has, it is said where that was."""
        by = self._by[where]
        at = self._at.get(where, [])
        if len(at) == 1:
            self._following.is_banned(at[0], len(by))
        name = self._hosts.name(at[0]) if len(at) == 1 else f"somebody at {ipaddress.ip_address(where)}"
        self._remarks.banned(name, lambda: [self._hosts.name(each) for each in by])


def _plain(address: bytes) -> bytes:
    """An IPv4 address that came over IPv6, as what it is."""
    inside = ipaddress.ip_address(address)
    mapped = inside.ipv4_mapped if isinstance(inside, ipaddress.IPv6Address) else None
    return mapped.packed if mapped is not None else address
