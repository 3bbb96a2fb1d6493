"""A live run on a terminal of its own: per stage how far hosts are, who waits for what, and what broke.

Made of a run's status (docs/reference/json.md), which came from another process, and of the terminal's size;
nothing of it is wider or longer. Plain characters, so that it says the same without colours. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nile.events import Verdict
from nile.report.folding import folded
from nile.report.text import visible
from nile.report.waiting import groups
from nile.report.wording import BY_VERDICT, copied, duration, first_line

RUN_SHOWN = 8
STATES = {"running": "green", "beginning": "dim", "ending": "yellow"}
PARTS = (
    ("ok", "ok", "#", "green"),
    ("broke", "not ok", "x", "red"),
    ("running", "running", "=", "cyan"),
    ("up", "up", "-", "blue"),
    ("out", "not reached", ".", "dim"),
)
"""How far a host may be: its key in a count, its word, its character in a bar and its style."""
WAITS_FOR = {
    "pause": "the end of the pause",
    "parent": "{} to be up",
    "queue": "a login by {}",
    "login": "the login by {}",
    "contact": "contact",
    "password": "the password of sudo",
    "turn": "its turn to start",
    "start": "word of its start",
    "command": "its command",
    "output": "the last of its output",
    "back": "its coming back",
}
"""What heads of tables leave of `nile.report.waiting.WAITS`."""
NARROW = 60
"""Columns below which a stage has no bar."""

Status = Mapping[str, Any]
Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table. Of the room that is left those share it by `share` that have one."""

    title: str
    share: int = 0
    number: bool = False
    style: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A table with its head; where it gets too few lines the last one says how many are left out."""

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str | Text]]

    def drawn(self, lines: int) -> list[RenderableType]:
        """Its head and so many lines, after an empty one."""
        table = Table(box=None, expand=True, show_edge=False, pad_edge=False, header_style="dim")
        for column in self.columns:
            table.add_column(
                column.title,
                justify="right" if column.number else "left",
                ratio=column.share or None,
                no_wrap=True,
                overflow="ellipsis",
                style=column.style,
            )
        cut = len(self.rows) > lines
        for row in self.rows[: lines - 1 if cut else lines]:
            table.add_row(
                *(cell if isinstance(cell, Text) else Text(cell) for cell in row)
            )  # it is no markup
        more = [_line(f"and {len(self.rows) - lines + 1} more", "dim")] if cut else []
        return [Text(), table, *more]


def board(status: Status, columns: int, rows: int) -> Group:
    """All of it, for a terminal of that size."""
    head = _head(status, columns)[:rows]
    sections = [
        section
        for section in (_stages(status, columns), _broke(status), _waiting(status), _notices(status))
        if section.rows
    ]
    room = rows - len(head)
    # An empty line, its head, and the first row: with another line where that isn't the only one.
    while room < sum(2 + min(2, len(section.rows)) for section in sections):
        sections.pop()
    given = shares([len(section.rows) for section in sections], room - 2 * len(sections))
    drawn = [part for section, lines in zip(sections, given, strict=True) for part in section.drawn(lines)]
    return Group(*head, *drawn)


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """So many lines for each: as many as it wants, or as others get that want more."""
    given = [0] * len(wanted)
    while room > 0 and (short := [n for n, want in enumerate(wanted) if given[n] < want]):
        for n in short[:room]:
            given[n] += 1
        room -= len(short)
    return given


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _head(status: Status, columns: int) -> list[Text]:
    """What is true of all of it, a line each."""
    state = status["state"]
    title = _line(f"run {visible(status['run'])[:RUN_SHOWN]}  ", "bold")
    title.append(state, style=STATES.get(state, ""))
    command = visible(first_line(status["command"])) if status["command"] else ""
    title.append(f" for {duration(status['elapsed_s'])}  {command}")
    counts = _counts(status["phases"], status["verdicts"])
    said = _line("")
    for key, word, _, style in PARTS:
        if counts[key]:
            said.append(f"{counts[key]} {word}", style=style).append(", ")
    said.append(f"of {status['hosts']}")
    lines = [title, _bar(counts, columns), said]
    pace = status["pace"]
    if pace["paused"]:
        lines.append(_line("paused: no further logins and starts", "yellow"))
    if copies := status["copies"]:
        lines.append(_line(copied(copies)))
    return lines


def _counts(phases: Counts, verdicts: Counts) -> dict[str, int]:
    """By the keys of `PARTS`."""
    ok = verdicts.get("ok", 0)
    open_ = {phase: phases.get(phase, 0) for phase in ("running", "up", "out")}
    return {"ok": ok, "broke": sum(verdicts.values()) - ok, **open_}


def _bar(counts: Counts, width: int) -> Text:
    """A character for every so many hosts; whoever is there is seen."""
    hosts = sum(counts.values())
    bar = Text(no_wrap=True, overflow="crop")
    if not hosts or width <= 0:
        return bar
    parts = [(counts[key], mark, style) for key, _, mark, style in PARTS if counts[key]]
    widths = [max(1, count * width // hosts) for count, _, _ in parts]
    widths[widths.index(max(widths))] += width - sum(widths)  # what rounding left, or took
    for (_, mark, style), cells in zip(parts, widths, strict=True):
        bar.append(mark * cells, style=style)
    return bar


def _stages(status: Status, columns: int) -> Section:
    titles = [Column("STAGE", number=True), Column("HOSTS", number=True)]
    titles += [Column(word.upper(), number=True, style=style) for _, word, _, style in PARTS]
    wide = columns >= NARROW
    # A cell's width is known here alone: the gaps, and what stands under each head.
    bar_width = columns - sum(max(5, len(column.title)) + 1 for column in titles) - 1
    rows: list[list[str | Text]] = []
    for stage in status["stages"]:
        counts = _counts(stage, stage["verdicts"])
        numbers = [stage["stage"], sum(counts.values()), *(counts[key] for key, *_ in PARTS)]
        rows.append([*map(str, numbers), *([_bar(counts, bar_width)] if wide else [])])
    return Section((*titles, *([Column("", share=1)] if wide else [])), rows)


def _waiting(status: Status) -> Section:
    """Those first that have waited longest."""
    found = sorted(groups(status["open"], status["elapsed_s"]), key=lambda group: -group.longest_s)
    rows = [
        [
            str(group.stage),
            str(len(group.hosts)),
            duration(group.longest_s),
            visible(group.said(WAITS_FOR)),
            visible(folded(group.hosts)),
        ]
        for group in found
    ]
    heads = Column("STAGE", number=True), Column("HOSTS", number=True), Column("FOR", number=True)
    return Section((*heads, Column("WAITS FOR", share=2), Column("WHO", share=3)), rows)


def _broke(status: Status) -> Section:
    """Most hosts first."""
    found = sorted(status["broke"], key=lambda group: -len(group["hosts"]))
    rows = [
        [
            BY_VERDICT[Verdict(group["verdict"])],
            str(len(group["hosts"])),
            visible(group["reason"]),
            visible(folded(group["hosts"])),
        ]
        for group in found
    ]
    heads = Column("BROKE", style="red"), Column("HOSTS", number=True)
    return Section((*heads, Column("WHY", share=3), Column("WHO", share=2)), rows)


def _notices(status: Status) -> Section:
    """The last one first."""
    return Section((Column("NOTICES", share=1),), [[visible(text)] for text in reversed(status["notices"])])
