"""Files back from hosts: a host's worker offers them, the root's takes them, one host after the other.

The roles of a copy are turned around: who listens is the host, as ever, since
the root has a way to it; but its rsync sends, and the one at the root receives
(see fetching). A file that is written to meanwhile is brought as it was read:
the host looks before and afterwards, and says which ones these are.
"""

import os

from nile.agent.worker import fetching, rsync
from nile.agent.worker.meeting import Dial
from nile.agent.worker.pushing import Push, helper
from nile.agent.worker.receiving import Receive
from nile.agent.worker.shelf import Shelf
from nile.agent.worker.trees import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Callable, Dict, List, Optional, Union

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.patterns import Patterns
    from nile.agent.worker.rsync import Rsync
    from nile.agent.worker.running import Ending

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]

COME_S = 40.0  # for the other side to come, or to be found
MOST_NAMED = 100


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


class Gathering:
    """What of this is under way at one worker. `say(number, fields)` answers."""

    def __init__(self, loop: "Loop", say: "Say") -> None:
        self._loop = loop
        self._say = say
        self._rsync: "Optional[Rsync]" = None
        self._shelf: "Optional[Shelf]" = None
        self._under_way: "Dict[int, Union[Offer, Push, Dial]]" = {}
        self._idle: "Optional[Callable[[], None]]" = None

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
        unreadable = [_shown(path) + b": " + why.encode() for path, why in source.manifest.unreadable]
        return {
            "port": offer.port,
            "missing": missing,
            "unreadable": len(unreadable),
            "lines": unreadable[:MOST_NAMED],
            "rsync": {"version": list(self._rsync.version), "has": sorted(self._rsync.has)},
            "more": True,
        }

    def _offered(self, number: int, ending: "Ending", source: Source) -> None:
        changed = [] if ending.code not in ("", "partial", "vanished") else source.changed()
        fields = {"changed": len(changed), "lines": [_shown(path) for path in changed[:MOST_NAMED]]}
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
        number = message["n"]

        def met(connection: "Optional[socket.socket]", code: str, reason: str) -> None:
            del self._under_way[number]
            if connection is None:
                self._answer(number, {"code": code, "reason": reason, "retry": True, "received": 0})
                return
            try:
                self._begin(message, connection)
            except (KeyError, TypeError, ValueError, OSError) as error:
                connection.close()
                fields = {"code": "not-writable", "reason": str(error)[:500], "retry": False, "received": 0}
                self._answer(number, fields)

        deadline = self._loop.now() + COME_S
        self._under_way[number] = Dial(
            self._loop, message["address"], message["port"], message["secret"], deadline, met
        )

    def _begin(self, message: "Message", connection: "socket.socket") -> None:
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
            shelf.clear(host)
            self._ended(number, ending, {"received": ending.received})

        self._under_way[number] = Push(
            self._loop,
            argv,
            connection,
            over,
            progress=lambda _, received: self._say(number, {"so_far": received, "more": True}),
        )

    # Both.

    def abandon(self, number: int) -> None:
        """Nobody comes, or nothing more is wanted."""
        under_way = self._under_way.get(number)
        if isinstance(under_way, (Offer, Push)):
            under_way.stop()

    def stop(self, idle: "Callable[[], None]") -> None:
        """End all of it, and leave the directory; `idle()` is called then."""

        def left() -> None:
            if self._shelf is not None:
                self._shelf.leave()
                self._shelf = None
            idle()

        self._idle = left
        for number, under_way in list(self._under_way.items()):
            if isinstance(under_way, Dial):
                under_way.close()
                del self._under_way[number]
            else:
                under_way.stop()
        if not self._under_way:
            left()

    def _look_for_rsync(self) -> "Optional[Message]":
        """Why there is none of use; None where there is one."""
        found = rsync.probe() if self._rsync is None else self._rsync
        if isinstance(found, rsync.Refusal):
            return {"code": "no-rsync", "reason": found.reason, "remedy": found.remedy}
        self._rsync = found
        return None

    def _ended(self, number: int, ending: "Ending", fields: "Message") -> None:
        self._under_way.pop(number, None)
        if ending.code:
            fields.update(code=ending.code, reason=ending.said(), retry=ending.retry)
        self._answer(number, fields)

    def _answer(self, number: int, fields: "Message") -> None:
        self._say(number, fields)
        if self._idle is not None and not self._under_way:
            self._idle()


def _not_there(missing: "List[bytes]") -> str:
    first = os.fsdecode(missing[0]).encode("utf-8", "replace").decode()
    more = len(missing) - 1
    return "%s isn't there%s" % (first, ", and %d more" % more if more else "")


def _shown(path: bytes) -> bytes:
    """A path on one line."""
    return path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
