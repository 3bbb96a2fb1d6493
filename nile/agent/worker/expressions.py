"""Patterns of rsync(1) as regular expressions; what reads these is loaded only where there are any. Pure."""

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, List, Match, Optional, Set, Tuple

LONGEST = 4095  # bytes; rsync drops a longer one
_WILD = rb"[*?[]"
_CLASSES = {
    b"alnum": b"0-9A-Za-z",
    b"alpha": b"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": b"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": b"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb" \t\n\v\f\r",
    b"upper": b"A-Z",
    b"xdigit": b"0-9A-Fa-f",
}


def check(pattern: bytes) -> None:
    """Raises ValueError, fit for a user, for one that is no good."""
    shown = pattern.decode("utf-8", "backslashreplace")
    if not pattern.strip(b"/"):
        raise ValueError("the pattern '%s' excludes nothing" % shown)
    if pattern[:2] in (b"+ ", b"- ") or pattern == b"!":
        raise ValueError("'%s' is a filter rule; only patterns of what to exclude are taken" % shown)
    if b"\0" in pattern or len(pattern) > LONGEST:
        raise ValueError("a pattern with a NUL byte, or of more than %d bytes, matches no path" % LONGEST)


def any_of(expressions: "List[bytes]") -> "Callable[[bytes], Optional[Match[bytes]]]":
    """The `fullmatch` of what matches one of these."""
    if not expressions:
        return lambda path: None
    text = b"|".join(b"(?:%b)" % expression for expression in expressions)
    return re.compile(text, re.DOTALL).fullmatch


def expression(body: bytes, pattern: bytes) -> bytes:
    """A pattern without its last slash, as a regular expression."""
    if not re.search(_WILD, body):
        translated = re.escape(body)  # a backslash is one
    else:
        translated = b"".join(_translate(body, pattern))
    if body.startswith((b"/", b"**")):
        return translated
    return b".*/" + translated


def _translate(body: bytes, pattern: bytes) -> "Iterable[bytes]":
    at = 0
    while at < len(body):
        byte = body[at : at + 1]
        at += 1
        if byte == b"*":
            stars = len(body) - at - len(body[at:].lstrip(b"*"))
            at += stars
            yield b".*" if stars else b"[^/]*"
        elif byte == b"?":
            yield b"[^/]"
        elif byte == b"[":
            matched, at = _bracket(body, at, pattern)
            yield matched
        elif byte == b"\\":
            if at == len(body):
                raise _bad(pattern, "ends with a backslash that has nothing to escape")
            yield re.escape(body[at : at + 1])
            at += 1
        else:
            yield re.escape(byte)


def _bracket(body: bytes, at: int, pattern: bytes) -> "Tuple[bytes, int]":
    """What stands behind a `[`, as an expression, and where it ends. No bracket ever matches a slash."""
    negated = body[at : at + 1] in (b"!", b"^")
    at += negated
    found: "Set[int]" = set()
    before = -1  # what may be the lower end of a range
    first = True
    while first or body[at : at + 1] != b"]":
        first = False
        if at >= len(body):
            raise _bad(pattern, "has a [ without its ]")
        named = _named(body, at, pattern)
        if named is not None:
            matched, at = named
            found |= matched
            before = -1
        elif body[at : at + 1] == b"-" and before >= 0 and body[at + 1 : at + 2] not in (b"", b"]"):
            high, at = _character(body, at + 1, pattern)
            found.update(range(before, high + 1))
            before = -1
        else:
            before, at = _character(body, at, pattern)
            found.add(before)
    if negated:
        found = set(range(256)) - found
    found.discard(0x2F)
    return (b"[%b]" % b"".join(b"\\x%02x" % byte for byte in sorted(found)) if found else rb"(?!)"), at + 1


def _character(body: bytes, at: int, pattern: bytes) -> "Tuple[int, int]":
    """One character within brackets, escaped or not, and where the next one is."""
    if body[at : at + 1] == b"\\":
        at += 1
    if at >= len(body):
        raise _bad(pattern, "has a [ without its ]")
    return body[at], at + 1


def _named(body: bytes, at: int, pattern: bytes) -> "Optional[Tuple[Set[int], int]]":
    """`[:digit:]` and its kind, within brackets; None if that isn't what stands here."""
    if body[at : at + 2] != b"[:":
        return None
    end = body.find(b"]", at + 2)
    if end < 0:
        raise _bad(pattern, "has a [ without its ]")
    if end == at + 2 or body[end - 1 : end] != b":":
        return None
    name = body[at + 2 : end - 1]
    if name not in _CLASSES:
        raise _bad(pattern, "names a class of characters that doesn't exist")
    members = re.compile(b"[" + _CLASSES[name] + b"]")
    return {byte for byte in range(256) if members.match(bytes([byte]))}, end + 1


def _bad(pattern: bytes, why: str) -> ValueError:
    return ValueError("the pattern '%s' %s" % (pattern.decode("utf-8", "backslashreplace"), why))
