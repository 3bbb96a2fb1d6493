"""Whom a tracker knows: torrents, their peers, and the plan. Pure.

Only torrents that were added exist, and only addresses of the plan may ask; a
peer's address is the one that it comes from, whatever it says. Whoever asks is
told of peers near it first, but of some elsewhere too: else a rack with many
peers would hear of nobody outside. What is kept is bounded by the plan: a few
peers for each of its addresses.
"""

import ipaddress

from nile.agent.worker.announcing import Refused, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

    from nile.agent.worker.announcing import Asked

    Place = Tuple[str, ...]

INTERVAL_S = 60  # between two announces of a peer
SOONEST_S = 10
MOST_A_SECOND = 20  # announces: with more peers than that gives in INTERVAL_S, they come less often
PATIENCE = 2.5  # intervals until a peer that says nothing is taken for gone
EXPIRE_S = 5.0  # between two looks for those
ELSEWHERE = 4  # one in so many of them isn't of the nearest, where there are more than are wanted
MOST_AT_ADDRESS = 16  # peers; the one that was silent longest makes room
FOREVER = float("inf")


class Peer:
    """One that is told of to others, until a time. `address` is packed; an id of b"" isn't known."""

    __slots__ = ("address", "peer_id", "port", "seeds", "until")

    def __init__(self, address: bytes, port: int, peer_id: bytes, seeds: bool, until: float) -> None:
        self.address = address
        self.port = port
        self.peer_id = peer_id
        self.seeds = seeds
        self.until = until


class Swarm:
    """One torrent's peers."""

    def __init__(self, metainfo: bytes) -> None:
        self.metainfo = metainfo
        self.completed = 0  # how often a peer was told to have become whole
        self._hosts: "Dict[bytes, Dict[int, Peer]]" = {}
        self._expired = -FOREVER

    def peers(self) -> "Iterator[Peer]":
        """All that are known."""
        for ports in self._hosts.values():
            yield from ports.values()

    @property
    def addresses(self) -> int:
        """How many of them have peers."""
        return len(self._hosts)

    def counts(self) -> "Tuple[int, int]":
        """How many have it all, and how many don't."""
        seeds = [peer.seeds for peer in self.peers()]
        return sum(seeds), len(seeds) - sum(seeds)

    def find(self, address: bytes, port: int) -> "Optional[Peer]":
        """The peer there."""
        return self._hosts.get(address, {}).get(port)

    def enter(self, peer: Peer) -> None:
        """There is this peer, instead of what was known of that port."""
        ports = self._hosts.setdefault(peer.address, {})
        ports.pop(peer.port, None)
        if len(ports) >= MOST_AT_ADDRESS:
            del ports[min(ports, key=lambda port: ports[port].until)]
        ports[peer.port] = peer

    def leave(self, address: bytes, port: int) -> None:
        """There is none any more."""
        self._hosts.get(address, {}).pop(port, None)

    def expire(self, now: float) -> None:
        """Forget whoever has said nothing for long."""
        if now < self._expired + EXPIRE_S:
            return
        self._expired = now
        self.keep(lambda peer: peer.until > now)

    def keep(self, wanted: "Callable[[Peer], bool]") -> None:
        """Forget all others."""
        for address, ports in list(self._hosts.items()):
            kept = {port: peer for port, peer in ports.items() if wanted(peer)}
            if kept:
                self._hosts[address] = kept
            else:
                del self._hosts[address]


