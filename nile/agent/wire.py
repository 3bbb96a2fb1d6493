"""Values and frames: what travels on a link.

A frame is

    length  u32   bytes that follow
    type    u8
    hops    u8    number of ids in the path
    origin  u32   the node that speaks (0 is the root)
    epoch   u32   attachment of the node that speaks or is spoken to
    path    hops x u32   ids of the nodes still to pass, downward; empty upward
    body    the rest

all big-endian. A body is raw bytes (output, standard input) or one value in
the small typed encoding below; nothing is ever evaluated or unpickled. Sizes,
counts and depths are bounded, and whatever is out of bounds is a WireError.
"""

import _struct as struct  # all that the module struct has, without a file to find and load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple, Union

PROTOCOL = 1

# Between the two ends of one link.
PING, WINDOW = 1, 2
# Downward.
_DOWN = range(10, 25)
PLAN, START, PERMIT, ACK, STDIN, CANCEL, BEAT, END, SIGNED, ADOPT, FORGET, RESUME, TELL, REACH, PACE = _DOWN
# Upward.
_UP = range(30, 42)
HELLO, LOGIN, FAILED, LOST, STARTED, OUTPUT, RESULT, SIGN, TAKEN, REPORT, STATE, REACHED = _UP
# Of channels, and above all others: bytes that a node carries to a port, see nile.agent.channel.
OPEN, OPENED, CARRY, CLOSE, GRANT = range(50, 55)

LINK_TYPES = frozenset([PING, WINDOW])
DOWN_TYPES = frozenset(_DOWN) | {OPEN, CARRY, CLOSE, GRANT}
UP_TYPES = frozenset(_UP) | {OPENED, CARRY, CLOSE, GRANT}
# Every node takes these for itself and passes them to all its children.
BROADCAST = frozenset([STDIN, CANCEL, BEAT, PACE])
# Of the downward ones, those that a node takes as a relay.
RELAY_TYPES = frozenset([PERMIT, SIGNED, ADOPT, FORGET, REACH])
# Counted against a link's window; all others are control frames and go first. A CLOSE must not overtake.
BULK = frozenset([OUTPUT, STDIN, TELL, CARRY, CLOSE])

MAX_FRAME_UP = 1 << 20
MAX_FRAME_DOWN = 64 << 20
MAX_HOPS = 64
MAX_DEPTH = 150  # a plan nests two levels a stage
CHUNK = 32768

_HEADER = struct.Struct("!IBBII")
_LENGTH = struct.Struct("!I")
_SIZED = struct.Struct("!cI")  # of a value: its kind, then its size or count
_INT = struct.Struct("!cq")
_REAL = struct.Struct("!cd")
_OUTPUT = struct.Struct("!BQ")


class WireError(Exception):
    """Bytes that are no frame or no value: the other side is broken or hostile."""


class Frame:
    """One frame; `body` is bytes."""

    __slots__ = ("body", "epoch", "origin", "path", "type")

    def __init__(
        self, type: int, origin: int = 0, epoch: int = 0, path: "Tuple[int, ...]" = (), body: bytes = b""
    ) -> None:
        self.type = type
        self.origin = origin
        self.epoch = epoch
        self.path = path
        self.body = body

    def encode(self) -> bytes:
        """The bytes that go on the wire."""
        hops = len(self.path)
        size = _HEADER.size - _LENGTH.size + 4 * hops + len(self.body)
        head = _HEADER.pack(size, self.type, hops, self.origin, self.epoch)
        if hops:
            head += struct.pack("!%dI" % hops, *self.path)
        return head + self.body

    def value(self) -> "Any":
        """The body, decoded; raises WireError."""
        return loads(self.body)

    def fields(self) -> "dict[str, Any]":
        """The body, decoded, which has to be a mapping; raises WireError."""
        value = loads(self.body)
        if not isinstance(value, dict):
            raise WireError("a body of type %d that is no mapping" % self.type)
        return value


class Decoder:
    """Bytes in, frames out; `limit` bounds the size of one frame in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def rest(self) -> bytes:
        """The beginning of a frame that isn't complete."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> "list[Frame]":
        """The frames that are complete now; raises WireError, after which the link is of no use."""
        buffer = self._buffer
        source: "Union[bytes, bytearray]" = data  # most reads bring whole frames: these need no buffer
        if buffer:
            buffer += data
            source = buffer
        frames = []
        start, have = 0, len(source)
        while have - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(source, start)
            if size > self._limit or size < _HEADER.size - _LENGTH.size:
                raise WireError("a frame of %d bytes" % size)
            end = start + _LENGTH.size + size
            if have < end:
                break
            frames.append(_parse(source, start, end))
            start = end
        if source is buffer:
            del buffer[:start]
        elif start < have:
            buffer += data[start:]
        return frames


