"""The page of what copies take: what it says of aims, and that it has what was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.copies_page import Page


def test_the_page_has_aims_then_what_was_said_then_the_machine(tmp_path: Path) -> None:
    page = Page()
    page.head("A copy", 1.5)
    page.say("| a way | 3.00 |")
    page.aim("a stream, of F/R", 1.15, 1.2)
    page.at_least("a relay", 400, 650, " MB/s")
    page.write(tmp_path / "page.md", 3, 2)
    text = (tmp_path / "page.md").read_text()
    order = [
        "Medians of 3 tries",
        "2 cores",
        "| missed |",
        "| met |",
        "## A copy; F/R is 1.50 s",
        "| a way |",
    ]
    places = [text.index(part) for part in [*order, "## Machine and versions"]]
    assert places == sorted(places)


@pytest.mark.parametrize(("reached", "verdict"), [(1.15, "met"), (1.16, "missed")])
def test_an_aim_is_met_at_its_bound(reached: float, verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    Page().aim("it", 1.15, reached)
    assert capsys.readouterr().out.rstrip().endswith(f"| {verdict} |")
