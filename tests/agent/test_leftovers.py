"""What a command left is removed, and nothing but that: another user may have put links there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nile.agent import processes
from nile.agent.leftovers import remove_tree


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """What belongs to someone else."""
    path = tmp_path / "precious"
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text("kept")
    return path


def test_all_goes(tmp_path: Path, precious: Path) -> None:
    doomed = tmp_path / "doomed"
    (doomed / "a" / "b").mkdir(parents=True)
    (doomed / "a" / "file").touch()
    (doomed / "a" / "link").symlink_to(precious)
    os.mkfifo(doomed / "fifo")
    remove_tree(str(doomed))
    assert not doomed.exists()
    assert (precious / "inner" / "file").read_text() == "kept"
    remove_tree(str(doomed))


@pytest.mark.parametrize("remove", [remove_tree, processes.remove_directory])
def test_a_link_in_its_place_is_not_followed(tmp_path: Path, precious: Path, remove: object) -> None:
    doomed = tmp_path / "doomed"
    doomed.symlink_to(precious)
    assert callable(remove)
    remove(str(doomed))
    assert (precious / "inner" / "file").read_text() == "kept"


def test_a_directory_that_becomes_a_link_meanwhile_is_not_followed(
    tmp_path: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed = tmp_path / "doomed"
    (doomed / "inner").mkdir(parents=True)
    (doomed / "inner" / "more").mkdir()
    listdir = os.listdir

    def swapped(folder: int) -> list[str]:
        names = listdir(folder)
        if "inner" in names and (doomed / "inner").is_dir():
            (doomed / "inner").rename(tmp_path / "away")
            (doomed / "inner").symlink_to(precious)
        return names

    monkeypatch.setattr(os, "listdir", swapped)
    remove_tree(str(doomed))
    assert (precious / "inner" / "file").read_text() == "kept"


def test_what_is_too_deep_stays_and_is_no_error(tmp_path: Path) -> None:
    above = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("doomed", dir_fd=above)
    folder = os.open("doomed", os.O_RDONLY, dir_fd=above)
    for _ in range(1500):
        os.mkdir("x", dir_fd=folder)
        inner = os.open("x", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    os.close(above)
    remove_tree(str(tmp_path / "doomed"))
    assert (tmp_path / "doomed").exists()
    subprocess.run(["rm", "-rf", tmp_path / "doomed"], check=True)
