"""Files back from hosts: a host's worker offers them, the root's takes them, one host after the other.

The roles of a copy are turned around: who listens is the host, as ever, since
the root has a way to it; but its rsync sends, and the one at the root receives
(see fetching). A file that is written to meanwhile is brought as it was read:
the host looks before and afterwards, and says which ones these are.
"""

import os

from nile.agent.worker import fetching, limits, rsync
from nile.agent.worker.pushing import Push, helper
from nile.agent.worker.receiving import Receive
from nile.agent.worker.running import Ending
from nile.agent.worker.shelf import Shelf
from nile.agent.worker.trees import Source, one_line
from nile.agent.worker.underway import COME_S, UnderWay
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from typing import Any, Callable, Dict, List, Optional

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.patterns import Patterns
    from nile.agent.worker.rsync import Rsync

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]

MOST_NAMED = 100
LOOK_S = 0.5  # between two looks at how much room there is still


class Offer(Receive):
    """One side of a copy that listens, as `Receive`; but what comes is a request, and files go."""

    def __init__(
        self,
        loop: "Loop",
        found: "Rsync",
        paths: "List[bytes]",
        secret: bytes,
        done: "Callable[[Ending], None]",
    ) -> None:
        self._paths = paths
        super().__init__(loop, found, b"/", b"", "127.0.0.1", secret, loop.now() + COME_S, done)

    def _answer(self, asked: "List[bytes]") -> "List[str]":
        return fetching.sender_argv(self._rsync, asked, self._paths)

    def _tidy(self) -> None:
        """A sender writes nothing."""


class Coming:
    """What comes of one host: how much it is to be, and how much came so far."""

    def __init__(self, host: bytes, has: "Message", new: bool) -> None:
        self.host = host
        self.most = limits.most(has)
        self.said: int = has["bytes"]
        self._room: int = has["room"] if new else 0  # else nobody knows how much of it differs
        self.received = 0
        self.push: "Optional[Push]" = None

    @property
    def wanting(self) -> int:
        """Bytes of the disk that it will take."""
        return max(0, self._room - self.received)

    def got(self, received: int) -> None:
        """So many bytes came from there."""
        self.received = received
        if received > self.most and self.push is not None:
            reason = "it sends more than the %d bytes that it said it has" % self.said
            self.push.stop(Ending("exceeded", reason))