def _parse(source: "Union[bytes, bytearray]", start: int, end: int) -> Frame:
    _, kind, hops, origin, epoch = _HEADER.unpack_from(source, start)
    body = start + _HEADER.size + 4 * hops
    if hops > MAX_HOPS or body > end:
        raise WireError("a path of %d hops" % hops)
    path = struct.unpack_from("!%dI" % hops, source, start + _HEADER.size) if hops else ()
    return Frame(kind, origin, epoch, path, bytes(source[body:end]))


def pack_output(stream: int, offset: int, data: bytes) -> bytes:
    """The body of an OUTPUT frame: stream 0 or 1, absolute offset of the first byte, the bytes."""
    return _OUTPUT.pack(stream, offset) + data


def unpack_output(body: bytes) -> "Tuple[int, int, bytes]":
    """Undo `pack_output`; raises WireError."""
    if len(body) < _OUTPUT.size or body[0] > 1:
        raise WireError("output that is cut short or of no stream")
    stream, offset = _OUTPUT.unpack_from(body)
    return stream, offset, body[_OUTPUT.size :]


def dumps(value: "Any") -> bytes:
    """Encode None, bool, int (64 bit), float, bytes, str, list, tuple, and dict with str keys."""
    out: "list[bytes]" = []
    _dump(value, out)
    return b"".join(out)


def _dump(value: "Any", out: "list[bytes]") -> None:
    # What is most frequent comes first: a plan has thousands of texts.
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape")
        out.append(_SIZED.pack(b"s", len(text)) + text)
    elif value is None:
        out.append(b"n")
    elif isinstance(value, bool):
        out.append(b"t" if value else b"f")
    elif isinstance(value, int):
        out.append(_INT.pack(b"i", value))
    elif isinstance(value, dict):
        out.append(_SIZED.pack(b"d", len(value)))
        for key in value:
            _dump(key, out)
            _dump(value[key], out)
    elif isinstance(value, (list, tuple)):
        out.append(_SIZED.pack(b"l", len(value)))
        for item in value:
            _dump(item, out)
    elif isinstance(value, bytes):
        out += (_SIZED.pack(b"b", len(value)), value)
    elif isinstance(value, float):
        out.append(_REAL.pack(b"r", value))
    else:
        raise WireError("a value of type %s" % type(value).__name__)


def loads(data: bytes) -> "Any":
    """Decode exactly one value; raises WireError on anything else."""
    try:
        value, end = _load(data, 0, 0)
    except (struct.error, IndexError, UnicodeDecodeError):  # type: ignore[attr-defined]
        raise WireError("a value that is cut short or no text") from None
    if end != len(data):
        raise WireError("%d bytes behind a value" % (len(data) - end))
    return value


def _load(data: bytes, at: int, depth: int) -> "tuple[Any, int]":
    kind = data[at]
    if kind == _TEXT or kind == _BYTES:
        end = at + _SIZED.size + _SIZED.unpack_from(data, at)[1]
        if end > len(data):
            raise WireError("a value that is cut short")
        raw = data[at + _SIZED.size : end]
        return (raw.decode("utf-8", "surrogateescape") if kind == _TEXT else raw), end
    if kind == _NUMBER:
        return _INT.unpack_from(data, at)[1], at + _INT.size
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at + 1
    if kind == _LIST or kind == _MAPPING:
        return _load_many(data, at, depth + 1, kind == _MAPPING)
    if kind == _FLOAT:
        return _REAL.unpack_from(data, at)[1], at + _REAL.size
    raise WireError("a value of kind %d" % kind)


_TEXT, _BYTES, _NUMBER, _FLOAT, _LIST, _MAPPING = b"sbirld"
_CONSTANTS = {ord("n"): None, ord("t"): True, ord("f"): False}


def _load_many(data: bytes, at: int, depth: int, mapping: bool) -> "tuple[Any, int]":
    count = _SIZED.unpack_from(data, at)[1]
    at += _SIZED.size
    if depth > MAX_DEPTH or count > len(data) - at:
        raise WireError("a value that is too deep or too long")
    if not mapping:
        items = []
        for _ in range(count):
            item, at = _load(data, at, depth)
            items.append(item)
        return items, at
    fields = {}
    for _ in range(count):
        key, at = _load(data, at, depth)
        if not isinstance(key, str):
            raise WireError("a key that is no text")
        fields[key], at = _load(data, at, depth)
    return fields, at
