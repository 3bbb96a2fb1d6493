"""Output as it comes: `host: line`, standard output to standard output, standard error to standard error.

A line is written when it is complete, so that lines of different hosts never
mix. A line longer than `MAX_LINE` is written in pieces, each on a line of its
own; all but the first are marked `host+ ` instead of `host: `. The same is
done early, oldest first, when all unfinished lines together pass
`MAX_HELD`. A last line without an end gets one at the host's verdict.
"""

from __future__ import annotations

from collections.abc import Iterable

from nile.events import Event, HostOutput, HostResult
from nile.report.screen import Screen
from nile.report.text import Lines, Piece, visible

MAX_HELD = 16 << 20
STREAMS = ("stdout", "stderr")


class Live:
    """Writes what hosts print, line by line."""

    def __init__(self, screen: Screen, *, label: bool = True) -> None:
        """Without `label` no line says whose it is."""
        self._screen = screen
        self._label = label
        self._held: dict[tuple[str, str], Lines] = {}
        self._bytes_held = 0

    def handle(self, event: Event) -> None:
        """Write the lines that an event completes."""
        if isinstance(event, HostOutput):
            self._output(event)
            self._screen.flush()
        elif isinstance(event, HostResult) and self._held:
            for stream in STREAMS:
                self._flush(event.host, stream)
            self._screen.flush()

    def finish(self) -> None:
        """Write all that is left, of hosts without a verdict."""
        for host, stream in list(self._held):
            self._flush(host, stream)
        self._screen.flush()

    def _output(self, event: HostOutput) -> None:
        key = (event.host, event.stream)
        lines = self._held.pop(key, None) or Lines()
        before = lines.held
        self._write(event.host, event.stream, lines.feed(event.data))
        self._bytes_held += lines.held - before
        if not lines.is_fresh:
            self._held[key] = lines  # now the youngest
        while self._bytes_held > MAX_HELD:
            self._relieve()

    def _relieve(self) -> None:
        """Write the unfinished line that was touched the longest ago; it goes on as a continuation."""
        key = next(key for key, lines in self._held.items() if lines.held)
        lines = self._held[key]
        self._bytes_held -= lines.held
        self._write(*key, lines.flush())

    def _flush(self, host: str, stream: str) -> None:
        lines = self._held.pop((host, stream), None)
        if lines is not None:
            self._bytes_held -= lines.held
            self._write(host, stream, lines.flush())

    def _write(self, host: str, stream: str, pieces: Iterable[Piece]) -> None:
        """All pieces in one go: a flood is written as fast as it comes."""
        found = list(pieces)
        if not found:
            return
        sink = self._screen.out if stream == "stdout" else self._screen.err
        style = "host" if stream == "stdout" else "error"
        first, further = b"", b""
        if self._label:
            first, further = (
                sink.encoded(sink.styled(f"{visible(host)}{mark}", style) + " ") for mark in (":", "+")
            )
        sink.write_bytes(
            b"".join(
                (first if piece.first else further) + sink.from_host(piece.data) + b"\n" for piece in found
            )
        )
