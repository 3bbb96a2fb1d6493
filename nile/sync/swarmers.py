"""Who takes part in a swarm, and who is told of whom. Pure.

Each one is told of some of those that listened before it: first its neighbours in
the tree, then the one just before it (so that all are connected), the one two
before, four, eight and so on (so that no way is long), then others, evenly. In a
small swarm that is everybody. The seed goes to some of them, evenly spread, and
each of these gets another part of all pieces from it first: so it hands out all
there is once, and not the same to several while others wait for the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nile.cascade.tree import Tree as Hosts
from nile.sync.limiting import Rates
from nile.sync.means import Means
from nile.sync.racks import Racks
from nile.sync.targets import Target, count
from nile.topology.model import ROOT_ID

MOST = 12
"""Others of whom one is told when it begins."""
NEIGHBOURS = 8
"""Of these, neighbours in the tree."""
ENOUGH = 3
"""Connections, below which one is told of more."""
LEAST = 64 * 1024
"""Bytes, of what a host wants, that it has to get to get on at all,"""
LEAST_SHARE = 100
"""or this part of all that it wants, if that is less; and of what is let through, if little is."""
EACH = 64 * 1024
"""Bytes that are more than what a torrent has of one thing beside its contents."""


@dataclass(slots=True, eq=False)
class Swarmer:
    """A host of a swarm, or (without a target) the seed."""

    id: int
    target: Target | None
    number: int = 0
    """Of the question by which it began; 0: it has ended."""
    port: int = 0
    due_s: float | None = None
    """By when it has to answer,"""
    most_s: float | None = None
    """and, from when it puts in place what came, to be through with that, whatever it says meanwhile."""
    carried: bool = False
    """It was brought a libtorrent,"""
    aria: bool = False
    """or has its aria2 take part."""
    program: str = ""
    """What its peer is, and its version."""
    keeps: bool = False
    """It had all from the beginning, and serves that."""
    rates: Rates | None = None
    """What it was told last to keep to."""
    inside: bool = True
    """It takes part, and wasn't told to stop."""
    complete: bool = False
    got: int = 0
    """Bytes that it has of what it wants,"""
    counted: int = 0
    """and had when it got on last,"""
    moved_s: float = 0.0
    """which was then."""
    anew: bool = False
    """It was seen to have as good as nothing again."""
    connected: int = 0
    told_s: float = 0.0
    """When it was last told of more others."""
    offered: int = 0
    """How many of all it was told of then, in turn."""

    def gets_on(self, at: int, whole: int, most: float, t: float) -> bool:
        """Has it so much more than before, of all that it wants? `most` bytes are let through meanwhile.

        What comes twice, or has to come anew, is no more than before; but who looks at all that he has, since
        a piece of it stays out (see the agent's peerprogram), gets on from nothing again, once.
        """
        if at < self.counted // 2 and not self.anew:
            self.anew = True
            self.counted, self.moved_s = at, t
            return True
        self.got = max(self.got, at)
        least = max(1, min(LEAST, whole // LEAST_SHARE, int(most) // LEAST_SHARE))
        if at < self.counted + least and not self.counted < at == whole:
            return False
        self.counted, self.moved_s = at, t
        return True


class Tally:
    """What is sent, and how far hosts are. They may say anything: no more is believed than can be."""

    def __init__(self, means: Means) -> None:
        self._bulk = means.bulk
        self.hosts = 0
        self.sent: Counter[int] = Counter()
        """Bytes of files alone, by who sent them."""

    def account(self, node_id: int, told: Mapping[str, Any]) -> None:
        """It has sent so much, all in all. Raises TypeError or ValueError."""
        sent = min(count(told.get("sent", 0)), self._most * self.hosts)
        self.sent[node_id] = max(self.sent[node_id], sent)

    def far(self, told: Mapping[str, Any]) -> tuple[int, int]:
        """What it has of all that it wants, and that. Raises KeyError, TypeError or ValueError."""
        whole = min(count(told["whole"]), self._most)
        return min(count(told["at"]), whole), whole

    @property
    def _most(self) -> int:
        """Bytes: contents, and what of each thing is to be said beside, and padded."""
        return self._bulk.size + EACH * (self._bulk.entries + 1)


class Swarmers:
    """Those that take part, by id; it is iterated over them."""

    def __init__(self, hosts: Hosts, seeders: frozenset[str] = frozenset()) -> None:
        """The seed goes to `seeders`, by name, before others."""
        self._hosts = hosts
        self._all: dict[int, Swarmer] = {}
        self._listening: dict[int, Swarmer] = {}
        """In the order in which they began to."""
        self._wanting: dict[int, Swarmer] = {}
        self._joined = 0
        before = frozenset(host.id for host in hosts.hosts.values() if host.name in seeders)
        self.racks = Racks(hosts, lambda: self._all.keys() - self._listening.keys(), before)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Swarmer]:
        return iter(list(self._all.values()))

    def of(self, node_id: int) -> Swarmer | None:
        """The one that this host is."""
        return self._all.get(node_id)

    @property
    def gateways(self) -> list[Swarmer]:
        """Those of racks that listen; none where there aren't several."""
        return self._known(self.racks.gateways) if self.racks.several else []

    @property
    def starting(self) -> int:
        """How many don't listen yet."""
        return len(self._all) - len(self._listening)

    @property
    def listening(self) -> int:
        """How many do."""
        return len(self._listening)

    def enough(self, peer: Swarmer) -> int:
        """Connections that it should have: the seed counts too."""
        return min(ENOUGH, self.racks.known_to(peer.id) + self.racks.is_door(peer.id))

    @property
    def wanting(self) -> list[Swarmer]:
        """Those that have yet to get something."""
        return list(self._wanting.values())

    @property
    def looking(self) -> list[Swarmer]:
        """Those that have had all, and look whether that is so."""
        return [peer for peer in self._all.values() if peer.keeps and not peer.port]

    @property
    def getting(self) -> list[Swarmer]:
        """Those of them that aren't putting it in place already."""
        return [peer for peer in self._wanting.values() if not (peer.port and peer.due_s)]

    @property
    def done(self) -> bool:
        """Are there no such?"""
        return not self._wanting

    def add(self, peer: Swarmer) -> None:
        """It is being started."""
        self._all[peer.id] = peer
        if not peer.complete:
            self._wanting[peer.id] = peer

    def listens(self, peer: Swarmer) -> None:
        """It can be reached."""
        self._listening[peer.id] = peer
        self._joined += self.racks.listens(peer.id) or not self.racks.several

    def completes(self, peer: Swarmer) -> None:
        """It has all that it wants."""
        peer.complete = True
        self._wanting.pop(peer.id, None)

    def remove(self, peer: Swarmer) -> None:
        """It is out."""
        for each in (self._all, self._listening, self._wanting):
            each.pop(peer.id, None)
        self.racks.remove(peer.id)

    def is_for_seed(self, peer: Swarmer, hosts: int) -> bool:
        """Is the one that has just begun to listen one of those that the seed goes to, of so many `hosts`?"""
        if self.racks.few_doors:
            return self.racks.is_door(peer.id)
        return self.racks.is_gateway(peer.id) and (self._joined - 1) % self._step(hosts) == 0

    def for_seed(self, hosts: int) -> int:
        """To how many the seed goes, of so many `hosts`; 0: to those that lead to sites, which may be far."""
        return 0 if self.racks.few_doors else self._parts(hosts)

    def share(self, peer: Swarmer, hosts: int) -> tuple[int, int] | None:
        """Which of how many parts of all pieces one of those gets first; None: it gets them as they come."""
        if self.racks.few_doors or peer.complete:
            return None
        parts = self._parts(hosts)
        return (self._joined - 1) // self._step(hosts) % parts, parts

    def _parts(self, hosts: int) -> int:
        return -(-self._most(hosts) // self._step(hosts))

    def _step(self, hosts: int) -> int:
        """The seed goes to one of so many."""
        return max(1, self._most(hosts) // MOST)

    def _most(self, hosts: int) -> int:
        return min(hosts, self.racks.most_gateways) if self.racks.several else hosts

    def others_for(self, peer: Swarmer) -> list[Swarmer]:
        """Of whom one is told that has just begun to listen."""
        if not self.racks.several:
            return self._some(peer, self._all_for(peer))
        inside = self._some(peer, self._known(self.racks.inside(peer.id)))
        return [*inside, *self.gateways_for(peer)]

    def gateways_for(self, peer: Swarmer) -> list[Swarmer]:
        """Those of other racks, and sites, of whom one is told: of none, unless it is a gateway."""
        return self._some(peer, self._known(self.racks.outside(peer.id)))

    def new_gateways(self) -> list[Swarmer]:
        """Those that have just become gateways, for others that are lost."""
        return self._known(self.racks.fill())

    def _all_for(self, peer: Swarmer) -> list[Swarmer]:
        """All that one may be told of, in the order in which they began to listen."""
        if not self.racks.several:
            return [each for each in self._listening.values() if each is not peer]
        return self._known([*self.racks.inside(peer.id), *self.racks.outside(peer.id)])

    def _known(self, ids: Iterable[int]) -> list[Swarmer]:
        return [self._listening[each] for each in ids]

    def _some(self, peer: Swarmer, before: list[Swarmer]) -> list[Swarmer]:
        back = (before[-step] for step in _doubling(len(before)))
        spread = (before[at * len(before) // MOST] for at in range(MOST if before else 0))
        rest = reversed(before) if len(before) <= MOST else iter(())
        allowed = set(before)
        near = [each for each in self._neighbours(peer) if each in allowed][:NEIGHBOURS]
        return _first(MOST, [*near, *back, *spread, *rest])

    def more_for(self, peer: Swarmer) -> list[Swarmer]:
        """Of whom one is told that has too few connections: of others each time."""
        others = self._all_for(peer)
        if not others:
            return []
        begin, peer.offered = peer.offered % len(others), peer.offered + MOST
        return _first(MOST, [*others[begin:], *others[:begin]])

    def _neighbours(self, peer: Swarmer) -> list[Swarmer]:
        """The one above it, those below the same one, and those below it: who of them listens."""
        host = self._hosts[peer.id]
        beside = self._hosts.top if host.parent == ROOT_ID else self._hosts.children(host.parent)
        ids = [host.parent, *self._hosts.children(peer.id), *beside]
        return [self._listening[each] for each in ids if each in self._listening and each != peer.id]


def _doubling(most: int) -> Iterator[int]:
    step = 1
    while step <= most:
        yield step
        step *= 2


def _first(most: int, all_of_them: Iterable[Swarmer]) -> list[Swarmer]:
    """Each once."""
    return list(dict.fromkeys(all_of_them))[:most]
