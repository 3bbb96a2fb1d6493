"""What `nile sync` takes for paths, before anything is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nile.cli.copying import places, refuse_to_delete_for_files
from nile.errors import UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    (tmp_path / "site").mkdir()
    (tmp_path / "app.conf").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return os.fsencode(tmp_path)


def test_files_and_directories_are_taken(here: bytes) -> None:
    sources, dest = places(("app.conf", "site", "site/", "/etc//app/"))
    assert sources == (here + b"/app.conf", here + b"/site", here + b"/site/")
    assert dest == b"/etc/app"


@pytest.mark.parametrize(
    ("words", "reason", "remedy"),
    [
        (("fifo", "/srv"), "fifo is neither a file nor a directory", "leave it out"),
        (("dangling", "/srv"), "dangling is neither a file nor a directory", "leave it out"),
        (("app.conf/", "/srv"), "there is no such file", "look at its name"),
        (("app.conf", "/etc/app.conf"), "DEST is the directory that gets app.conf", "write /etc"),
    ],
)
def test_what_can_not_be_is_refused(here: bytes, words: tuple[str, ...], reason: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        places(words)
    assert reason in str(caught.value)
    assert remedy in (caught.value.remedy or "")


def test_from_files_nothing_can_be_deleted(here: bytes) -> None:
    with pytest.raises(UsageError, match="SRC are files only"):
        refuse_to_delete_for_files((here + b"/app.conf",))
    refuse_to_delete_for_files((here + b"/app.conf", here + b"/site"))
