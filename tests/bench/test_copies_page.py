"""The page of what copies take: what it says of aims, and that it has what was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.copies_page import Page


def test_the_page_has_what_was_said_then_aims_then_the_machine(tmp_path: Path) -> None:
    page = Page()
    page.begin("first")
    page.head("A copy", 1.5)
    page.say("| a way | 3.00 |")
    page.aim("a stream, of F/R", 1.15, 1.2)
    page.at_least("a relay", 400, 650, " MB/s")
    page.write(tmp_path / "page.md", 3, 2, ["first"])
    text = (tmp_path / "page.md").read_text()
    order = [
        "Medians of 3 tries",
        "2 cores",
        "## A copy; F/R is 1.50 s",
        "| a way |",
        "| missed |",
        "| met |",
    ]
    places = [text.index(part) for part in [*order, "## Machine and versions"]]
    assert places == sorted(places)


def test_a_case_that_is_measured_anew_takes_its_place(tmp_path: Path) -> None:
    file, order = tmp_path / "page.md", ["first", "second"]
    for case, said in (("second", "two"), ("first", "one"), ("second", "three")):
        page = Page()
        page.begin(case)
        page.say(said)
        page.write(file, 3, 2, order)
    text = file.read_text()
    assert "two" not in text.split("<!-- first -->")[1].split("## Machine")[0]
    assert text.index("\none\n") < text.index("\nthree\n")
    assert text.count("<!-- end -->") == 2


@pytest.mark.parametrize(("reached", "verdict"), [(1.15, "met"), (1.16, "missed")])
def test_an_aim_is_met_at_its_bound(reached: float, verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = Page()
    page.begin("first")
    page.aim("it", 1.15, reached)
    assert capsys.readouterr().out.rstrip().endswith(f"| {verdict} |")