class Gathering(UnderWay):
    """What of this is under way at one worker."""

    def __init__(self, loop: "Loop", say: "Say") -> None:
        super().__init__(loop, say)
        self._rsync: "Optional[Rsync]" = None
        self._shelf: "Optional[Shelf]" = None
        self._coming: "Dict[int, Coming]" = {}
        self._timer = -1

    # A host's.

    def offer(self, message: "Message", patterns: "Patterns") -> "Message":
        """Look at the paths and wait for who takes them: answers with the port, and what can't be taken."""
        refusal = self._look_for_rsync()
        if refusal is not None:
            return refusal
        assert self._rsync is not None
        number, wanted = message["n"], message["paths"]
        source = Source(wanted, patterns)
        source.read(False)
        missing = source.manifest.missing
        there = [path for path in wanted if path not in missing]
        if not there:
            return {"code": "source", "reason": _not_there(missing)}
        offer = Offer(
            self._loop,
            self._rsync,
            there,
            message["secret"],
            lambda ending: self._offered(number, ending, source),
        )
        self._under_way[number] = offer
        unreadable = [one_line(path) + b": " + why.encode() for path, why in source.manifest.unreadable]
        return {
            "port": offer.port,
            "missing": missing,
            "unreadable": len(unreadable),
            "lines": unreadable[:MOST_NAMED],
            "has": limits.announced(source),
            "rsync": {"version": list(self._rsync.version), "has": sorted(self._rsync.has)},
            "more": True,
        }

    def _offered(self, number: int, ending: "Ending", source: Source) -> None:
        self._under_way.pop(number, None)  # if the look is broken off, there is nothing left to stop
        with WORK.announced():
            changed = [] if ending.code not in ("", "partial", "vanished") else source.changed()
        fields = {"changed": len(changed), "lines": [one_line(path) for path in changed[:MOST_NAMED]]}
        self._ended(number, ending, fields)

    # The root's.

    def collect(self, message: "Message") -> "Message":
        """Have the directory that gets everything."""
        refusal = self._look_for_rsync()
        if refusal is not None:
            return refusal
        shelf = Shelf(message["dest"], message["run"])
        why = shelf.take()
        if why is not None:
            return {"code": why[0], "reason": why[1], "remedy": why[2]}
        self._shelf = shelf
        return {}

    def fetch(self, message: "Message") -> None:
        """Find the host that waits, and take what it offers."""
        assert self._shelf is not None
        number, has = message["n"], message["has"]
        coming = Coming(message["host"], has, self._shelf.is_empty(message["host"]))
        there = limits.left(self._shelf.path) - sum(each.wanting for each in self._coming.values())
        if coming.wanting > max(0, there):
            reason = "%d bytes are to come, and there is room for %d" % (coming.wanting, max(0, there))
            self._say(number, {"code": "disk-full", "reason": reason, "retry": False, "received": 0})
            return

        def failed(code: str, reason: str, found: bool) -> "Message":
            code, reason = ("not-writable", reason[:500]) if found else (code, reason)
            return {"code": code, "reason": reason, "retry": not found, "received": 0}

        self._find(message, lambda connection: self._begin(message, connection, coming), failed)

    def _begin(self, message: "Message", connection: "socket.socket", coming: Coming) -> None:
        assert self._rsync is not None
        assert self._shelf is not None
        number, host, shelf = message["n"], message["host"], self._shelf
        dest, temporary = shelf.place(host)
        argv = fetching.fetch_argv(
            self._rsync,
            message["paths"],
            dest,
            temporary,
            helper(),
            tuple(message["peer"]),
            message["excludes"],
            message["numeric_ids"],
            message["bwlimit"] or None,
        )

        def over(ending: "Ending") -> None:
            del self._coming[number]
            shelf.clear(host)
            self._ended(number, ending, {"received": ending.received})

        def moved(sent: int, received: int) -> None:
            self._say(number, {"so_far": sent + received, "more": True})
            coming.got(received)

        push = Push(self._loop, argv, connection, over, progress=moved)
        self._under_way[number] = coming.push = push
        self._coming[number] = coming
        if self._timer < 0:
            self._look()

    def _look(self) -> None:
        """Is there room still? If not, who takes most of it has to stop; then there may be for the others."""
        assert self._shelf is not None
        self._timer = -1
        if not self._coming:
            return
        if not limits.left(self._shelf.path):
            shelf = self._shelf
            largest = max(
                self._coming.values(), key=lambda each: (shelf.unfinished(each.host), each.received)
            )
            assert largest.push is not None
            largest.push.stop(Ending("disk-full", "too little room would be left here"))
        self._timer = self._loop.at(self._loop.now() + LOOK_S, self._look)

    # Both.

    def stop(self, idle: "Callable[[], None]") -> None:
        """End all of it, and leave the directory; `idle()` is called then."""

        def left() -> None:
            self._loop.forget(self._timer)
            if self._shelf is not None:
                self._shelf.leave()
                self._shelf = None
            idle()

        super().stop(left)

    def _look_for_rsync(self) -> "Optional[Message]":
        """Why there is none of use; None where there is one."""
        found = rsync.probe() if self._rsync is None else self._rsync
        if isinstance(found, rsync.Refusal):
            return {"code": "no-rsync", "reason": found.reason, "remedy": found.remedy}
        self._rsync = found
        return None

    def _ended(self, number: int, ending: "Ending", fields: "Message") -> None:
        self._over(number, dict(ending.trouble(), **fields))


def _not_there(missing: "List[bytes]") -> str:
    first = os.fsdecode(missing[0]).encode("utf-8", "replace").decode()
    more = len(missing) - 1
    return "%s isn't there%s" % (first, ", and %d more" % more if more else "")
