"""Copies under way at one worker: those that come, and those that it gives."""

from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.lookup import EVERYWHERE
from nile.agent.worker.meeting import Dial
from nile.agent.worker.pushing import Push, helper
from nile.agent.worker.receiving import Receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any, Callable, Dict, FrozenSet, List, Optional, Union

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.running import Ending

    Message = Dict[str, Any]
    Say = Callable[[int, Message], None]

COME_S = 40.0  # for the other side to come, or to be found


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
        hard_links=True,
        acls="ACLs" in both,
        xattrs="xattrs" in both,
        sparse=True,
    )


class Copies:
    """`say(number, fields)` answers; `changed()` names what of the source changed since it was read."""

    def __init__(self, loop: "Loop", say: "Say", changed: "Callable[[], List[bytes]]") -> None:
        self._loop = loop
        self._say = say
        self._changed = changed
        self.rsync: "Optional[rsyncs.Rsync]" = None
        self._under_way: "Dict[int, Union[Receive, Push, Dial]]" = {}
        self._idle: "Optional[Callable[[], None]]" = None

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
            lambda ending: self._ended(number, ending),
            basis=basis,
        )
        return {"port": receive.port, "more": True}

    def push(self, message: "Message", sources: "List[bytes]") -> None:
        """Find whoever waits, and copy to it."""
        number = message["n"]

        def met(connection: "Optional[socket.socket]", code: str, reason: str) -> None:
            del self._under_way[number]
            if connection is None:
                text = "%s port %d: %s" % (message["address"], message["port"], reason)
                self._answer(number, {"code": code, "reason": text, "retry": True, "sent": 0})
                return
            try:
                self._begin(message, sources, connection)
            except (KeyError, TypeError, ValueError, OSError) as error:
                connection.close()
                text = "rsync can't be begun: %s" % error
                self._answer(number, {"code": "copy", "reason": text[:500], "retry": True, "sent": 0})

        deadline = self._loop.now() + COME_S
        self._under_way[number] = Dial(
            self._loop, message["address"], message["port"], message["secret"], deadline, met
        )

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
        self._under_way.pop(number, None)
        fields: "Message" = {"sent": ending.sent}
        if ending.code:
            fields.update(code=ending.code, reason=ending.said(), retry=ending.retry)
        self._answer(number, fields)

    def _answer(self, number: int, fields: "Message") -> None:
        self._say(number, fields)
        if self._idle is not None and not self._under_way:
            self._idle()

    def abandon(self, number: int) -> None:
        """Nobody will come."""
        under_way = self._under_way.get(number)
        if isinstance(under_way, (Receive, Push)):
            under_way.stop()

    def stop(self, idle: "Callable[[], None]") -> None:
        """End all of them; `idle()` is called once none is left."""
        self._idle = idle
        for number, under_way in list(self._under_way.items()):
            if isinstance(under_way, Dial):
                under_way.close()
                del self._under_way[number]
            else:
                under_way.stop()
        if not self._under_way:
            idle()
