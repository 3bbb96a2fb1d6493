"""One peer process that takes part in a swarm, as its worker has it; and the root's, which is the seed."""

import os

from nile.agent.worker import peering
from nile.agent.worker.lookup import LookUp
from nile.agent.worker.nearby import Nearby
from nile.agent.worker.peering import Peering
from nile.agent.worker.peersettings import HOW, NAMES
from nile.agent.worker.ports import free_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple, Union

    from nile.agent.worker.ariac import Look
    from nile.agent.worker.ariapeer import Aria
    from nile.agent.worker.handing import Hand, Take
    from nile.agent.worker.loop import Loop
    from nile.agent.worker.metainfo import Metainfo

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]

CHUNK = 64 * 1024  # bytes of a packed torrent in one message
MOST_ADDRESSES = 4  # of one host


class Part:
    """One peer process that takes part in a swarm, for the question of this number; see `Swarming`."""

    def __init__(self, loop: "Loop", message: "Message", say: "Say", torrent: "Metainfo") -> None:
        self._loop = loop
        self._number = message["n"]
        self._say = say
        self._torrent = torrent
        self._how = {name: message[name] for name in HOW if name in message}
        self._idle: "Optional[Callable[[], None]]" = None
        self._trouble: "Message" = {}
        self._sent = 0
        self._is = ""  # which peer, of which version
        self._known: "Dict[str, List[str]]" = {}  # addresses by name
        self._looking: "Dict[str, Tuple[LookUp, List[int]]]" = {}  # ports that wait for the address of a name
        self._limit: "Message" = {}  # what holds from the last time on that it was told
        self._nearby = Nearby(loop, self._is_near)
        self._look: "Optional[Look]" = None
        self._aria = ("", "")  # where it is, and its version
        self._handing: "List[Union[Hand, Take]]" = []
        self._peering: "Union[Peering, Aria]" = Peering(
            loop, peering.pythons(message["python"]), self._heard, self._over
        )

    def connect(self, peers: "List[Any]") -> None:
        """To these: names or addresses, and ports."""
        for name, port in peers:
            if name in self._known:
                self._tell_of(self._known[name], port)
            elif name in self._looking:
                self._looking[name][1].append(port)
            else:
                self._looking[name] = (LookUp(self._loop, name, port, self._finder(name)), [port])

    def _finder(self, name: str) -> "Callable[[List[Any], str], None]":
        def found(places: "List[Any]", _: str) -> None:
            self._known[name] = addresses = list(dict.fromkeys(place[0] for _, place in places))
            for port in self._looking.pop(name)[1]:
                self._tell_of(addresses, port)

        return found

    def _tell_of(self, addresses: "List[str]", port: int) -> None:
        # A peer notices that it is the same one at another address.
        self._peering.tell({"do": "peers", "peers": [[each, port] for each in addresses[:MOST_ADDRESSES]]})

    def elsewhere(self, trackers: "List[str]", webs: "List[str]") -> None:
        """Look there, too."""
        self._peering.tell({"do": "elsewhere", "trackers": trackers, "webs": webs})

    def share(self, part: int, parts: int) -> None:
        """Get this one of so many parts of all pieces first."""
        self._peering.tell({"do": "share", "part": part, "parts": parts})

    def carry(self, chunk: bytes) -> None:
        """A part of a libtorrent."""
        if isinstance(self._peering, Peering):
            self._peering.carry(chunk)

    def take(self, message: "Message") -> None:
        """The same from another host; it says where that is to come. Raises OSError."""
        from nile.agent.worker.handing import Take  # few hosts need it

        def moved() -> None:
            self._say(message["n"], {"more": True})

        def taken(data: bytes, reason: str) -> None:
            self._handing.remove(take)
            for at in range(0, 0 if reason else len(data), CHUNK):
                self.carry(data[at : at + CHUNK])
            self._say(message["n"], {"code": "copy", "reason": reason} if reason else {})

        ports = self._how.get("ports", [])
        port = free_port(ports, 0) if ports else 0
        words = message["secret"], message["size"], message["digest"]
        limit = self._allowed  # as much as whoever hands it, as a rule
        take = Take(self._loop, *words, port=port, limit=limit, moved=moved, taken=taken)
        self._handing.append(take)
        self._say(message["n"], {"port": take.port, "more": True})

    def hand(self, message: "Message") -> None:
        """Hand it to another host."""
        from nile.agent.worker.handing import Hand

        def over(reason: str) -> None:
            self._handing.remove(hand)
            self._say(message["n"], {"code": "copy", "reason": reason} if reason else {})

        wheel = self._peering.wheel if isinstance(self._peering, Peering) else []
        where = message["address"], message["port"], message["secret"], self._allowed
        hand = Hand(self._loop, b"".join(wheel), *where, over=over)
        self._handing.append(hand)

    @property
    def _allowed(self) -> int:
        """Bytes a second that go out at most, as it was said last; 0: as many as can."""
        return int({**self._how, **self._limit}.get("limit", 0))

    def load(self, which: int, digest: bytes) -> None:
        """That was all of it, and that one of the Pythons that were named is to load it."""
        places = [os.environ.get("NILE_SCRATCH", ""), self._own()]
        if isinstance(self._peering, Peering):
            self._peering.load(which, digest, [place for place in places if place])

    def have_aria(self) -> None:
        """It is to be the aria2 that is here, instead."""
        from nile.agent.worker.ariapeer import Aria  # few hosts need it

        if isinstance(self._peering, Peering) and self._aria[0] and not self._trouble:
            self._peering = Aria(self._loop, self._torrent, *self._aria, said=self._heard, over=self._over)

    def _own(self) -> str:
        """A directory of ours; "" where there is none."""
        return ""

    def limit(self, message: "Message") -> None:
        """Send no more than so many bytes a second; 0: as many as it can.

        A gateway of a rack has an `uplink`, too: so many come in from others than those that are `near`, by
        name, or were before. It is answered once that holds; until a name is looked up, its host isn't near.
        """
        self._limit = {"do": "limit", "limit": message["limit"]}
        if "uplink" in message:
            self._limit["uplink"] = message["uplink"]
            self._nearby.add(message["near"])
        self._peering.tell(dict(self._limit, near=[], n=message["n"]))

    def _is_near(self, addresses: "List[str]") -> None:
        if "uplink" in self._limit:
            self._peering.tell(dict(self._limit, near=addresses))

    def stop(self, idle: "Optional[Callable[[], None]]" = None) -> None:
        """Take part no more; that is answered, and then `idle()` called."""
        self._idle = idle
        self._peering.stop()

    def _heard(self, message: "Message") -> None:
        if "ready" in message:
            self._is = message["ready"]
            self._begin()
        elif "lacks" in message:
            self._lacks(message["lacks"])
        elif "checking" in message:
            self._gets_on()
        elif "port" in message:
            self._say(self._number, {"port": message["port"], "peer": self._is, "more": True})
        elif "report" in message:
            self._sent = message["report"]["sent"]
            self._say(self._number, {"progress": message["report"], "more": True})
        elif "banned" in message:
            self._say(self._number, {"banned": message["banned"], "more": True})
        elif "limited" in message:
            self._say(message["limited"], {})
        elif "complete" in message:
            self._completed()
        elif message.get("code"):
            self._fail(message["code"], message["reason"])

    def _lacks(self, pythons: "List[Message]") -> None:
        """There is no libtorrent: is there an aria2? (It serves nothing that lies elsewhere.)"""
        if self._how.get("keep"):
            self._say(self._number, {"lacks": pythons, "aria2": "", "more": True})
            return
        from nile.agent.worker.ariac import Look

        def found(path: str, version: str) -> None:
            self._aria = (path, version)
            self._say(self._number, {"lacks": pythons, "aria2": version, "more": True})

        self._look = Look(self._loop, found)

    def _fail(self, code: str, reason: str) -> None:
        self._trouble = self._trouble or {"code": code, "reason": reason}
        self._peering.stop()

    def _begin(self) -> None:
        torrent = self._torrent.torrent
        for at in range(0, len(torrent), CHUNK):
            self._peering.tell({"do": "metainfo", "chunk": torrent[at : at + CHUNK]})
        self._start()

    def _start(self) -> None:
        raise NotImplementedError

    def _tell_places(self, places: "List[bytes]") -> None:
        for at in range(0, len(places), NAMES):
            self._peering.tell({"do": "places", "places": places[at : at + NAMES]})

    def _tell_start(self, directory: bytes, wanted: bytes, *, seed: bool) -> None:
        for at in range(0, len(wanted), CHUNK):
            self._peering.tell({"do": "wanted", "wanted": wanted[at : at + CHUNK]})
        self._peering.tell(dict(self._how, do="start", directory=directory, seed=seed))

    def _completed(self) -> None:
        """Only a taker ever is."""

    def _gets_on(self) -> None:
        """With what came, of which it has all."""

    def kill(self) -> None:
        """Its process is to be gone at once."""
        self._peering.kill()

    def _over(self, code: str, reason: str) -> None:
        if self._look is not None:
            self._look.close()
        for each in self._handing:
            each.close()
        for look_up, _ in self._looking.values():
            look_up.close()
        self._nearby.close()
        if code and not self._trouble:
            self._trouble = {"code": code, "reason": reason}
        self._leave()
        self._say(self._number, dict(self._trouble, sent=self._sent))
        if self._idle is not None:
            self._idle()

    def _leave(self) -> None:
        """It has ended."""

    def clear(self) -> None:
        """Nothing of it is needed any more."""


class Seed(Part):
    """The root's: it has all, and writes nothing."""

    def __init__(
        self,
        loop: "Loop",
        message: "Message",
        say: "Say",
        torrent: "Metainfo",
        places: "List[bytes]",
    ) -> None:
        self._places = places
        super().__init__(loop, message, say, torrent)

    def _start(self) -> None:
        self._tell_places(self._places)
        self._tell_start(b"/", bytes(1 for _ in self._torrent.files), seed=True)
