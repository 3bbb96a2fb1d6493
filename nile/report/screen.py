"""Where renderers write: standard output and error, each a terminal or not, and a status line.

A terminal gets text in which nothing can act as a control sequence; a pipe or
a file gets the bytes of the hosts as they are (like ls, grep and clush do),
since a program reads them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TextIO

from nile.report.text import visible_bytes

ERASE = "\r\x1b[K"
UP = "\x1b[A\x1b[K"
"""To the line above, and take that away."""
STYLES = {"host": "36", "error": "31", "good": "32", "dim": "2"}


class Sink:
    """One text stream; `terminal` and `colour` are found out where they aren't given.

    Colours are used on a terminal, unless NO_COLOR (no-color.org) is set or
    TERM is `dumb`.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        terminal: bool | None = None,
        colour: bool | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._binary = getattr(stream, "buffer", None)
        self._may_lose = False
        self.terminal = stream.isatty() if terminal is None else terminal
        plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
        self.colour = (self.terminal and not plain) if colour is None else colour

    def write(self, text: str) -> None:
        """Write text that is fit to be shown; what the stream's character set lacks is written out."""
        self.write_bytes(self.encoded(text))

    def encoded(self, text: str) -> bytes:
        """Text as the stream's character set has it; what that lacks is written out."""
        return text.encode(self._encoding, "backslashreplace")

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are."""
        with self._losing():
            if self._binary is not None:
                self._binary.write(data)
            else:
                self._stream.write(data.decode(self._encoding, "backslashreplace"))

    def from_host(self, data: bytes) -> bytes:
        """A line of a host as this stream is to get it: bare in a pipe, visible on a terminal."""
        if not self.terminal:
            return data
        return visible_bytes(data).encode(self._encoding, "backslashreplace")

    def styled(self, text: str, style: str) -> str:
        """`text` in one of `STYLES`, where colours are used."""
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self.colour else text

    def styled_bytes(self, data: bytes, style: str | None) -> bytes:
        """The same with bytes that are fit to be shown; None: in no style."""
        if style is None or not self.colour:
            return data
        return f"\x1b[{STYLES[style]}m".encode() + data + b"\x1b[0m"

    def flush(self) -> None:
        """Hand on what is buffered."""
        with self._losing():
            if self._binary is not None:
                self._binary.flush()
            self._stream.flush()

    def detach(self) -> None:
        """From now on it is a file, and what that can't take, on a full disk say, is lost."""
        self.terminal = self.colour = False
        self._may_lose = True

    def _losing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.suppress(OSError) if self._may_lose else contextlib.nullcontext()


class Screen:
    """Both streams of a command, and a status of some lines that gives way whenever something is written."""

    def __init__(self, out: Sink, err: Sink) -> None:
        self._out = out
        self._err = err
        self._status_lines = 0
        """Of the status that is shown."""
        self._current = out

    @property
    def out(self) -> Sink:
        """Standard output, free to be written to."""
        return self._turn_to(self._out)

    @property
    def err(self) -> Sink:
        """Standard error, free to be written to."""
        return self._turn_to(self._err)

    @property
    def has_status(self) -> bool:
        """Whether a status can be shown."""
        return self._err.terminal

    def show_status(self, *lines: str) -> None:
        """Show some lines, none wider than the terminal, in place of those before."""
        self._out.flush()  # standard output may be the same terminal
        self._err.write((self._erase() or ERASE) + "\r\n".join(lines))
        self._err.flush()
        self._status_lines = len(lines)

    def hide_status(self) -> None:
        """Take the status off the terminal."""
        if erased := self._erase():
            self._status_lines = 0
            self._err.write(erased)
            self._err.flush()

    def _erase(self) -> str:
        """What takes away all lines that are shown, from the last one up; "" where there are none."""
        return (ERASE + UP * (self._status_lines - 1)) if self._status_lines else ""

    def detach(self) -> None:
        """Take the status away for good: from now on both go to a file."""
        self.hide_status()
        self.flush()
        self._out.detach()
        self._err.detach()

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._out.flush()
        self._err.flush()

    def _turn_to(self, sink: Sink) -> Sink:
        """Both may be the same terminal: what went to the other one comes first."""
        self.hide_status()
        if sink is not self._current:
            self._current.flush()
            self._current = sink
        return sink
