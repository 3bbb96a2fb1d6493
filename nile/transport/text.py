"""Text that came from elsewhere, made fit for a message of one line."""

from __future__ import annotations

MAX_LINE = 500


def printable(text: str) -> str:
    """`text` on one line, at most MAX_LINE characters, whatever isn't printable as `?`."""
    line = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in line[:MAX_LINE])
