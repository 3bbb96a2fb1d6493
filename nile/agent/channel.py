"""Channels: connections that links carry. What one end may send, and has to take: pure.

The far end is a node, which connects to a port that it can reach. The near end
is the root, for any node, or a relay, for a child of its own: whoever stands
higher opens, nobody can open one upward.

    OPEN    down   {channel, address, port, code}    code: sources of modules, by name
    OPENED  up     channel, {code, reason}           code "": connected
    CARRY   both   channel, bytes                    no bytes: none will follow them
    GRANT   both   channel, offset                   bytes up to this one (u64, absolute) may be sent
    CLOSE   both   channel                           none will follow, and none is taken any more

All but OPEN begin with the channel's number (u32). Those of relays have the
highest bit set and go no further than the one link; the root's go through the
tree. CARRY and CLOSE keep their order, all others may overtake them.

The windows are what keeps a link drained: an end takes whatever comes, since no
more can come than it granted, and it grants anew as bytes leave its memory. So
a reader who doesn't read holds up his own channel and nothing else.
"""

import _struct as struct

from nile.agent import wire

OWN = 1 << 31  # numbers from here on are a relay's
WINDOW = 256 * 1024  # as much as a link lets through
GRANT_STEP = 64 * 1024
PIECE = 60 * 1024  # of one CARRY: a link's last frame may go beyond its window by twice a chunk
MOST_QUEUED = 128 * 1024  # bytes that wait for the link; channels share it in turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

_NUMBER = struct.Struct("!I")
_GRANT = struct.Struct("!IQ")


class Channel:
    """One end of a channel: its two windows, and which directions are open still."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.head = _NUMBER.pack(number)
        self.gives = True  # bytes may come from the connection at this end
        self.takes = True  # and from the other end
        self._queued = 0
        self._sent = 0
        self._granted = WINDOW
        self._received = 0
        self._taken = 0
        self._told = 0  # bytes taken that the other end knows of

    def room(self) -> int:
        """How many bytes may be read of the connection now."""
        if not self.gives:
            return 0
        return max(0, min(PIECE, self._granted - self._sent, MOST_QUEUED - self._queued))

    def give(self, data: bytes) -> bytes:
        """These bytes of the connection are on their way: a CARRY body; b"" says that they were the last."""
        self._sent += len(data)
        self._queued += len(data)
        self.gives = self.gives and data != b""
        return self.head + data

    def left(self, size: int) -> None:
        """So many bytes left this process's memory."""
        self._queued -= size

    def grant(self, body: bytes) -> None:
        """A GRANT came; raises WireError where it grants what nobody can have taken."""
        if len(body) != _GRANT.size:
            raise wire.WireError("a grant that is cut short")
        offset = _GRANT.unpack(body)[1]
        if offset > self._sent + WINDOW:
            raise wire.WireError("a grant for bytes that weren't sent")
        self._granted = max(self._granted, offset)

    def receive(self, body: bytes) -> bytes:
        """A CARRY came: its bytes, none at the end; raises WireError if it may not."""
        size = len(body) - 4
        self._received += size
        if not self.takes or self._received - self._taken > WINDOW:
            raise wire.WireError("more bytes of a channel than were granted")
        self.takes = size > 0
        return body[4:]

    def took(self, size: int) -> "Optional[bytes]":
        """So many bytes that had come left this memory: a GRANT body, if it is time for one."""
        self._taken += size
        if not self.takes or self._taken - self._told < GRANT_STEP:
            return None
        self._told = self._taken
        return _GRANT.pack(self.number, self._taken + WINDOW)

    def close(self) -> bytes:
        """Neither direction any more: a CLOSE body."""
        self.gives = self.takes = False
        return self.head


def number_of(body: bytes) -> int:
    """The channel that a frame other than OPEN is about; raises WireError."""
    if len(body) < 4:
        raise wire.WireError("a frame of no channel")
    number: int = _NUMBER.unpack_from(body)[0]
    return number


def pack_opened(number: int, code: str, reason: str) -> bytes:
    """The body of an OPENED: connected where `code` is empty."""
    return _NUMBER.pack(number) + wire.dumps({"code": code, "reason": reason})


def unpack_opened(body: bytes) -> "tuple[str, str]":
    """Code and reason of an OPENED; raises WireError."""
    value: "Any" = wire.loads(body[4:])
    if not isinstance(value, dict):
        raise wire.WireError("an answer that is no mapping")
    return str(value.get("code", "")), str(value.get("reason", ""))[:200]
