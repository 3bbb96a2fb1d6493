"""Swarms at one worker: at the root the torrent and its seed, at a host a peer, and what that brings.

    torrent   make the metainfo of what is to be copied: `only` of it, if that isn't b"" (the root's worker)
    seed      serve it                                                                   (the root's worker)
    metainfo  a part of it
    peer      take part, and have what comes where it belongs once all is there
    peers     connect to these: addresses and ports
    limit     bytes a second that go out at most
    unpeer    take part no more

A seed and a peer answer with their port, then say how they are, and in the end
what they sent; a host also that it is `merging`, from time to time, once all has
come, and then `complete`: it has what the source has, as far as that was
`merged`. It serves the others until it is told to stop.
"""

import os
import zlib

from nile.agent.worker import archiving, metainfo, peering, peerprogram
from nile.agent.worker.forking import Failure
from nile.agent.worker.landing import Landing, wanted
from nile.agent.worker.lookup import LookUp
from nile.agent.worker.manifest import FILE
from nile.agent.worker.messages import CantError
from nile.agent.worker.metainfo import Metainfo
from nile.agent.worker.peering import Peering
from nile.agent.worker.peerprogram import NAMES
from nile.agent.worker.recording import nameless
from nile.agent.worker.taping import spool_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.manifest import Manifest
    from nile.agent.worker.place import Place
    from nile.agent.worker.running import Ending
    from nile.agent.worker.trees import Source

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]
    Changed = Callable[[], List[bytes]]

CHUNK = 64 * 1024  # bytes of a packed torrent in one message
MOST_NAMED = 3
MOST_PIECES = 1 << 20  # of 600,000 small files the torrent has 80 MB, and a peer takes more than 1 GB
MOST_ADDRESSES = 4  # of one host


class Part:
    """One peer process that takes part in a swarm, for the question of this number; see `Swarming`."""

    def __init__(self, loop: "Loop", message: "Message", say: "Say", torrent: Metainfo) -> None:
        self._loop = loop
        self._number = message["n"]
        self._say = say
        self._torrent = torrent
        self._how = {name: message[name] for name in peerprogram.HOW if name in message}
        self._idle: "Optional[Callable[[], None]]" = None
        self._trouble: "Message" = {}
        self._sent = 0
        self._known: "Dict[str, List[str]]" = {}  # addresses by name
        self._looking: "Dict[str, Tuple[LookUp, List[int]]]" = {}  # ports that wait for the address of a name
        self._peering = Peering(loop, peering.pythons(message["python"]), self._heard, self._over)

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

    def limit(self, limit: int) -> None:
        """Send no more than so many bytes a second; 0: as many as it can."""
        self._peering.tell({"do": "limit", "limit": limit})

    def stop(self, idle: "Optional[Callable[[], None]]" = None) -> None:
        """Take part no more; that is answered, and then `idle()` called."""
        self._idle = idle
        self._peering.stop()

    def _heard(self, message: "Message") -> None:
        if "ready" in message:
            self._begin()
        elif "port" in message:
            self._say(self._number, {"port": message["port"], "more": True})
        elif "report" in message:
            self._sent = message["report"]["sent"]
            self._say(self._number, {"progress": message["report"], "more": True})
        elif "complete" in message:
            self._completed()
        elif message.get("code"):
            self._fail(message["code"], message["reason"])

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

    def _tell_start(self, directory: bytes, wanted: bytes, *, seed: bool) -> None:
        for at in range(0, len(wanted), CHUNK):
            self._peering.tell({"do": "wanted", "wanted": wanted[at : at + CHUNK]})
        self._peering.tell(dict(self._how, do="start", directory=directory, seed=seed))

    def _completed(self) -> None:
        """Only a taker ever is."""

    def _over(self, code: str, reason: str) -> None:
        for look_up, _ in self._looking.values():
            look_up.close()
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
        torrent: Metainfo,
        places: "List[bytes]",
    ) -> None:
        self._places = places
        super().__init__(loop, message, say, torrent)

    def _start(self) -> None:
        for at in range(0, len(self._places), NAMES):
            self._peering.tell({"do": "places", "places": self._places[at : at + NAMES]})
        self._tell_start(b"/", bytes(1 for _ in self._torrent.files), seed=True)


class Taker(Part):
    """A host's: what comes goes to a directory of its own in the destination, and then to its place."""

    def __init__(
        self,
        loop: "Loop",
        message: "Message",
        say: "Say",
        torrent: Metainfo,
        place: "Place",
        found: "Optional[Manifest]",
    ) -> None:
        """Raises OSError where it can't have a directory."""
        entries = found.entries if found is not None and not message["all"] else []
        there = {entry.path: (entry.size, entry.mtime_ns) for entry in entries if entry.kind == FILE}
        self._names = {path: b"%d" % number for number, path in wanted(torrent.numbered(), there)}
        self._found = found
        self._merge_as = message
        self._is_here = self._complete = self._stopped = False
        self._end: "Optional[Tuple[str, str]]" = None
        """How its peer ended, before all was in its place."""
        self._landing = Landing(place)
        super().__init__(loop, message, say, torrent)

    def _start(self) -> None:
        coming = set(self._names.values()) | {b"%d" % self._torrent.archive}
        files = range(len(self._torrent.files))
        wanted = bytes(b"%d" % number in coming for number in files)
        self._tell_start(self._landing.directory, wanted, seed=False)

    def _completed(self) -> None:
        if self._trouble or self._is_here:
            return  # what it wrote isn't there
        self._is_here = True
        self._say_merging()
        if self._landing.links:
            self._merge()
        else:  # a file has one name: it can't be served any more
            self._peering.stop()

    def _say_merging(self) -> None:
        self._say(self._number, {"merging": True, "more": True})

    def _merge(self) -> None:
        how = self._merge_as
        try:
            self._landing.merge(
                self._loop, self._torrent, self._names, self._found, how, self._merged, self._say_merging
            )
        except OSError as error:
            self._is_merged("%s: %s" % (error.strerror, os.fsdecode(error.filename or b"")))

    def _merged(self, ending: "Ending") -> None:
        self._is_merged(ending.said() if ending.code else "")

    def _is_merged(self, trouble: str) -> None:
        if not self._stopped:
            self._complete = True
            self._say(self._number, {"complete": True, "trouble": trouble, "more": True})
        if self._end is not None:
            super()._over(*self._end)

    def stop(self, idle: "Optional[Callable[[], None]]" = None) -> None:
        """As that of any part; what isn't in its place yet gets there no more."""
        self._stopped = True
        self._landing.abort()
        super().stop(idle)

    def _over(self, code: str, reason: str) -> None:
        self._end = code, reason
        if self._is_here and not self._complete and not self._stopped:
            if not self._landing.merging:
                self._merge()
        elif not self._landing.merging:
            super()._over(code, reason)

    def _leave(self) -> None:
        if not self._complete:
            self.clear()

    def clear(self) -> None:
        """Remove what others are served from."""
        self._landing.clear()


