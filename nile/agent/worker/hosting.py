"""The tracker of a swarm at the root, for who comes by himself.

It answers addresses of the run's hosts alone, whose names are looked up a few at
a time, and has the torrent too. Hosts that take part are introduced to it: they
needn't announce themselves, and are told of each other without it.
"""

import random
from collections import deque

from nile.agent.worker import bencode
from nile.agent.worker.lookup import LookUp
from nile.agent.worker.register import Register
from nile.agent.worker.tracker import Tracker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Sequence, Tuple

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.metainfo import Metainfo

    Message = Dict[str, Any]

AT_ONE_TIME = 8  # names that are looked up
BATCH = 100  # of these, after which those that are known may ask
MOST_ADDRESSES = 4  # of one host


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
        self._names: "Deque[str]" = deque()
        self._looking: "Dict[str, LookUp]" = {}
        self._known: "Dict[str, List[str]]" = {}
        self._peers: "Dict[str, int]" = {}

    def begin(self, info_hash: bytes, torrent: bytes, names: "Sequence[str]") -> None:
        """Have this torrent, for hosts of these names."""
        self._hash = info_hash
        self._register.add(info_hash, torrent)
        self._names.extend(dict.fromkeys(names))
        self._look_up()

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
        self._names.clear()
        for look_up in self._looking.values():
            look_up.close()
        self._looking.clear()
        self._tracker.close()

    def _look_up(self) -> None:
        while self._names and len(self._looking) < AT_ONE_TIME:
            name = self._names.popleft()
            self._looking[name] = LookUp(self._loop, name, 0, self._finder(name))

    def _finder(self, name: str) -> "Callable[[List[Tuple[Any, Any]], str], None]":
        def found(places: "List[Tuple[Any, Any]]", _: str) -> None:
            del self._looking[name]
            addresses = list(dict.fromkeys(place[0] for _, place in places))
            self._known[name] = addresses[:MOST_ADDRESSES]
            if name in self._peers:
                self.introduce(name, self._peers[name])
            if len(self._known) % BATCH == 0 or not (self._names or self._looking):
                self._register.plan({each: () for known in self._known.values() for each in known})
            self._look_up()

        return found


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
    made.begin(torrent.hash, file, [message["address"]] + message["hosts"])
    say(number, {"port": made.port, "hash": torrent.hash.hex(), "more": True})
    return made


def _short(address: str) -> str:
    """An IPv4 one that is written as IPv6, as people know it."""
    return address.rpartition(":")[2] if address.startswith("::ffff:") and "." in address else address
