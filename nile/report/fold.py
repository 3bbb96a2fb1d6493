"""`-b` and `-L`: output gathered, and shown at the end.

With `-b` once for all hosts that printed the same, under their folded set; with
`-L` line by line behind the name of its host, in the order of hosts; with both,
line by line behind the folded set. A verdict doesn't part hosts: it stands in
the summary, as with clush and dshbak.
"""

from __future__ import annotations

from dataclasses import dataclass

from nile.events import Event
from nile.report.folding import folded, heading, in_order
from nile.report.gathered import STREAMS, Gathered, ReadChunks
from nile.report.screen import Screen, Sink
from nile.report.text import Lines, visible

RULE = "-" * 15


@dataclass(frozen=True, slots=True)
class Style:
    """How gathered output is shown."""

    equal: bool = True
    """Once for all hosts that printed the same; else for each host."""
    lines: bool = False
    """Each line is labelled; else all of it has a heading."""
    label: bool = True
    """There are labels and headings at all."""


BLOCKS = Style()


class Fold:
    """Gathers what hosts print, and writes it at the end: under folded host sets most hosts first.

    `read_chunks` gives back the output of a host; it must hold all that was
    handed in here. Hosts that printed nothing are not shown.
    """

    def __init__(self, screen: Screen, read_chunks: ReadChunks, style: Style = BLOCKS) -> None:
        self._screen = screen
        self._read_chunks = read_chunks
        self._style = style
        self._gathered = Gathered()

    def handle(self, event: Event) -> None:
        """Take output in."""
        self._gathered.take(event)

    def finish(self) -> None:
        """Write what was gathered, also from a run that was cut short."""
        for stream in STREAMS:
            for hosts in self._groups(stream):
                sink = self._screen.out if stream == "stdout" else self._screen.err
                if self._style.lines:
                    self._lines(sink, hosts, stream)
                else:
                    self._block(sink, hosts, stream)
        self._screen.flush()

    def _groups(self, stream: str) -> list[list[str]]:
        if self._style.equal:
            return self._gathered.groups(stream)
        return [[host] for host in in_order(self._gathered.hosts(stream))]

    def _lines(self, sink: Sink, hosts: list[str], stream: str) -> None:
        label = ""
        if self._style.label:
            label = sink.styled(f"{visible(folded(hosts))}:", _style(stream)) + " "
        self._pieces(sink, hosts[0], stream, sink.encoded(label))

    def _block(self, sink: Sink, hosts: list[str], stream: str) -> None:
        if self._style.label:
            title = visible(heading(hosts)) + ("" if stream == "stdout" else " stderr")
            sink.write(sink.styled("\n".join((RULE, title, RULE)), _style(stream)) + "\n")
        if sink.terminal:
            self._pieces(sink, hosts[0], stream, b"")
        else:
            self._bare(sink, hosts[0], stream)

    def _pieces(self, sink: Sink, host: str, stream: str, label: bytes) -> None:
        lines = Lines()
        for chunk in self._read_chunks(host, stream):
            for piece in lines.feed(chunk):
                sink.write_bytes(label + sink.from_host(piece.data) + b"\n")
        for piece in lines.flush():
            sink.write_bytes(label + sink.from_host(piece.data) + b"\n")

    def _bare(self, sink: Sink, host: str, stream: str) -> None:
        last = b"\n"
        for chunk in self._read_chunks(host, stream):
            sink.write_bytes(chunk)
            last = chunk or last
        if not last.endswith(b"\n"):
            sink.write_bytes(b"\n")


def _style(stream: str) -> str:
    return "host" if stream == "stdout" else "error"
