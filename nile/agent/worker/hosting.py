"""The tracker of a swarm at the root, for who comes by himself.

It answers addresses of the run's hosts alone, whose names are looked up a few at
a time, and has the torrent too. Hosts that take part are introduced to it: they
needn't announce themselves, and are told of each other without it.
"""

import random

from nile.agent.worker import bencode
from nile.agent.worker.lookups import LookUps
from nile.agent.worker.register import Register
from nile.agent.worker.tracker import Tracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.metainfo import Metainfo

    Message = Dict[str, Any]

BATCH = 100  # names, after which those that are known may ask


def torrent_file(info: bytes, trackers: "Sequence[str]", webs: "Sequence[str]") -> bytes:
    """A torrent as others take it, with trackers, of which there is one at least, and web seeds."""
    tiers: "List[Any]" = [[url.encode()] for url in trackers]
    parts = [b"d8:announce", bencode.encode(tiers[0][0]), b"13:announce-list", bencode.encode(tiers)]
    parts += [b"4:info", info]
    if webs:
        seeds: "List[Any]" = [url.encode() for url in webs]
        parts += [b"8:url-list", bencode.encode(seeds)]
    return b"".join(parts) + b"e"


class Hosting:
    """A tracker, whom it knows by name. `stranger(address)` is called for each other one that asks, once."""

    def __init__(self, loop: "Loop", port: int, stranger: "Callable[[str], None]") -> None:
        """`port` 0 is any that is free: see `self.port`. Raises OSError."""
        self._loop = loop
        self._register = Register(random.sample)
        self._tracker = Tracker(loop, self._register, stranger, port=port)
        self.port = self._tracker.port
        self._hash = b""
        self._places: "Dict[str, Tuple[str, ...]]" = {}
        self._peering: "Sequence[Sequence[str]]" = ()
        self._look_ups: "Optional[LookUps]" = None
        self._known: "Dict[str, List[str]]" = {}
        self._peers: "Dict[str, int]" = {}

    def begin(
        self,
        info_hash: bytes,
        torrent: bytes,
        places: "Mapping[str, Tuple[str, ...]]",
        peering: "Sequence[Sequence[str]]" = (),
    ) -> None:
        """Have this torrent, for hosts of these names, which are there; `peering`: see `Register.plan`."""
        self._hash = info_hash
        self._register.add(info_hash, torrent)
        self._places, self._peering = dict(places), peering
        self._look_ups = LookUps(self._loop, list(places), self._found)

    def introduce(self, name: str, port: int) -> None:
        """Tell others of this peer."""
        self._peers[name] = port
        for address in self._known.get(name, []):
            self._register.introduce(self._hash, address, port, False)

    def dismiss(self, name: str) -> None:
        """Tell nobody of it any more."""
        port = self._peers.pop(name, 0)
        for address in self._known.get(name, []):
            self._register.dismiss(self._hash, address, port)

    def close(self) -> None:
        """Answer nobody any more."""
        if self._look_ups is not None:
            self._look_ups.close()
        self._tracker.close()

    def _found(self, name: str, addresses: "List[str]") -> None:
        self._known[name] = addresses
        if name in self._peers:
            self.introduce(name, self._peers[name])
        if len(self._known) % BATCH == 0 or len(self._known) == len(self._places):
            self._register.plan(self._planned(), self._peering)

    def _planned(self) -> "Dict[str, Tuple[str, ...]]":
        """Where addresses are; that of several names, which aren't all at one place, is at none."""
        planned: "Dict[str, Tuple[str, ...]]" = {}
        for name, addresses in self._known.items():
            for each in addresses:
                place = self._places[name]
                planned[each] = place if planned.get(each, place) == place else ()
        return planned


def hosting(
    loop: "Loop", message: "Message", say: "Callable[[int, Message], None]", torrent: "Metainfo"
) -> Hosting:
    """One as it is asked for, which says where it is. Raises OSError where it can't listen."""
    number = message["n"]

    def stranger(address: str) -> None:
        say(number, {"stranger": _short(address), "more": True})

    made = Hosting(loop, message["port"], stranger)
    host = "[%s]" % message["address"] if ":" in message["address"] else message["address"]
    own = "http://%s:%d/announce" % (host, made.port)
    file = torrent_file(torrent.info, [own] + message["trackers"], message["webs"])
    places = {name: tuple(place) for name, place in message["hosts"]}
    made.begin(torrent.hash, file, dict(places, **{message["address"]: ()}), message["peering"])
    say(number, {"port": made.port, "hash": torrent.hash.hex(), "more": True})
    return made


def _short(address: str) -> str:
    """An IPv4 one that is written as IPv6, as people know it."""
    return address.rpartition(":")[2] if address.startswith("::ffff:") and "." in address else address
