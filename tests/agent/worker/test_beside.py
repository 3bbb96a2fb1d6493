"""Files of the release before, for a new one: which are linked or copied, and what stays as it was."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker.archive import Item, Looked
from nile.agent.worker.beside import Beside
from nile.agent.worker.dressing import Dressing, Terms
from nile.agent.worker.forking import Failure
from nile.agent.worker.manifest import Entry
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.scanning import scan
from tests.agent.worker.conftest import NOBODY, as_nobody

LOOKED = Looked(False, False)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The release before."""
    old = tmp_path / "old"
    (old / "dir").mkdir(parents=True)
    (old / "dir/file").write_bytes(b"content")
    return old


def entry(old: Path, path: str = "dir/file", **changes: Any) -> Entry:
    """As a scan has it, but for some of it."""
    found = scan([(os.fsencode(old), b"")], Patterns())
    return next(each for each in found.entries if each.path == os.fsencode(path))._replace(**changes)


def take(it: Beside, wanted: Entry, made: Path) -> bytes | None:
    """None where it was linked; else the content of the copy."""
    fd = it.take(Item(wanted, []), os.fsencode(made), Dressing(Terms(numeric_ids=True)), LOOKED)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read()


def test_what_is_the_same_in_all_is_linked(old: Path, tmp_path: Path) -> None:
    assert take(Beside(os.fsencode(old)), entry(old), tmp_path / "made") is None
    assert (tmp_path / "made").samefile(old / "dir/file")


def test_what_differs_in_its_mode_only_is_copied_and_may_be_changed(old: Path, tmp_path: Path) -> None:
    assert take(Beside(os.fsencode(old)), entry(old, mode=0o711), tmp_path / "made") == b"content"
    assert not (tmp_path / "made").samefile(old / "dir/file")
    assert (old / "dir/file").stat().st_nlink == 1


def test_two_that_are_apart_dont_become_one(old: Path, tmp_path: Path) -> None:
    (old / "twin").hardlink_to(old / "dir/file")
    it = Beside(os.fsencode(old))
    assert take(it, entry(old), tmp_path / "made") is None
    assert take(it, entry(old, "twin"), tmp_path / "other") == b"content"


def test_holes_stay_holes_where_it_is_copied(old: Path, tmp_path: Path) -> None:
    with (old / "sparse").open("wb") as file:
        file.truncate(3_000_000)
        file.seek(1_000_000)
        file.write(b"x")
    copied = take(Beside(os.fsencode(old)), entry(old, "sparse", mode=0o711), tmp_path / "made")
    assert copied == (old / "sparse").read_bytes()
    assert (tmp_path / "made").stat().st_blocks * 512 < 200_000


@pytest.mark.parametrize("path", ["dir/file", "gone", "dir/file/below", "link/file", "dir"])
def test_what_isnt_there_as_it_was_found_is_missing(old: Path, tmp_path: Path, path: str) -> None:
    (old / "link").symlink_to("dir")
    wanted = entry(old)._replace(path=os.fsencode(path), mtime_ns=5)
    if path != "dir/file":
        wanted = wanted._replace(mtime_ns=entry(old).mtime_ns)
    with pytest.raises(Failure, match="isn't in the other release any more") as failure:
        take(Beside(os.fsencode(old)), wanted, tmp_path / "made")
    assert failure.value.code == "incomplete"
    assert not (tmp_path / "made").exists()


def test_where_a_file_can_have_no_more_names_it_is_copied(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(31, "Too many links")

    monkeypatch.setattr(os, "link", refuse)
    assert take(Beside(os.fsencode(old)), entry(old), tmp_path / "made") == b"content"


def test_a_directory_that_is_closed_stays_so() -> None:
    """Where rsync, and a merge, would open it up to write there."""
    with tempfile.TemporaryDirectory() as name:
        place, old = Path(name), Path(name) / "old"
        place.chmod(0o777)
        (old / "dir").mkdir(parents=True)
        (old / "dir/file").write_bytes(b"content")
        wanted = entry(old)
        for path in (old, old / "dir", old / "dir/file"):
            os.chown(path, NOBODY, NOBODY)
        (old / "dir").chmod(0o000)

        def check() -> None:
            with pytest.raises(Failure):
                take(Beside(os.fsencode(old)), wanted, place / "made")

        as_nobody(check)
        assert (old / "dir").stat().st_mode & 0o777 == 0
