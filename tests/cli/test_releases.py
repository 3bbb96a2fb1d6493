"""Words of `nile releases`, `nile rollback` and `nile sync --release`: no host is needed to refuse them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nile.cli import commands, copying, releasing
from nile.errors import UsageError
from nile.sync import Deed, Purpose, Quorum, ReleasesOptions, SyncOptions

WHAT = ("-w", "h1")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be carried out."""
    found: list[Any] = []

    def run(_selection: object, what: Any, _given: object) -> int:
        found.append(what)
        return 0

    monkeypatch.setattr(copying, "run_one", run)
    for module in ("releases", "rollback"):
        monkeypatch.setattr(f"nile.cli.{module}.run", run)
    assert releasing.run is not run
    return found


def nile(*words: str) -> Any:
    return CliRunner().invoke(commands, words, catch_exceptions=False, standalone_mode=False).return_value


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ((), ReleasesOptions(b"/srv/app")),
        (("--finish",), ReleasesOptions(b"/srv/app", Deed.FINISH)),
        (("--rollback",), ReleasesOptions(b"/srv/app", Deed.UNDO)),
        (("--as-is",), ReleasesOptions(b"/srv/app", Deed.LEAVE)),
        (("--keep", "0"), ReleasesOptions(b"/srv/app", Deed.PRUNE, keep=0)),
    ],
)
def test_releases(asked: list[Any], words: tuple[str, ...], meant: ReleasesOptions) -> None:
    assert nile("releases", *WHAT, *words, "/srv//app/") == 0
    assert asked == [meant]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ((), ReleasesOptions(b"/srv/app", Deed.FLIP)),
        (("--to", "2.3"), ReleasesOptions(b"/srv/app", Deed.FLIP, "2.3")),
        (("--quorum", "66.6%"), ReleasesOptions(b"/srv/app", Deed.FLIP, quorum=Quorum(6660))),
    ],
)
def test_rollback(asked: list[Any], words: tuple[str, ...], meant: ReleasesOptions) -> None:
    assert nile("rollback", *WHAT, *words, "/srv/app") == 0
    assert asked == [meant]


def sync(asked: list[Any], tmp_path: Path, *words: str) -> SyncOptions:
    nile("sync", *WHAT, *words, f"{tmp_path}/", "/srv/app")
    (what,) = asked
    assert isinstance(what, SyncOptions)
    return what


def test_without_a_release_it_is_a_copy(asked: list[Any], tmp_path: Path) -> None:
    what = sync(asked, tmp_path)
    assert (what.release, what.place, what.delete, what.max_delete) == ("", b"/srv/app", False, None)


def test_a_release_has_nothing_but_the_source(asked: list[Any], tmp_path: Path) -> None:
    what = sync(asked, tmp_path, "--release", "2.4", "--quorum", "95%", "--keep", "3")
    assert (what.release, what.quorum, what.keep, what.delete) == ("2.4", Quorum(9500), 3, True)
    assert what.place == b"/srv/app/releases/.nile-making-2.4"
    assert what.purpose is Purpose.COPY


def test_a_dry_run_compares_with_the_current_one(asked: list[Any], tmp_path: Path) -> None:
    what = sync(asked, tmp_path, "-n", "--release", "2.4")
    assert (what.purpose, what.dest, what.release) == (Purpose.DRY_RUN, b"/srv/app/current", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("releases", "srv/app"), "absolute"),
        (("rollback", "srv/app"), "absolute"),
        (("releases", "--finish", "--rollback", "/srv/app"), "can't go together"),
        (("releases", "--rollback", "--as-is", "/srv/app"), "can't go together"),
        (("releases", "--finish", "--keep", "1", "/srv/app"), "can't go together"),
        (("sync", "--keep", "1", "./", "/srv/app"), "--keep is for releases"),
        (("sync", "--quorum", "95%", "./", "/srv/app"), "--quorum is for releases"),
        (("sync", "--release", "1", "--delete", "./", "/srv/app"), "can't go with --release"),
        (("sync", "--release", "1", "--max-delete", "1", "./", "/srv/app"), "can't go with --release"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        nile(words[0], *WHAT, *words[1:])
    assert refused.value.remedy


@pytest.mark.parametrize("name", ["../x", ".x", "a b", "", "-"])
def test_names_that_are_none(name: str) -> None:
    done = CliRunner().invoke(commands, ["rollback", *WHAT, "--to", name, "/srv/app"])
    assert done.exit_code == 2
    assert "can't be the name of a release" in done.stderr


@pytest.mark.parametrize("percent", ["95", "0%", "101%", "x%", "-5%", "99.999%", "%"])
def test_percentages_that_are_none(percent: str) -> None:
    done = CliRunner().invoke(commands, ["rollback", *WHAT, "--quorum", percent, "/srv/app"])
    assert done.exit_code == 2
    assert "is not a percentage" in done.stderr
