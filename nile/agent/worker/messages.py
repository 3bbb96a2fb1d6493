"""Messages between the root and a worker, both ways: mappings, each with its length (u32) before it. Pure."""

from nile.agent import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Mapping

    Message = Dict[str, Any]

MOST = 1 << 20  # bytes of one message
_HEAD = 4


class CantError(Exception):
    """What is asked can't be done: a code, a reason, a remedy, which are `fields` of the answer."""

    def __init__(self, code: str, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.fields = {"code": code, "reason": reason, "remedy": remedy}


def pack(message: "Mapping[str, Any]") -> bytes:
    """The bytes of one message."""
    body = wire.dumps(dict(message))
    return len(body).to_bytes(_HEAD, "big") + body


def unpack(buffer: bytearray, data: bytes) -> "Iterator[Message]":
    """Messages that are complete with these bytes; what isn't stays in `buffer`. Raises wire.WireError."""
    buffer += data
    while len(buffer) >= _HEAD:
        size = int.from_bytes(buffer[:_HEAD], "big")
        if size > MOST:
            raise wire.WireError("a message of %d bytes" % size)
        if len(buffer) < _HEAD + size:
            return
        message = wire.loads(bytes(buffer[_HEAD : _HEAD + size]))
        del buffer[: _HEAD + size]
        if not isinstance(message, dict):
            raise wire.WireError("a message that is no mapping")
        yield message
