"""A worker's one job: it does what the root says, message by message, and says what came of it.

Messages come on standard input and go on standard output. What the root says has a number
`n` and a verb `do`; every answer has that number. Where more answers follow it
has `more`; a `code` means that it couldn't be done, and has a `reason` with it.

    read      scan the source                         (the root's worker)
    pack      the source's manifest, in chunks        (the root's worker)
    open      may the destination be written to, by this user, now?
    scan      what is there
    source    a chunk of the source's manifest
    compare   how the destination differs from that
    receive   wait for a copy, at the port that is answered first
    push      copy to another one
    abandon   nobody will come: stop receiving
    record    record once what a copy would send      (the root's worker)
    serve     begin a chain with that                 (the root's worker)
    forget    a recording isn't needed any more       (the root's worker)
    join      take a place in a chain, and apply what comes
    approve   the digest of a stream: who has another one may not use it
    predecessor, successor, last, leave   what becomes of that place
    signed    what the root says to a request for a signature, for a login to the successor
    torrent, peer, ...    of swarms: see nile.agent.worker.swarming
    look, seal, stage, flip, ...   of releases: see nile.agent.worker.releasing
    collect   have the directory that gets files of hosts  (the root's worker)
    offer     wait for who takes files from here, at the port that is answered first
    fetch     take what a host offers                 (the root's worker)
    close     nothing more comes: leave the destination as it is now
    end       as without standard input

Without standard input, and at SIGTERM, it stops what it does, cleans up and ends.
"""

import os
import select

from nile.agent import wire
from nile.agent.worker import hashing, messages, target
from nile.agent.worker.copies import Copies
from nile.agent.worker.excuses import where
from nile.agent.worker.manifest import TEMPORARY, Manifest, Terms
from nile.agent.worker.messages import CantError
from nile.agent.worker.packing import MOST_ENTRIES, pack, unpack
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.place import Place
from nile.agent.worker.receiving import ERRORS
from nile.agent.worker.scanning import changed_since, scan
from nile.agent.worker.trees import Source, differences, seen_here
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from nile.agent.worker.gathering import Gathering
    from nile.agent.worker.loop import Loop
    from nile.agent.worker.releasing import Releasing
    from nile.agent.worker.streaming import Streaming
    from nile.agent.worker.swarming import Swarming

    Message = Dict[str, Any]

STOP_S = 3.0  # from SIGTERM to the end, at most
MOST_NAMED = 100
MOST_OWNERS = 10000
OWNERS = ("none", "names", "numbers")
# What takes no time (but `_readied`), and must not be broken into: only then is it known what to stop.
SWARM = frozenset(
    "seed track introduce dismiss untrack addresses metainfo peer".split()
    + "carry take hand load aria elsewhere share peers limit unpeer".split()
)
QUICK = SWARM.union(
    "receive push abandon record serve forget join approve predecessor successor signed last leave".split()
)
PASSED_ON = frozenset(["serve", "predecessor", "successor", "signed"])  # to the streams, as they are


