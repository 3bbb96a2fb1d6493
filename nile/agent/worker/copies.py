"""Copies under way at one worker: those that come, and those that it gives."""

from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.lookup import EVERYWHERE
from nile.agent.worker.pushing import Push, helper
from nile.agent.worker.receiving import Receive, sweep
from nile.agent.worker.underway import COME_S, UnderWay

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from typing import Any, Callable, Dict, FrozenSet, List, Optional

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.running import Ending

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]


def meant(message: "Message", both: "FrozenSet[str]") -> rsyncs.Copy:
    """How the root wants files to be copied between two ends, of which both have these features."""
    how = message["copy"]
    return rsyncs.Copy(
        message["temporary"],
        delete=how["delete"],
        excludes=how["excludes"],
        checksum=how["checksum"],
        whole=how["whole"],
        numeric_ids=how["numeric_ids"],
        chown=how["chown"] or None,
        bwlimit=how["bwlimit"] or None,
        max_delete=how["max_delete"],
        link_dest=how.get("link_dest", b""),
        listed=how.get("listed", False),
        hard_links=True,
        acls="ACLs" in both,
        xattrs="xattrs" in both,
        sparse=True,
    )


class Copies(UnderWay):
    """`changed()` names what of the source changed since it was read."""

    def __init__(self, loop: "Loop", say: "Say", changed: "Callable[[], List[bytes]]") -> None:
        super().__init__(loop, say)
        self._changed = changed
        self.rsync: "Optional[rsyncs.Rsync]" = None
        self._kept = False  # what came by a copy that broke, for the next one

    def look_for_rsync(self) -> "Optional[Message]":
        """Which rsync there is: its version and what it has; None where there is none of use."""
        found = rsyncs.probe()
        if isinstance(found, rsyncs.Refusal):
            return None
        self.rsync = found
        return {"version": list(found.version), "has": sorted(found.has)}

    def receive(self, message: "Message", dest: bytes, temporary: bytes, basis: bytes = b"") -> "Message":
        """Wait for a copy; answers with the port. Raises OSError."""
        assert self.rsync is not None
        number = message["n"]
        address = "127.0.0.1" if message["loopback"] else EVERYWHERE
        self._under_way[number] = receive = Receive(
            self._loop,
            self.rsync,
            dest,
            temporary,
            address,
            message["secret"],
            self._loop.now() + COME_S,
            lambda ending: self._received(number, ending, receive),
            message.get("keep", False),
            basis,
        )
        return {"port": receive.port, "more": True}

    def _received(self, number: int, ending: "Ending", receive: Receive) -> None:
        self._kept = self._kept if receive.kept is None else receive.kept
        self._ended(number, ending)

    def tidy(self, dest: bytes, temporary: bytes) -> None:
        """There is no next one: all is well though the last one broke. Raises OSError."""
        if self._kept:
            sweep(dest, temporary)
            self._kept = False

    def push(self, message: "Message", sources: "List[bytes]") -> None:
        """Find whoever waits, and copy to it."""

        def failed(code: str, reason: str, found: bool) -> "Message":
            where = "%s port %d" % (message["address"], message["port"])
            text = "rsync can't be begun: %s" % reason if found else "%s: %s" % (where, reason)
            return {"code": "copy" if found else code, "reason": text[:500], "retry": True, "sent": 0}

        self._find(message, lambda connection: self._begin(message, sources, connection), failed)

    def _begin(self, message: "Message", sources: "List[bytes]", connection: "socket.socket") -> None:
        if self.rsync is None and self.look_for_rsync() is None:
            connection.close()
            fields = {"code": "no-rsync", "reason": "no rsync at its source", "retry": True, "sent": 0}
            self._answer(message["n"], fields)
            return
        assert self.rsync is not None
        number, peer = message["n"], message["peer"]
        copy = meant(message, self.rsync.has.intersection(peer["has"]))
        argv = rsyncs.client_argv(
            self.rsync, copy, sources, message["dest"], helper(), tuple(peer["version"]), True
        )
        self._under_way[number] = Push(
            self._loop,
            argv,
            connection,
            lambda ending: self._ended(number, ending),
            self._changed,
            lambda sent, _: self._say(number, {"sent_so_far": sent, "more": True}),
        )

    def _ended(self, number: int, ending: "Ending") -> None:
        self._over(number, dict(ending.trouble(), sent=ending.sent))