class Swarming:
    """`say(number, fields)` answers; `changed()` names what of the source changed since it was read.

    Files of a host keep the names that they have for the swarm until `clear` is called: as long as the host
    may give its copy to others by rsync, which then looks if any was written to.
    """

    def __init__(self, loop: "Loop", say: "Say", changed: "Changed") -> None:
        self._loop = loop
        self._say = say
        self._changed = changed
        self._torrent: "Optional[Metainfo]" = None
        self._places: "List[bytes]" = []
        self._packed = b""
        self._parts: "Dict[int, Part]" = {}
        self._ended: "List[Part]" = []
        self._stopping = 0

    # At the root.

    def torrent(self, message: "Message", source: "Source") -> "Message":
        """Make it; it is said in chunks, and then what it is."""
        only, whole = message["only"], message["whole"] or not message["only"]
        files = metainfo.chosen(source, only)
        if metainfo.pieces(files) > MOST_PIECES:
            raise CantError("copy", "a torrent has %d pieces at most, and of so many files" % MOST_PIECES)
        archive = nameless(os.fsencode(spool_directory()))  # it stays open, to be served
        try:
            archiving.write_bare(os.dup(archive), source, paths=None if whole else only)
            named = [message[what].encode() for what in ("name", "certificate")]
            info = metainfo.make(source, files, archive, whole, message["nonce"], *named)
            torrent = Metainfo(info)
        except Failure as failure:
            os.close(archive)
            raise CantError(failure.code, "%s: %s" % (failure, os.fsdecode(failure.name))) from None
        self._check()
        places = [b""] * len(torrent.files)  # of padding nothing is read
        for number, file in torrent.numbered():
            places[number] = source.place(file.path)
        places[torrent.archive] = b"/proc/%d/fd/%d" % (os.getpid(), archive)
        self._torrent, self._places = torrent, places
        packed = zlib.compress(torrent.info, 6)
        for at in range(0, len(packed), CHUNK):
            self._say(message["n"], {"chunk": packed[at : at + CHUNK], "more": True})
        return {}

    def _check(self) -> None:
        """What was hashed is all there is: has nothing been written to, also of what was hashed first?"""
        changed = self._changed()
        if changed:
            named = ", ".join(os.fsdecode(path) for path in changed[:MOST_NAMED])
            raise CantError("source-changed", "the source changed while it was read (%s)" % named)

    def seed(self, message: "Message") -> None:
        """Serve it."""
        assert self._torrent is not None
        number = message["n"]
        self._parts[number] = Seed(self._loop, message, self._end, self._torrent, self._places)

    # At a host.

    def metainfo(self, message: "Message") -> None:
        """A part of it."""
        self._packed += message["chunk"]

    def peer(self, message: "Message", place: "Place", found: "Optional[Manifest]") -> None:
        """Take part. Raises OSError where nothing can be written."""
        packed, self._packed = self._packed, b""
        try:
            torrent = Metainfo(zlib.decompress(packed))
        except (ValueError, zlib.error) as error:
            raise CantError("copy", "what came of the torrent can't be read: %s" % error) from None
        number = message["n"]
        self._parts[number] = Taker(self._loop, message, self._end, torrent, place, found)

    # At both.

    def peers(self, message: "Message") -> None:
        """Connect to these."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.connect(message["peers"])

    def limit(self, message: "Message") -> None:
        """Send no more than so many bytes a second."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.limit(message["limit"])

    def unpeer(self, message: "Message") -> None:
        """Take part no more."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.stop()

    def _end(self, number: int, fields: "Message") -> None:
        if not fields.get("more") and number in self._parts:
            self._ended.append(self._parts.pop(number))
        self._say(number, fields)

    def clear(self) -> None:
        """Nobody is served any more, neither so nor otherwise."""
        while self._ended:
            self._ended.pop().clear()

    def leave(self) -> None:
        """There is no time left to wait for those that haven't ended."""
        self._ended += self._parts.values()
        self._parts.clear()
        self.clear()

    def stop(self, idle: "Callable[[], None]") -> None:
        """End all of them; `idle()` is called once nothing is left."""
        parts = list(self._parts.values())
        self._stopping = len(parts) + 1

        def one_less() -> None:
            self._stopping -= 1
            if not self._stopping:
                self.clear()
                idle()

        for part in parts:
            part.stop(one_less)
        one_less()
