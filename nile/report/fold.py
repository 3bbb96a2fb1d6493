"""`-b`: output gathered, and shown once for all hosts that printed the same.

Standard output and standard error are gathered apart (how they were mixed
differs from host to host, and would keep equal output from folding); what is
equal is the bytes, but for a missing last line end. A verdict doesn't part
hosts: it stands in the summary, as with clush and dshbak. Only a hash is held
for each stream of a host; the text is read back when it is shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from nile.events import Event, HostOutput
from nile.report.folding import heading
from nile.report.screen import Screen, Sink
from nile.report.text import Lines, visible

RULE = "-" * 15
STREAMS = ("stdout", "stderr")

ReadChunks = Callable[[str, str], Iterator[bytes]]
"""(host, stream) -> what it printed, piece by piece."""


class Fold:
    """Gathers what hosts print, and writes it at the end under folded host sets, most hosts first.

    `read_chunks` gives back the output of a host; it must hold all that was
    handed in here. Hosts that printed nothing are not shown.
    """

    def __init__(self, screen: Screen, read_chunks: ReadChunks) -> None:
        self._screen = screen
        self._read_chunks = read_chunks
        self._digests: dict[tuple[str, str], _Digest] = {}

    def handle(self, event: Event) -> None:
        """Take output in."""
        if isinstance(event, HostOutput) and event.data:
            key = (event.stream, event.host)
            if key not in self._digests:
                self._digests[key] = _Digest()
            self._digests[key].update(event.data)

    def finish(self) -> None:
        """Write what was gathered, also from a run that was cut short."""
        for stream in STREAMS:
            for hosts in self._groups(stream):
                self._block(stream, hosts)
        self._screen.flush()

    def _groups(self, stream: str) -> list[list[str]]:
        groups: dict[bytes, list[str]] = {}
        for (of, host), digest in self._digests.items():
            if of == stream:
                groups.setdefault(digest.value(), []).append(host)
        return sorted(groups.values(), key=lambda hosts: (-len(hosts), hosts))

    def _block(self, stream: str, hosts: list[str]) -> None:
        sink = self._screen.out if stream == "stdout" else self._screen.err
        title = visible(heading(hosts)) + ("" if stream == "stdout" else " stderr")
        style = "host" if stream == "stdout" else "error"
        sink.write(sink.styled("\n".join((RULE, title, RULE)), style) + "\n")
        if sink.terminal:
            self._visible(sink, hosts[0], stream)
        else:
            self._bare(sink, hosts[0], stream)

    def _visible(self, sink: Sink, host: str, stream: str) -> None:
        lines = Lines()
        for chunk in self._read_chunks(host, stream):
            for piece in lines.feed(chunk):
                sink.write_bytes(sink.from_host(piece.data) + b"\n")
        for piece in lines.flush():
            sink.write_bytes(sink.from_host(piece.data) + b"\n")

    def _bare(self, sink: Sink, host: str, stream: str) -> None:
        last = b"\n"
        for chunk in self._read_chunks(host, stream):
            sink.write_bytes(chunk)
            last = chunk or last
        if not last.endswith(b"\n"):
            sink.write_bytes(b"\n")


class _Digest:
    """A hash of a stream that doesn't see whether its last line has an end."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)
        self._line_end = False

    def update(self, data: bytes) -> None:
        if self._line_end:
            self._hash.update(b"\n")
        self._line_end = data.endswith(b"\n")
        self._hash.update(data[:-1] if self._line_end else data)

    def value(self) -> bytes:
        return self._hash.digest()
