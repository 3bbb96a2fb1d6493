"""`nile swarm run` is the run of `nile sync --method swarm`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from nile.cli import commands
from nile.cli.background import Leaving
from nile.errors import UsageError
from tests.support import wheels


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """(selection, what, given) of what would be carried out."""
    found: list[Any] = []

    def run(*all_of_it: Any) -> int:
        found.append(all_of_it)
        return 0

    monkeypatch.setattr("nile.cli.copying.run_one", run)
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    return found


def nile(*words: str) -> Any:
    return CliRunner().invoke(commands, words, catch_exceptions=False, standalone_mode=False).return_value


WHAT = (
    "-w",
    "n[1-3]",
    "--delete",
    "--max-delete",
    "7",
    "--bwlimit",
    "100",
    "--exclude",
    "*.o",
    "site/",
    "/srv/site",
)


def test_it_is_the_same_run(begun: list[Any]) -> None:
    assert nile("swarm", "run", *WHAT) == nile("sync", "--method", "swarm", *WHAT) == 0
    (one, first, _), (other, second, _) = begun
    assert first == second
    assert one == other
    assert (first.method, first.swarms, first.streams) == ("swarm", True, False)
    assert (first.max_delete, first.bwlimit_kib_s, first.excludes) == (7, 100, (b"*.o",))


def test_a_dry_run_begins_no_swarm(begun: list[Any]) -> None:
    nile("swarm", "run", "-n", *WHAT)
    assert begun[0][1].swarms is False


@pytest.mark.parametrize("words", [("-a",), ("-z",)])
def test_letters_of_rsync_are_refused_with_a_hint(begun: list[Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        nile("swarm", "run", *words, *WHAT)
    assert begun == []


class TestStart:
    @pytest.fixture(autouse=True)
    def here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What would go on by itself does so in this process."""
        monkeypatch.setattr("nile.cli.background.launch", lambda work, log, begun: work(Leaving(-1, log)))

    def test_it_is_the_same_run_but_serves_on(self, begun: list[Any]) -> None:
        assert nile("swarm", "run", *WHAT) == nile("swarm", "start", *WHAT) == 0
        (one, first, _), (other, second, given) = begun
        assert one == other
        assert replace(second, serve_s=0.0) == first
        assert second.serve_s == math.inf
        assert isinstance(given["leaving"], Leaving)

    def test_for_a_time(self, begun: list[Any]) -> None:
        nile("swarm", "start", "--for", "2h", *WHAT)
        assert begun[0][1].serve_s == 7200.0

    @pytest.mark.parametrize("word", ["-n", "--json", "--repos=x", "--gather", "-q"])
    def test_what_is_of_use_only_where_one_looks_on_is_refused(self, begun: list[Any], word: str) -> None:
        with pytest.raises((click.NoSuchOption, UsageError)):
            nile("swarm", "start", word, *WHAT)
        assert begun == []


def test_a_cache_that_others_may_write_to_is_said_and_not_used(
    begun: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "cache/nile/peers"
    wheels.fill(place)
    place.chmod(0o777)
    found = CliRunner().invoke(commands, ["swarm", "run", *WHAT], standalone_mode=False)
    assert found.return_value == 0
    assert "others may write there" in found.stderr
    assert begun[0][1].wheels == ()
    place.chmod(0o700)
    nile("swarm", "run", *WHAT)
    assert len(begun[1][1].wheels) == 1
