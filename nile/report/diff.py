"""`--diff`: how what hosts printed differs from what most of them printed, as unified diffs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from nile.events import Event, HostResult, Verdict
from nile.report.folding import heading
from nile.report.gathered import STREAMS, Gathered, ReadChunks
from nile.report.screen import Screen, Sink
from nile.report.text import visible
from nile.report.wording import plural

MOST_BYTES = 1 << 20
MOST_LINES = 5000
"""Of each output; more can take minutes to compare."""
STYLES = ((b"---", "host"), (b"+++", "host"), (b"@@", "dim"), (b"-", "error"), (b"+", "good"))
RAN = (Verdict.OK, Verdict.FAILED)


class Diff:
    """Gathers what hosts print, and writes the differences at the end; `read_chunks` as of `Fold`.

    Who ran the command and printed nothing is compared, too.
    """

    def __init__(self, screen: Screen, read_chunks: ReadChunks, *, quiet: bool = False) -> None:
        self._screen = screen
        self._read_chunks = read_chunks
        self._quiet = quiet
        self._gathered = Gathered()
        self._ran: list[str] = []

    def handle(self, event: Event) -> None:
        """Take output in, and who ran."""
        self._gathered.take(event)
        if isinstance(event, HostResult) and event.verdict in RAN:
            self._ran.append(event.host)

    def finish(self) -> None:
        """Write how they differ; that they don't, if so."""
        differ = [self._stream(stream) for stream in STREAMS]
        if self._ran and not any(differ) and not self._quiet:
            same = "printed the same" if self._gathered.hosts("stdout") else "printed nothing"
            self._screen.err.write(f"nile: {plural(len(self._ran), 'host')} {same}\n")
        self._screen.flush()

    def _stream(self, stream: str) -> bool:
        """Does it differ on this stream?"""
        groups = self._gathered.groups(stream)
        silent = set(self._ran).difference(self._gathered.hosts(stream))
        if silent:
            groups.append(sorted(silent))
            groups.sort(key=lambda hosts: (-len(hosts), hosts))
        if len(groups) < 2:
            return False
        most = groups[0]
        reference = [] if most[0] in silent else self._lines(most[0], stream)
        for hosts in groups[1:]:
            lines = [] if hosts[0] in silent else self._lines(hosts[0], stream)
            sink = self._screen.out if stream == "stdout" else self._screen.err
            self._write(sink, _names(most, stream), _names(hosts, stream), reference, lines)
        return True

    def _write(
        self, sink: Sink, most: str, others: str, reference: list[bytes] | None, lines: list[bytes] | None
    ) -> None:
        if reference is None or lines is None:
            found: Iterable[bytes] = [
                b"--- " + most.encode(),
                b"+++ " + others.encode(),
                b"@@ they differ, and are too long to be compared @@",
            ]
        else:
            found = difflib.diff_bytes(
                difflib.unified_diff, reference, lines, most.encode(), others.encode(), lineterm=b""
            )
        for line in found:
            style = next((style for start, style in STYLES if line.startswith(start)), None)
            shown = sink.from_host(line)
            sink.write_bytes(sink.styled_bytes(shown, style) + b"\n")

    def _lines(self, host: str, stream: str) -> list[bytes] | None:
        """What it printed; None where that is too much."""
        held = bytearray()
        for chunk in self._read_chunks(host, stream):
            held += chunk
            if len(held) > MOST_BYTES:
                return None
        lines = bytes(held).removesuffix(b"\n").split(b"\n")
        return None if len(lines) > MOST_LINES else lines


def _names(hosts: list[str], stream: str) -> str:
    return visible(heading(hosts)) + ("" if stream == "stdout" else " stderr")
