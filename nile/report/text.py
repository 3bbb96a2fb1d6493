"""Text from hosts, made fit to be shown: no byte of it can give orders to a terminal. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_LINE = 64 << 10
"""Bytes of one line that are held at most; a longer line is passed on in pieces of this size."""

# Controls (C0 but tab, DEL, C1), line and paragraph separators, marks that turn the direction of text around
# (Unicode TR 9, "Trojan source"), and characters that show nothing at all yet make names look alike.
_HIDDEN = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """`text` with what a terminal would obey or hide written out: ESC becomes `\\x1b`, U+202E `\\u202e`.

    Tabs stay; line ends are controls like the others. A backslash of the text
    itself isn't doubled, so this is for reading; JSON output is lossless.
    """
    return _HIDDEN.sub(_written_out, text)


def visible_bytes(data: bytes) -> str:
    """Bytes as visible text; those that aren't UTF-8 become `\\xNN`."""
    return visible(data.decode("utf-8", "backslashreplace"))


def _written_out(match: re.Match[str]) -> str:
    number = ord(match[0])
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


# RFC 3629, section 4: 0xC0, 0xC1 and all from 0xF5 on begin no character.
_LENGTH_BY_FIRST_BYTE = bytes([1] * 0xC2 + [2] * 30 + [3] * 16 + [4] * 5 + [1] * 11)


def complete_length(data: bytes | bytearray) -> int:
    """The length of `data` without an unfinished UTF-8 character at its end (at most 3 bytes)."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:  # a continuation: look further back
            continue
        needs = _LENGTH_BY_FIRST_BYTE[byte]
        return len(data) - back if needs > back else len(data)
    return len(data)


class Piece(NamedTuple):
    """A line, or a piece of a long one, without its line end; `first` is False for what continues a line."""

    data: bytes
    first: bool


class Lines:
    """Cuts one stream into lines, and holds at most `MAX_LINE` bytes of the one that isn't finished."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._first = True

    @property
    def held(self) -> int:
        """Bytes held."""
        return len(self._rest)

    @property
    def is_fresh(self) -> bool:
        """Whether nothing is held and a new line comes next: as good as a new object."""
        return self._first and not self._rest

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Pieces that are complete after `data`."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            yield from self._filled(data[start:end])
            if self._rest or self._first:
                yield self._taken(len(self._rest), line_ends=True)
            self._first = True  # also where all of the line has been given out before
            start = end + 1
        yield from self._filled(data[start:])

    def flush(self) -> Iterator[Piece]:
        """What is held, as a line's last piece so far; nothing where nothing is."""
        if self._rest:
            yield self._taken(len(self._rest), line_ends=False)

    def _filled(self, data: bytes) -> Iterator[Piece]:
        """Hold `data`, giving out full pieces; a character is never cut in two."""
        start = 0
        while len(self._rest) + len(data) - start > MAX_LINE:
            room = MAX_LINE - len(self._rest)
            self._rest += data[start : start + room]
            start += room
            yield self._taken(complete_length(self._rest) or len(self._rest), line_ends=False)
        self._rest += data[start:]

    def _taken(self, length: int, *, line_ends: bool) -> Piece:
        piece = Piece(bytes(self._rest[:length]), self._first)
        del self._rest[:length]
        self._first = line_ends
        return piece
