"""The racks and sites of a swarm, and their gateways: those that are connected to others than these. Pure.

A host that isn't connected to another rack gets all from its own; so what comes over an uplink is at
most one copy for each gateway behind it. A rack is a switch; hosts of which nobody said where they hang are
one rack together (at each site), and where there is but one, it has no gateways.

In the same way each site gets all through few of the gateways of its racks: these alone are connected to the
root's seed, and to the same of sites with which it peers. Hosts of other sites are never connected to each
other. Where the user named seeders it is so for the one site, too: the seed goes to them, and few others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from nile.cascade.tree import Tree as Hosts

GATEWAYS = 2
"""Of one rack, or site. With one all others wait for a host that is slow, or has died; each more is another
copy over the uplink."""
HELP_S = 5.0
"""Who gets nothing from its rack for so long becomes a gateway: one of a rack at one time."""

Site = str | None
Place = tuple[Site, str | None]
"""A site, and a switch there."""


@dataclass(slots=True, eq=False)
class Part:
    """A rack, or a site: ids of those that take part, in the order in which they began, and its gateways."""

    listening: dict[int, None] = field(default_factory=dict)
    gateways: dict[int, None] = field(default_factory=dict)
    members: dict[int, None] = field(default_factory=dict)
    """Of a rack, all that are to take part, whether they run or not."""
    helped_s: float = 0.0
    """When it last got one more."""

    def remove(self, node_id: int) -> None:
        """It takes part no more."""
        self.listening.pop(node_id, None)
        self.gateways.pop(node_id, None)


class Racks:
    """Which hosts are in which rack, and who is a gateway. `starting()`: those that don't listen yet.

    `seeders` are gateways whenever they begin, and so are those through whom alone others are reached.
    """

    def __init__(
        self,
        hosts: Hosts,
        starting: Callable[[], Iterable[int]],
        seeders: frozenset[int] = frozenset(),
        quota: int = GATEWAYS,
    ) -> None:
        self._hosts = hosts
        self._starting = starting
        self.quota = quota
        self.seeders = seeders
        self._meant = hosts.gateways | seeders
        self._seeded = False
        """Does one of them take part?"""
        self._racks: dict[Place, Part] = {}
        self._sites: dict[Site, Part] = {}

    def expect(self, node_ids: Iterable[int]) -> None:
        """These are to take part."""
        for node_id in node_ids:
            self._parts(node_id)[0].members[node_id] = None
            self._seeded |= node_id in self.seeders

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self._racks)

    @property
    def several(self) -> bool:
        """Is there more than one? Else all may be connected to all."""
        return len(self._racks) > 1

    @property
    def few_doors(self) -> bool:
        """Does the seed go to gateways of sites alone, and not to those of all racks?"""
        return len(self._sites) > 1 or self._seeded

    @property
    def gateways(self) -> list[int]:
        """Of all racks."""
        return [each for rack in self._racks.values() for each in rack.gateways]

    @property
    def most_gateways(self) -> int:
        """So many there are, but for those that are added later."""
        return len(self._racks) * self.quota

    def listens(self, node_id: int) -> bool:
        """A host can be reached: is it a gateway?"""
        rack, site = self._parts(node_id)
        rack.listening[node_id] = site.listening[node_id] = None
        meant = node_id in self._meant
        if meant or self._lacks(rack):
            rack.gateways[node_id] = None
        if meant or (self.is_gateway(node_id) and self._lacks(site)):
            site.gateways[node_id] = None
        return node_id in rack.gateways

    def remove(self, node_id: int) -> None:
        """It takes part no more."""
        for part in self._parts(node_id):
            part.remove(node_id)

    def is_gateway(self, node_id: int) -> bool:
        """Is it connected to other racks?"""
        return not self.several or node_id in self._parts(node_id)[0].gateways

    def is_door(self, node_id: int) -> bool:
        """Is it connected to the seed, and to other sites if these may be?"""
        return node_id in self._parts(node_id)[1].gateways if self.few_doors else self.is_gateway(node_id)

    def inside(self, node_id: int) -> list[int]:
        """The others of its rack that listen."""
        return [each for each in self._parts(node_id)[0].listening if each != node_id]

    def outside(self, node_id: int) -> list[int]:
        """Gateways of other racks of its site and, where it is a door, those of sites with which it peers."""
        return [each for part in self._parts_outside(node_id) for each in part.gateways]

    def beside(self, node_id: int) -> list[int]:
        """All others of its rack, also those that don't listen."""
        return [each for each in self._parts(node_id)[0].members if each != node_id]

    def sharing(self, node_id: int) -> int:
        """Over how many gateways that comes which its rack gets: those that are yet to come, too."""
        rack, _ = self._parts(node_id)
        return max(1, len(rack.gateways), min(self.quota, len(rack.members)))

    def known_to(self, node_id: int) -> int:
        """Of how many a host may be told: those inside, and of a gateway those outside."""
        rack, _ = self._parts(node_id)
        outside = sum(len(part.gateways) for part in self._parts_outside(node_id))
        return len(rack.listening) - (node_id in rack.listening) + outside

    def fill(self) -> Iterator[int]:
        """Make gateways where others are lost: who becomes one."""
        new: dict[int, None] = {}
        for rack in self._racks.values() if self.several else ():
            new.update(self._fill(rack, rack.listening))
        for site in self._sites.values() if self.few_doors else ():
            new.update(self._fill(site, filter(self.is_gateway, site.listening)))
        yield from new

    def help(self, node_id: int, moved_s: float, t: float) -> bool:
        """It got something last at `moved_s`: has it become a gateway, since nothing comes from its rack?"""
        rack, site = self._parts(node_id)
        if self.is_door(node_id) or t - max(moved_s, rack.helped_s) < HELP_S:
            return False
        rack.helped_s = t
        rack.gateways[node_id] = site.gateways[node_id] = None
        return True

    def _parts(self, node_id: int) -> tuple[Part, Part]:
        """Its rack, and its site."""
        site = self._hosts.sites[node_id]
        place = site, self._hosts.switch(node_id)
        return self._racks.setdefault(place, Part()), self._sites.setdefault(site, Part())

    def _parts_outside(self, node_id: int) -> Iterator[Part]:
        """To whose gateways it may be connected."""
        own, (rack, _) = self._hosts.sites[node_id], self._parts(node_id)
        if self.is_gateway(node_id):
            yield from (part for (site, _), part in self._racks.items() if site == own and part is not rack)
        if self.is_door(node_id):
            together = self._hosts.sites.together
            yield from (part for site, part in self._sites.items() if site != own and together(own, site))

    def _fill(self, part: Part, able: Iterable[int]) -> dict[int, None]:
        """Who becomes one, the first ones of those that are able."""
        new: dict[int, None] = {}
        if self._lacks(part):
            for node_id in able:
                if node_id not in part.gateways:
                    part.gateways[node_id] = new[node_id] = None
                    if not self._lacks(part):
                        break
        return new

    def _lacks(self, part: Part) -> bool:
        """Those that are meant have their places kept while they start, but for one."""
        coming = sum(each in self._meant and part in self._parts(each) for each in self._starting())
        return len(part.gateways) < max(1, self.quota - coming)
