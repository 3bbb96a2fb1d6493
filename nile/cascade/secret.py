"""A password, and what can be one. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Secret:
    """What nobody is to see: it isn't in its own text."""

    text: str = field(repr=False)


def unfit(text: str) -> str:
    """Why nobody could take this as a password; "" where somebody could.

    ssh sends UTF-8 (RFC 4252, 8); sudo reads a line, so what stood behind its end would be another try.
    """
    if "\0" in text or "\n" in text:
        return "no password has a NUL or the end of a line in it"
    try:
        long = len(text.encode()) > LONGEST
    except UnicodeEncodeError:
        return "this is no UTF-8"
    return f"at most {LONGEST} bytes can be one" if long else ""
