"""Swarms at one worker: at the root the torrent and its seed, at a host a peer, and what that brings.

    torrent   make the metainfo of what is to be copied: `only` of it, if that isn't b"" (the root's worker)
    seed      serve it                                                                   (the root's worker)
    addresses of hosts, by their names                                                  (the root's worker)
    track     have a tracker for who comes by himself                                    (the root's worker)
    introduce, dismiss   whom it tells of, by name                                       (the root's worker)
    untrack   have it no more                                                            (the root's worker)
    metainfo  a part of it
    peer      take part, and have what comes where it belongs once all is there; or `keep` what is there
    carry     a part of a libtorrent, for who has said that there is none
    take      all of it from another host, which comes to the port that is answered
    hand      that to another host, which waits
    load      that was all: load it
    aria      have the aria2 that is there take part instead
    elsewhere look for peers at these trackers, and for files at these web servers, too
    share     get this part of all pieces first: the seed gives each one another part
    peers     connect to these: addresses and ports
    limit     bytes a second that go out at most, and that come to a gateway over its uplink
    unpeer    take part no more

A seed and a peer answer with their port, then say how they are, which address
they have `banned` since damaged pieces came from there, and in the end what
they sent; a host also that it is `merging`, from time to time, once all has
come, and then `complete`: it has what the source has, unless there was
`trouble`. It serves the others until it is told to stop.
"""

import errno
import os
import zlib

from nile.agent.worker import checking, metainfo
from nile.agent.worker.forking import Failure
from nile.agent.worker.messages import CantError
from nile.agent.worker.metainfo import Metainfo
from nile.agent.worker.partaking import CHUNK, Part, Seed
from nile.agent.worker.taking import Taker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

    from nile.agent.worker.hosting import Hosting
    from nile.agent.worker.lookups import LookUps
    from nile.agent.worker.loop import Loop
    from nile.agent.worker.manifest import Manifest
    from nile.agent.worker.place import Place
    from nile.agent.worker.trees import Source

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]
    Changed = Callable[[], List[bytes]]

MOST_NAMED = 3
MOST_PIECES = 1 << 20  # of 600,000 small files the torrent has 80 MB, and a peer takes more than 1 GB


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
        self._hosting: "Optional[Hosting]" = None
        self._looking: "List[LookUps]" = []
        self._stopping = 0

    # At the root.

    def torrent(self, message: "Message", source: "Source") -> "Message":
        """Make it; it is said in chunks, and then what it is."""
        from nile.agent.worker import archiving  # no host does
        from nile.agent.worker.recording import nameless
        from nile.agent.worker.taping import spool_directory

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
        return {"hash": torrent.hash, "digest": checking.digest(archive)}

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

    def addresses(self, message: "Message") -> None:
        """Find those of these names, our own left out."""
        from nile.agent.worker.lookups import LookUps, is_ours  # few swarms need them

        number, names = message["n"], set(message["names"])
        known: "Dict[str, List[str]]" = {}

        def found(name: str, addresses: "List[str]") -> None:
            known[name] = [each for each in addresses if not is_ours(each)]
            if len(known) == len(names):
                self._say(number, {"found": known})

        self._looking.append(LookUps(self._loop, message["names"], found))

    def track(self, message: "Message") -> None:
        """Have a tracker. Raises OSError where it can't listen."""
        from nile.agent.worker.hosting import hosting  # few swarms have any

        assert self._torrent is not None
        self._hosting = hosting(self._loop, message, self._say, self._torrent)

    def introduce(self, message: "Message") -> None:
        """It is to tell of this host's peer."""
        if self._hosting is not None:
            self._hosting.introduce(message["name"], message["port"])

    def dismiss(self, message: "Message") -> None:
        """And no more."""
        if self._hosting is not None:
            self._hosting.dismiss(message["name"])

    def untrack(self, _: object = None) -> None:
        """Have it no more."""
        if self._hosting is not None:
            self._hosting.close()
            self._hosting = None

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
        if message["keep"]:
            from nile.agent.worker.keeping import Keeper  # few hosts do

            self._parts[number] = Keeper(self._loop, message, self._end, torrent, place)
        else:
            self._parts[number] = Taker(self._loop, message, self._end, torrent, place, found)

    # At both.

    def carry(self, message: "Message") -> None:
        """A part of a libtorrent; how many there may be under way follows from the answers."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.carry(message["chunk"])
        self._say(message["n"], {})

    def take(self, message: "Message") -> None:
        """All of it comes from another host."""
        self._hand_on(message, Part.take)

    def hand(self, message: "Message") -> None:
        """Hand it to another host."""
        self._hand_on(message, Part.hand)

    def _hand_on(self, message: "Message", how: "Callable[[Part, Message], None]") -> None:
        part = self._parts.get(message["what"])
        try:
            if part is None:
                raise OSError(errno.ESRCH, "it takes part no more")
            how(part, message)
        except OSError as error:
            self._say(message["n"], {"code": "copy", "reason": str(error.strerror)})

    def load(self, message: "Message") -> None:
        """That was all of it."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.load(message["python"], message["digest"])

    def aria(self, message: "Message") -> None:
        """The aria2 of this host is to be the peer."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.have_aria()

    def elsewhere(self, message: "Message") -> None:
        """Look there, too."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.elsewhere(message["trackers"], message["webs"])

    def share(self, message: "Message") -> None:
        """Get that part first."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.share(message["part"], message["parts"])

    def peers(self, message: "Message") -> None:
        """Connect to these."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.connect(message["peers"])

    def limit(self, message: "Message") -> None:
        """Send, and take from outside, no more than so many bytes a second; it says when that holds."""
        part = self._parts.get(message["what"])
        if part is not None:
            part.limit(message)

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
        self.untrack()
        for part in self._parts.values():
            part.kill()
        self._ended += self._parts.values()
        self._parts.clear()
        self.clear()

    def stop(self, idle: "Callable[[], None]") -> None:
        """End all of them; `idle()` is called once nothing is left."""
        self.untrack()
        while self._looking:
            self._looking.pop().close()
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
