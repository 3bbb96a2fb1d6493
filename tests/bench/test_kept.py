"""A benchmark in parts: what was measured counts, and nothing is measured twice."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.bench.copies_cli import measure, read
from tests.bench.copies_page import Page
from tests.bench.kept import Kept, TimeUpError
from tests.bench.sync_bench import Site, Took, tried


class Bench:
    """Tries that take a minute each, and `seconds` by their number."""

    def __init__(self, file: Path | None, minutes: float | None = None, repeat: int = 3) -> None:
        self.clock = 0.0
        self.made: list[str] = []
        self.sites = 0
        kept = Kept(file, minutes, lambda: self.clock)
        self.asked = argparse.Namespace(kept=kept, repeat=repeat)

    def run(self, what: str = "a copy") -> dict[str, Took]:
        """Two ways."""
        return tried(self.asked, what, ["one", "other"], self._site(), self._attempt)

    @contextmanager
    def _site(self) -> Iterator[Site]:
        self.sites += 1
        yield cast("Any", None)

    def _attempt(self, _: Site, name: str) -> Took:
        self.clock += 60
        self.made.append(name)
        return Took(self.clock)


def test_names_take_turns_and_the_try_in_the_middle_counts() -> None:
    bench = Bench(None)
    found = bench.run()
    assert bench.made == ["one", "other"] * 3
    assert (found["one"].seconds, found["other"].seconds) == (180.0, 240.0)


def test_what_was_measured_before_time_was_up_is_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "tries.json"
    bench = Bench(file, minutes=2.5)
    with pytest.raises(TimeUpError, match=r"tries\.json.* goes on"):
        bench.run()
    assert bench.made == ["one", "other", "one"]
    again = Bench(file)
    found = again.run()
    assert again.made == ["other", "one", "other"]
    assert found["one"].seconds == 120.0, "of 60 and 180 before, and 120 now"


def test_where_all_is_there_no_site_is_made_and_no_time_needed(tmp_path: Path) -> None:
    file = tmp_path / "tries.json"
    first = Bench(file)
    found = first.run()
    late = Bench(file, minutes=0)
    assert late.run() == found
    assert late.sites == 0


def test_each_run_gets_on_however_little_time_it_has(tmp_path: Path) -> None:
    file = tmp_path / "tries.json"
    for _ in range(5):
        bench = Bench(file, minutes=0)
        with pytest.raises(TimeUpError):
            bench.run()
        assert len(bench.made) == 1
    last = Bench(file, minutes=0)
    last.run()
    assert len(last.made) == 1


def test_a_page_has_no_section_of_a_case_that_is_not_over(tmp_path: Path) -> None:
    page, file = Page(), tmp_path / "page.md"
    asked = argparse.Namespace(cases=["over", "not over", "behind"], write=file, repeat=3)

    def over(_: argparse.Namespace, page: Page) -> None:
        page.say("measured")

    def not_over(_: argparse.Namespace, page: Page) -> None:
        page.say("half a table")
        raise TimeUpError("go on")

    assert measure(asked, page, {"over": over, "not over": not_over, "behind": over}) == 1
    assert "measured" in file.read_text()
    assert "half" not in file.read_text()
    assert measure(asked, Page(), {"over": over, "not over": over, "behind": over}) == 0


def test_a_time_without_a_file_to_keep_tries_in_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "--minutes", "3"])
    with pytest.raises(SystemExit):
        read("", {}, rate=1, size=1, keeps=True)
    assert "--minutes needs --keep FILE" in capsys.readouterr().err
