"""Plain tables: columns under headings, whole in a pipe too, easy to grep."""

from __future__ import annotations

from collections.abc import Collection, Sequence

GAP = "  "


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> list[str]:
    """The lines of a table; columns named in `right` are aligned right. Cells must be visible text."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    aligned = [str.rjust if heading in right else str.ljust for heading in headings]
    return [
        GAP.join(align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)).rstrip()
        for row in (headings, *rows)
    ]