class Service:
    """The state of one worker."""

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._in = bytearray()
        self._out = bytearray()
        self._source: "Optional[Source]" = None
        self._place: "Optional[Place]" = None
        self._found: "Optional[Manifest]" = None
        self._looked: "Tuple[List[Tuple[bytes, bytes]], Patterns]" = ([], Patterns())
        self._chunks: "List[bytes]" = []
        self._at = 0
        self._writing = False
        self._releasing: "Optional[Releasing]" = None
        self._copies = Copies(loop, self._say, self._changed)
        self._streaming: "Optional[Streaming]" = None
        self._gathering: "Optional[Gathering]" = None
        self._swarming: "Optional[Swarming]" = None

    # Messages.

    def listen(self) -> None:
        """Do what comes on standard input."""
        for fd in (0, 1):
            os.set_blocking(fd, False)
        self._loop.watch(0, select.POLLIN, self._read)

    def _read(self, _: int) -> None:
        try:
            data = os.read(0, wire.CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.hang_up()
            return
        for message in messages.unpack(self._in, data):
            self._do(message)

    def _do(self, message: "Message") -> None:
        number = message["n"]
        self._at = number
        try:
            if message["do"] in QUICK:
                answer = self._carry_out(message)
            else:
                with WORK.announced():
                    answer = self._carry_out(message)
        except CantError as error:
            answer = error.fields
        except OSError as error:
            path = os.fsdecode(error.filename) + ": " if error.filename else ""
            code = ERRORS.get(error.errno or 0, ("copy",))[0]
            answer = {"code": code, "reason": "%s%s" % (path, error.strerror)}
        except Exception as error:  # the root is to hear of it, and this worker may still be needed
            answer = {"code": "agent", "reason": where(error)}
        if answer is not None:
            self._say(number, answer)

    def _carry_out(self, message: "Message") -> "Optional[Message]":
        do = message["do"]
        if do in SWARM or do == "torrent":
            return self._swarm(message)
        own = getattr(self._streams(), do) if do in PASSED_ON else getattr(self, "_do_" + do, None)
        if self._swarming is not None and (own is None or do == "close"):
            self._swarming.clear()
        answer: "Optional[Message]" = own(message) if own is not None else self._releases().do(message)
        return answer

    def _say(self, number: int, fields: "Message") -> None:
        self._writing = True
        self._out += messages.pack(dict(fields, n=number))
        self._write()
        self._writing = False

    def _write(self) -> None:
        while self._out:
            try:
                del self._out[: os.write(1, self._out)]
            except BlockingIOError:
                self._loop.watch(1, select.POLLOUT, lambda _: self._write())
                return
        self._loop.unwatch(1)

    def say_alive(self) -> None:
        """It takes long; but where the file system hangs, this isn't called either."""
        if self._writing:
            return  # a signal came in the middle of it
        self._say(self._at, {"alive": True, "done": WORK.done, "more": True})

    def hang_up(self) -> None:
        """Nobody says anything any more, or is to be heard."""
        self._loop.unwatch(0)
        self.end()

    def end(self) -> None:
        """Stop everything, clean up, and have the loop end."""
        self._loop.at(self._loop.now() + STOP_S, self._leave)
        all_of_them = (self._swarming, self._copies, self._streaming, self._gathering)
        used = [each for each in all_of_them if each is not None]

        def stop_next() -> None:
            if used:
                used.pop(0).stop(stop_next)
            else:
                self._leave()

        stop_next()

    def _leave(self) -> None:
        if self._swarming is not None:
            self._swarming.leave()
        if self._place is not None:
            self._place.abandon()
            self._place = None
        self._left()

    def _left(self) -> None:
        self._loop.stop()

    # The root's worker.

    def _do_read(self, message: "Message") -> "Message":
        source = Source(message["sources"], self._patterns(message))
        source.read(message["checksum"], MOST_ENTRIES)
        manifest = source.manifest
        if manifest.missing or manifest.unreadable:
            raise CantError("source", *source.why_not())
        if message["numeric_ids"]:  # nobody has to know what they are called
            manifest.users, manifest.groups = {}, {}
        if len(manifest.users) + len(manifest.groups) > MOST_OWNERS:
            raise CantError("source", "its files have too many owners to go by name", "give --numeric-ids")
        self._source = source
        return {
            "names": [name for _, name in source.roots],
            "fingerprints": {owner: manifest.fingerprint(self._terms(owner, message)) for owner in OWNERS},
            "users": [[number, name] for number, name in manifest.users.items()],
            "groups": [[number, name] for number, name in manifest.groups.items()],
            "entries": len(manifest.entries),
            "room": source.room(),
            "sparse": source.sparse(),
            "size": manifest.totals().bytes,
            "empty": source.empty,
            "based": bool(source.base),
            "unpackable": source.unpackable,
            "attributed": len(source.attributed) if message["streams"] else 0,
            "mounts": manifest.mounts[:MOST_NAMED],
            "rsync": self._copies.look_for_rsync(),
            "hash": hashing.quicker() if message["streams"] else hashing.BLAKE2B,
        }

    def _do_pack(self, message: "Message") -> "Optional[Message]":
        assert self._source is not None
        for chunk in pack(self._source.manifest):
            self._say(message["n"], {"chunk": chunk, "more": True})
        return {"chunk": b""}

    def _changed(self) -> "List[bytes]":
        """What of the source, or of the copy that is served, isn't any more as it was."""
        with WORK.announced():
            if self._source is not None:
                return self._source.changed()
            return changed_since(self._found, *self._looked) if self._found is not None else []

    # A host's.

    def _do_open(self, message: "Message") -> "Message":
        dest, temporary = message["dest"], TEMPORARY + message["run"].encode()
        refusal = target.refuse(dest, message["delete"]) if message["write"] else None
        if refusal is not None:
            code = "not-writable" if refusal.code == "unwritable" else "destination"
            raise CantError(code, refusal.text, refusal.remedy)
        name = message.get("release", "")
        self._place = self._releases().deliver(dest, temporary, name) if name else None
        self._place = self._place or Place(dest, temporary, message["write"])
        busy = self._place.take()
        if busy is not None:
            raise CantError("busy", *busy)
        rsync, free = self._copies.look_for_rsync(), target.space(dest).bytes
        answer: "Message" = {
            "uid": os.geteuid(),
            "free": free,
            "rsync": rsync,
            "release": self._place.about(),
        }
        if message.get("streams"):
            answer["hash"] = hashing.quicker()
        if "python" in message:
            from nile.agent.worker.equipped import has_libtorrent  # few runs want to know

            answer["able"] = has_libtorrent(message["python"])
        return answer

    def _do_scan(self, message: "Message") -> "Message":
        place = self._opened()
        roots = [(os.path.join(place.dest, name), name) for name in message["roots"]]
        self._looked = (roots, self._patterns(message))
        place.tidy(self._looked[1])
        found = scan(*self._looked, checksum=message["checksum"])
        if found.unreadable:
            path, reason = found.unreadable[0]
            raise CantError("not-writable", "%s can't be looked at: %s" % (os.fsdecode(path), reason))
        seen_here(found, message["users"], message["groups"])
        self._found = found
        terms = self._terms(message["owner"], message)
        fingerprint, like = place.fingerprints(found, self._looked, terms)
        return {"fingerprint": fingerprint, "like": like, "entries": len(found.entries)}

    def _do_source(self, message: "Message") -> None:
        self._chunks.append(message["chunk"])

    def _do_compare(self, message: "Message") -> "Message":
        assert self._found is not None
        source, self._chunks = unpack(self._chunks), []
        terms = self._terms(message["owner"], message)
        answer = differences(source, self._found, terms)
        if self._opened().basis:
            answer["move"] = self._releases().coming(source, self._found, self._looked, terms)
        return answer

    def _do_receive(self, message: "Message") -> "Message":
        place = self._readied(message.get("recorded", False))
        return self._copies.receive(message, place.dest, place.temporary, place.basis)

    def _do_push(self, message: "Message") -> None:
        sources = self._source.paths if self._source is not None else []
        if self._source is None:  # a copy is served as the source was: name by name
            place = self._opened()
            sources = [os.path.join(place.dest, name) for name in message["names"]]
        self._copies.push(message, sources)

    def _do_abandon(self, message: "Message") -> None:
        self._copies.abandon(message["what"])
        if self._gathering is not None:
            self._gathering.abandon(message["what"])

    # Streams.

    def _do_record(self, message: "Message") -> None:
        assert self._source is not None
        self._streams().record(message, self._copies.rsync, self._source)

    def _do_forget(self, message: "Message") -> None:
        self._streams().forget(message["what"])

    def _do_join(self, message: "Message") -> "Message":
        place = self._readied()
        return self._streams().join(message, self._copies.rsync, place.dest, place.basis)

    def _do_last(self, message: "Message") -> None:
        self._streams().last(message["what"])

    def _do_approve(self, message: "Message") -> None:
        self._streams().confirm(message)

    def _do_leave(self, message: "Message") -> None:
        self._streams().leave(message["what"])

    # Files back from hosts.

    def _do_collect(self, message: "Message") -> "Message":
        return self._gather().collect(message)

    def _do_offer(self, message: "Message") -> "Message":
        return self._gather().offer(message, self._patterns(message))

    def _do_fetch(self, message: "Message") -> None:
        self._gather().fetch(message)

    def _do_close(self, message: "Message") -> "Message":
        place = self._opened()
        self._copies.tidy(place.dest, place.temporary)
        place.close()
        return {}

    def _do_end(self, message: "Message") -> None:
        self.end()

    # Helpers.

    def _streams(self) -> "Streaming":
        """What is needed for it is compiled only where there are streams."""
        if self._streaming is None:
            from nile.agent.worker.streaming import Streaming

            self._streaming = Streaming(self._loop, self._say, self._changed)
        return self._streaming

    def _swarm(self, message: "Message") -> "Optional[Message]":
        if self._swarming is None:
            from nile.agent.worker.swarming import Swarming

            self._swarming = Swarming(self._loop, self._say, self._changed)
        if message["do"] == "torrent":
            assert self._source is not None
            return self._swarming.torrent(message, self._source)
        if message["do"] == "peer":
            self._swarming.peer(message, self._readied(), self._found)
        else:
            getattr(self._swarming, message["do"])(message)
        return None

    def _gather(self) -> "Gathering":
        if self._gathering is None:
            from nile.agent.worker.gathering import Gathering

            self._gathering = Gathering(self._loop, self._say)
        return self._gathering

    def _releases(self) -> "Releasing":
        """What is needed for it is compiled only where there are releases."""
        if self._releasing is None:
            from nile.agent.worker.releasing import Releasing

            self._releasing = Releasing()
        return self._releasing

    def _opened(self) -> "Place":
        assert self._place is not None
        return self._place

    def _readied(self, recorded: bool = False) -> "Place":
        """For a copy that begins: what an earlier try left may be much, so this can be broken into."""
        with WORK.announced():
            self._opened().make_ready(self._looked[1], recorded)
        return self._opened()

    @staticmethod
    def _patterns(message: "Message") -> Patterns:
        try:
            return Patterns(message["excludes"])
        except ValueError as error:
            raise CantError("source", str(error)) from None

    @staticmethod
    def _terms(owner: str, message: "Message") -> Terms:
        return Terms(owner=owner, checksum=message["checksum"])