class Register:
    """All torrents of a tracker, and the plan: who may ask, and where that is.

    A place is words, outermost first ("site", "rack"): the more of them two
    share from the beginning, the nearer they are. Who is at another site isn't
    told of, unless the two peer; who is at no place may be told of anybody.
    """

    def __init__(self, sample: "Callable[[List[Any], int], List[Any]]") -> None:
        """`sample(list, count)` takes so many of it, at random and in any order: random.sample."""
        self._sample = sample
        self._swarms: "Dict[bytes, Swarm]" = {}
        self._places: "Dict[bytes, Place]" = {}
        self._peering: "FrozenSet[FrozenSet[str]]" = frozenset()

    def add(self, info_hash: bytes, metainfo: bytes) -> None:
        """There is this torrent."""
        self._swarms[info_hash] = Swarm(metainfo)

    def remove(self, info_hash: bytes) -> None:
        """There isn't."""
        self._swarms.pop(info_hash, None)

    def plan(self, places: "Mapping[str, Sequence[str]]", peering: "Sequence[Sequence[str]]" = ()) -> None:
        """From now on these addresses may ask; peers at others that came by themselves are forgotten.

        `peering` are the pairs of sites that peer.
        """
        self._peering = frozenset(map(frozenset, peering))
        self._places = {packed(address): tuple(place) for address, place in places.items()}
        for swarm in self._swarms.values():
            swarm.keep(lambda peer: peer.until == FOREVER or peer.address in self._places)

    def admits(self, address: str) -> bool:
        """Is it one of the plan?"""
        try:
            return packed(address) in self._places
        except ValueError:
            return False

    def introduce(self, info_hash: bytes, address: str, port: int, seeds: bool) -> None:
        """Tell others of this peer, which needn't announce itself. Raises KeyError, ValueError."""
        self._swarms[info_hash].enter(Peer(packed(address), port, b"", seeds, FOREVER))

    def dismiss(self, info_hash: bytes, address: str, port: int) -> None:
        """Tell nobody of it any more. Raises KeyError, ValueError."""
        self._swarms[info_hash].leave(packed(address), port)

    def metainfo(self, info_hash: bytes) -> bytes:
        """A torrent's. Raises Refused where there is no such torrent."""
        if info_hash not in self._swarms:
            raise Refused(404, "no such torrent")
        return self._swarms[info_hash].metainfo

    def scrape(self, hashes: "Sequence[bytes]", now: float) -> "Dict[bytes, Any]":
        """How many peers have, and lack, each of these torrents; of all, where none is named."""
        files: "Dict[bytes, Any]" = {}
        for info_hash in hashes or self._swarms:
            swarm = self._swarms.get(info_hash)
            if swarm is not None:
                swarm.expire(now)
                seeds, others = swarm.counts()
                files[info_hash] = {
                    b"complete": seeds,
                    b"downloaded": swarm.completed,
                    b"incomplete": others,
                }
        return {b"files": files}

    def announce(self, asked: "Asked", address: str, now: float) -> "Dict[bytes, Any]":
        """Note the peer, and tell it of others. Raises Refused."""
        swarm = self._swarms.get(asked.info_hash)
        if swarm is None:
            raise Refused(200, "this torrent isn't registered here")
        swarm.expire(now)
        at = packed(address)
        interval = max(INTERVAL_S, swarm.addresses // MOST_A_SECOND)
        self._note(swarm, asked, at, now + PATIENCE * interval)
        seeds, others = swarm.counts()
        answer: "Dict[bytes, Any]" = {
            b"complete": seeds,
            b"downloaded": swarm.completed,
            b"incomplete": others,
            b"interval": interval,
            b"min interval": SOONEST_S,
        }
        stops = asked.event == b"stopped"
        answer.update(told([] if stops else self._chosen(swarm, asked, at), asked))
        return answer

    def _note(self, swarm: Swarm, asked: "Asked", address: bytes, until: float) -> None:
        known = swarm.find(address, asked.port)
        if asked.event == b"stopped":
            swarm.leave(address, asked.port)
            return
        if asked.event == b"completed" and known is not None and not known.seeds:
            swarm.completed += 1
        if known is not None and known.until == FOREVER:
            until = FOREVER
        if asked.port:  # 0: nobody can connect to it
            swarm.enter(Peer(address, asked.port, asked.peer_id, asked.left == 0, until))

    def _chosen(self, swarm: Swarm, asked: "Asked", address: bytes) -> "List[Peer]":
        """As many others as are wanted, the nearest first; to who has it all, only who lacks something."""
        place = self._places.get(address, ())
        rings: "Dict[Tuple[int, bool], List[Peer]]" = {}  # by how near they are
        known: "Dict[Place, List[Peer]]" = {}
        for peer in swarm.peers() if asked.wanted else ():
            other = self._places.get(peer.address, ())
            if not self._together(place, other):
                continue
            if other not in known:
                known[other] = rings.setdefault((shared(place, other), other == place), [])
            if _tells_of(peer, asked, address):
                known[other].append(peer)
        count = sum(map(len, rings.values()))
        most = asked.wanted if count <= asked.wanted else asked.wanted - asked.wanted // ELSEWHERE
        chosen: "List[Peer]" = []
        for ring in sorted(rings, reverse=True):
            chosen += self._sample(rings[ring], min(len(rings[ring]), most - len(chosen)))
        rest = asked.wanted - most
        return chosen + self._sample(_beyond(rings, chosen, rest), rest)

    def _together(self, one: "Place", other: "Place") -> bool:
        sites = frozenset(one[:1] + other[:1])
        return not (one and other) or len(sites) == 1 or sites in self._peering


def _tells_of(peer: Peer, asked: "Asked", address: bytes) -> bool:
    """Is it another one than who asks, and of use to it?"""
    if peer.port == asked.port and peer.address == address:
        return False
    return peer.peer_id != asked.peer_id and not (peer.seeds and asked.left == 0)


def _beyond(rings: "Dict[Tuple[int, bool], List[Peer]]", chosen: "List[Peer]", least: int) -> "List[Peer]":
    """Who isn't chosen yet, and isn't at the same place; with those who are, if they are fewer than that."""
    if not least:
        return []
    had = set(chosen)
    beyond = [peer for ring in rings if not ring[1] for peer in rings[ring] if peer not in had]
    if len(beyond) < least:
        beyond = [peer for ring in rings.values() for peer in ring if peer not in had]
    return beyond


def shared(one: "Place", other: "Place") -> int:
    """How many words two places have in common, from the beginning."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def packed(address: str) -> bytes:
    """The 4 or 16 bytes of an address; an IPv4 one that is written as IPv6 has 4. Raises ValueError."""
    found = ipaddress.ip_address(address.partition("%")[0])  # without the interface that a link-local one has
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).packed
