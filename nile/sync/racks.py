"""The racks of a swarm, and their gateways: those that are connected to others than their rack. Pure.

A host that isn't connected to another rack gets all from its own; so what comes over an uplink is at
most one copy for each gateway behind it. A rack is a switch; hosts of which nobody said where they hang are
one rack together, and where there is but one, it has no gateways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from nile.cascade.tree import Tree as Hosts

GATEWAYS = 2
"""Of one rack. With one all others of a rack wait for a host that is slow, or has died; each more is another
copy over the uplink."""
HELP_S = 5.0
"""Who gets nothing from its rack for so long becomes a gateway: one of a rack at one time."""


@dataclass(slots=True)
class Rack:
    """Ids of its hosts that take part, in the order in which they began to, and which are gateways."""

    listening: dict[int, None] = field(default_factory=dict)
    gateways: dict[int, None] = field(default_factory=dict)
    helped_s: float = 0.0
    """When it last got one more."""


class Racks:
    """Which hosts are in which rack, and who is a gateway. `starting()`: those that don't listen yet."""

    def __init__(self, hosts: Hosts, starting: Callable[[], Iterable[int]], quota: int = GATEWAYS) -> None:
        self._hosts = hosts
        self._starting = starting
        self._quota = quota
        self._racks: dict[str | None, Rack] = {}

    def expect(self, node_ids: Iterable[int]) -> None:
        """These are to take part."""
        for node_id in node_ids:
            self._racks.setdefault(self._hosts.switch(node_id), Rack())

    @property
    def several(self) -> bool:
        """Is there more than one? Else all may be connected to all."""
        return len(self._racks) > 1

    @property
    def most_gateways(self) -> int:
        """So many there are, but for those that are added later."""
        return len(self._racks) * self._quota

    def listens(self, node_id: int) -> bool:
        """A host can be reached: is it a gateway?"""
        rack = self._of(node_id)
        rack.listening[node_id] = None
        if self._is_meant(node_id) or self._lacks(rack):
            rack.gateways[node_id] = None
        return node_id in rack.gateways

    def remove(self, node_id: int) -> None:
        """It takes part no more."""
        rack = self._of(node_id)
        rack.listening.pop(node_id, None)
        rack.gateways.pop(node_id, None)

    def is_gateway(self, node_id: int) -> bool:
        """Is it connected to other racks?"""
        return not self.several or node_id in self._of(node_id).gateways

    def inside(self, node_id: int) -> list[int]:
        """The others of its rack that listen."""
        return [each for each in self._of(node_id).listening if each != node_id]

    def outside(self, node_id: int) -> list[int]:
        """Gateways of other racks."""
        own = self._of(node_id)
        return [each for rack in self._racks.values() if rack is not own for each in rack.gateways]

    def known_to(self, node_id: int) -> int:
        """Of how many a host may be told: those inside, and of a gateway those outside."""
        own = self._of(node_id)
        outside = (len(rack.gateways) for rack in self._racks.values() if rack is not own)
        return len(own.listening) - (node_id in own.listening) + self.is_gateway(node_id) * sum(outside)

    def fill(self) -> Iterator[int]:
        """Make gateways where others are lost: who becomes one."""
        for rack in self._racks.values() if self.several else ():
            while self._lacks(rack) and (able := rack.listening.keys() - rack.gateways.keys()):
                chosen = next(each for each in rack.listening if each in able)
                rack.gateways[chosen] = None
                yield chosen

    def help(self, node_id: int, moved_s: float, t: float) -> bool:
        """It got something last at `moved_s`: has it become a gateway, since nothing comes from its rack?"""
        rack = self._of(node_id)
        if self.is_gateway(node_id) or t - max(moved_s, rack.helped_s) < HELP_S:
            return False
        rack.helped_s = t
        rack.gateways[node_id] = None
        return True

    def _of(self, node_id: int) -> Rack:
        return self._racks.setdefault(self._hosts.switch(node_id), Rack())

    def _is_meant(self, node_id: int) -> bool:
        """Do other hosts reach nobody but it?"""
        return node_id in self._hosts.gateways

    def _lacks(self, rack: Rack) -> bool:
        """Those that are meant have their places kept while they start, but for one."""
        coming = sum(self._is_meant(each) and self._of(each) is rack for each in self._starting())
        return len(rack.gateways) < max(1, self._quota - coming)
