"""Bencoding (BEP 3): what torrents and trackers speak. Pure.

Integers, byte strings, lists, and mappings of byte strings. Whoever reads takes
what comes to be hostile: it is bounded, and only the one right way to write a
value is understood, so that equal values have equal digests.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple, Union

    Value = Union[int, bytes, "List[Any]", "Dict[bytes, Any]"]

MOST_DEEP = 32
_MOST_DIGITS = 20


def encode(value: "Value") -> bytes:
    """The bytes of a value. Raises TypeError for what has none."""
    parts = []  # type: List[bytes]
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: "Value", parts: "List[bytes]") -> None:
    if isinstance(value, bytes):
        parts.append(b"%d:%b" % (len(value), value))
    elif isinstance(value, int) and not isinstance(value, bool):
        parts.append(b"i%de" % value)
    elif isinstance(value, list):
        parts.append(b"l")
        for each in value:
            _encode(each, parts)
        parts.append(b"e")
    elif isinstance(value, dict):
        parts.append(b"d")
        for key in sorted(value):
            if not isinstance(key, bytes):
                raise TypeError("a key that is no bytes")
            _encode(key, parts)
            _encode(value[key], parts)
        parts.append(b"e")
    else:
        raise TypeError("%s can't be bencoded" % type(value).__name__)


def decode(data: bytes) -> "Value":
    """The value that is all of `data`. Raises ValueError where it isn't one, or is written oddly."""
    value, at = _decode(data, 0, MOST_DEEP)
    if at != len(data):
        raise ValueError("something behind the end, at byte %d" % at)
    return value


def _decode(data: bytes, at: int, deep: int) -> "Tuple[Value, int]":
    kind = data[at : at + 1]
    if kind == b"i":
        return _number(data, at + 1, b"e")
    if kind.isdigit():
        size, begin = _number(data, at, b":")
        if size > len(data) - begin:
            raise ValueError("a string that is cut short, at byte %d" % at)
        return data[begin : begin + size], begin + size
    if kind not in (b"l", b"d"):
        raise ValueError("nothing that can be read, at byte %d" % at)
    if not deep:
        raise ValueError("lists in lists, more than %d deep" % MOST_DEEP)
    values = []  # type: List[Any]
    end = at + 1
    while data[end : end + 1] != b"e":
        value, end = _decode(data, end, deep - 1)
        values.append(value)
    return (values if kind == b"l" else _mapping(values, at)), end + 1


def _number(data: bytes, at: int, end: bytes) -> "Tuple[int, int]":
    stop = data.find(end, at, at + _MOST_DIGITS + 2)
    digits = data[at:stop] if stop >= 0 else b""
    if not digits.lstrip(b"-").isdigit() or b"%d" % int(digits) != digits:
        raise ValueError("no number, at byte %d" % at)
    return int(digits), stop + 1


def _mapping(values: "List[Any]", at: int) -> "Dict[bytes, Any]":
    found = {}  # type: Dict[bytes, Any]
    before = None
    if len(values) % 2:
        raise ValueError("a mapping that has a key without a value, at byte %d" % at)
    for number in range(0, len(values), 2):
        key = values[number]
        if not isinstance(key, bytes) or (before is not None and key <= before):
            raise ValueError("a mapping with keys that aren't sorted strings, at byte %d" % at)
        before = key
        found[key] = values[number + 1]
    return found
