"""Archives that come to nothing late, or that can't be undone by any means: nothing else is touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nile.agent.worker import archive, restoring
from nile.agent.worker.manifest import Entry
from tests.agent.worker.conftest import NOBODY, as_nobody
from tests.agent.worker.test_archive_whole import entry, forged
from tests.agent.worker.unpacking import unpack


@pytest.fixture
def place(open_path: Path) -> Path:
    """Where another user has a destination, and something beside it."""
    for path in (open_path, open_path / "dest", open_path / "other"):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
        os.chown(path, NOBODY, NOBODY)
    return open_path


def folder(path: bytes, mode: int) -> bytes:
    return archive.item(Entry(path, b"d", mode, 0, 1, NOBODY, NOBODY), [])


@pytest.mark.parametrize("mode", [0o775, 0o300, 0o000], ids=oct)
def test_undoing_follows_no_link(place: Path, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    """Who may write in a directory that has its place may put anything there before it loses that."""
    really = restoring._Restorer._place

    def put(self: restoring._Restorer, name: bytes, item: archive.Item | None) -> None:
        if name == b"z":
            (place / "dest/a").chmod(0o700)
            (place / "dest/a/sub").rename(place / "dest/a/was")
            (place / "dest/a/sub").symlink_to(place / "other")
            (place / "dest/a").chmod(mode)
            raise OSError(28, "No space left on device")
        really(self, name, item)

    monkeypatch.setattr(restoring._Restorer, "_place", put)
    stream = forged(folder(b"a", mode), folder(b"a/sub", 0o755), entry(b"z"))
    as_nobody(lambda: check(stream, place))
    assert stat.S_IMODE((place / "other").stat().st_mode) == 0o755


def check(stream: bytes, place: Path) -> None:
    assert unpack(stream, place / "dest").code == "disk-full"
    assert list((place / "dest").iterdir()) == []
