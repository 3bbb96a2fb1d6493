"""What two neighbours of a chain say to each other. No input or output.

Numbers are unsigned, the first byte is the highest. The successor speaks first,
and after that whenever its figures have changed enough; offsets are absolute:

    kind      u8    STATE, or THROUGH: all is here, and its hash is right
    received  u64   the offset up to which it has everything
    granted   u64   the offset up to which it may be sent

The predecessor answers with FROM, the same offset, or with GONE, and then sends

    length  u32     of a segment, at most MOST_SEGMENT
    bytes

over and over, until END or ABORT. Each of these words is a length that no
segment can have, and what belongs to it:

    FROM    offset u64
    GONE    begin u64          the first offset that it still has
    END     total u64, crc u32 the length of the stream, and the CRC-32 of it
    ABORT   length u16, text   why nothing of it may be used

CRC-32 guards against our own mistakes, and those of memories and of wires: an
offset that was taken up wrongly, bytes that were written over too early. It
costs a quarter of a second for a gigabyte. Who could forge it is trusted with
worse; and the copy is compared with the source's manifest in the end.
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple

MOST_SEGMENT = 1024 * 1024
MOST_REASON = 1000  # bytes
STATE, THROUGH = 1, 2
FROM, GONE, END, ABORT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC
_STATE = struct.Struct("!BQQ")
_LENGTH = struct.Struct("!I")
_FORMATS = {
    FROM: struct.Struct("!Q"),
    GONE: struct.Struct("!Q"),
    END: struct.Struct("!QI"),
    ABORT: struct.Struct("!H"),
}


class Broken(ValueError):
    """The neighbour said something that it may not say."""


def state(kind: int, received: int, granted: int) -> bytes:
    """What a successor says."""
    return _STATE.pack(kind, received, granted)


def segment(length: int) -> bytes:
    """What stands before a segment."""
    return _LENGTH.pack(length)


def word(mark: int, *numbers: int) -> bytes:
    """FROM, GONE or END."""
    return _LENGTH.pack(mark) + _FORMATS[mark].pack(*numbers)


def abort(reason: str) -> bytes:
    """ABORT; a long reason is cut."""
    text = reason.encode("utf-8", "replace")[:MOST_REASON]
    return _LENGTH.pack(ABORT) + _FORMATS[ABORT].pack(len(text)) + text


class States:
    """What a successor says, checked: `sent` and `total` are set by whoever sends to it."""

    def __init__(self) -> None:
        self._read = b""
        self.greeted = False
        self.received = 0
        self.granted = 0
        self.sent = 0
        self.total: "Optional[int]" = None  # once the end was sent
        self.through = False

    def feed(self, data: bytes) -> None:
        """It said that. Raises Broken."""
        self._read += data
        while len(self._read) >= _STATE.size:
            kind, received, granted = _STATE.unpack_from(self._read)
            self._read = self._read[_STATE.size :]
            self._take(kind, received, granted)

    def _take(self, kind: int, received: int, granted: int) -> None:
        if self.through or kind not in (STATE, THROUGH):
            raise Broken("it says a word that it can't say now")
        if received > granted or granted < self.granted or received < self.received:
            raise Broken("it goes back, from %d to %d" % (self.received, received))
        if self.greeted and received > self.sent:
            raise Broken("it has %d bytes, and was sent %d" % (received, self.sent))
        if kind == THROUGH and received != self.total:
            raise Broken("it is through before the end")
        if not self.greeted:
            self.sent = received
        self.greeted = True
        self.received, self.granted, self.through = received, granted, kind == THROUGH


class Segments:
    """What a predecessor sends, checked: its words by `feed`; the bytes of a segment are only counted."""

    def __init__(self, offset: int) -> None:
        """`offset`: what it was asked for."""
        self._read = b""
        self._begun = False
        self.offset = offset  # of the next byte
        self.granted = offset  # up to where it may send; set by who grants
        self.left = 0  # bytes of the present segment that are still to come

    @property
    def wanted(self) -> int:
        """Bytes that are still missing of the present word; 0 within a segment."""
        if self.left:
            return 0
        have = len(self._read)
        if have < _LENGTH.size:
            return _LENGTH.size - have
        rest = _FORMATS[self._length()].size
        if self._length() == ABORT and have >= _LENGTH.size + rest:
            rest += self._reason_length()
        return _LENGTH.size + rest - have

    def took(self, count: int) -> None:
        """So many bytes of the segment came."""
        self.left -= count
        self.offset += count

    def feed(self, data: bytes) -> "Optional[Tuple[int, List[int], str]]":
        """At most `wanted` bytes came. Gives END, GONE or ABORT when it is there: its numbers, its text.

        Raises Broken.
        """
        self._read += data
        if len(self._read) < _LENGTH.size:
            return None
        mark = self._length()
        if mark not in _FORMATS:
            if not self._begun or not 0 < mark <= MOST_SEGMENT:
                raise Broken("it announces %d bytes" % mark)
            if self.offset + mark > self.granted:
                raise Broken("it sends up to %d, and may up to %d" % (self.offset + mark, self.granted))
            self.left, self._read = mark, b""
            return None
        if mark == ABORT and len(self._read) >= _LENGTH.size + 2 and self._reason_length() > MOST_REASON:
            raise Broken("its reason is too long")
        if self.wanted:
            return None
        return self._judge(mark)

    def _judge(self, mark: int) -> "Optional[Tuple[int, List[int], str]]":
        """A whole word is here."""
        words, self._read = self._read, b""
        numbers = list(_FORMATS[mark].unpack_from(words, _LENGTH.size))
        if mark == FROM:
            if self._begun or numbers[0] != self.offset:
                raise Broken("it begins at %d instead of %d" % (numbers[0], self.offset))
            self._begun = True
            return None
        if mark == GONE and (self._begun or numbers[0] <= self.offset):
            raise Broken("it begins at %d and has not got %d" % (numbers[0], self.offset))
        if mark == END and (not self._begun or numbers[0] != self.offset):
            raise Broken("it ends at %d and sent %d" % (numbers[0], self.offset))
        text = words[_LENGTH.size + 2 :].decode("utf-8", "replace") if mark == ABORT else ""
        return mark, numbers, text

    def _length(self) -> int:
        return int(_LENGTH.unpack_from(self._read)[0])

    def _reason_length(self) -> int:
        return int(_FORMATS[ABORT].unpack_from(self._read, _LENGTH.size)[0])
