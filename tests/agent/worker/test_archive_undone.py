"""Archives that come to nothing late, or that can't be undone by any means: nothing else is touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nile.agent.worker import archive, receiving
from nile.agent.worker.forking import Failure
from nile.agent.worker.manifest import MOST_DEEP, Entry
from nile.agent.worker.placing import Placing
from tests.agent.worker.conftest import NOBODY, as_nobody
from tests.agent.worker.copying import NAME
from tests.agent.worker.test_archive_whole import entry, forged
from tests.agent.worker.trees import write
from tests.agent.worker.unpacking import packed, read, unpack, well


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
    really = Placing._place

    def put(self: Placing, name: bytes) -> None:
        if name == b"z":
            (place / "dest/a").chmod(0o700)
            (place / "dest/a/sub").rename(place / "dest/a/was")
            (place / "dest/a/sub").symlink_to(place / "other")
            (place / "dest/a").chmod(mode)
            raise OSError(28, "No space left on device")
        really(self, name)

    monkeypatch.setattr(Placing, "_place", put)
    stream = forged(folder(b"a", mode), folder(b"a/sub", 0o755), entry(b"z"))
    as_nobody(lambda: check(stream, place))
    assert stat.S_IMODE((place / "other").stat().st_mode) == 0o755


def check(stream: bytes, place: Path) -> None:
    assert unpack(stream, place / "dest").code == "disk-full"
    assert list((place / "dest").iterdir()) == []


@pytest.mark.parametrize("deep", [MOST_DEEP, MOST_DEEP + 1])
def test_what_is_too_deep_to_be_removed_is_never_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(archive, "MOST_DEEP", 10_000)
        made = [entry(b"/".join([b"d"] * depth), b"d") for depth in range(1, deep + 1)]
    path = b"/".join([b"d"] * deep)
    if deep <= MOST_DEEP:
        well(unpack(forged(*made), tmp_path / "dest"))
        assert (tmp_path / "dest" / os.fsdecode(path)).is_dir()
        return
    assert unpack(forged(*made), tmp_path / "dest").code == "corrupt"
    assert list((tmp_path / "dest").iterdir()) == []
    with pytest.raises(ValueError, match="more than 256 directories deep"):
        entry(path, b"d")


@pytest.mark.parametrize("deep", [MOST_DEEP, MOST_DEEP + 1])
def test_a_source_says_whether_it_is_too_deep(tmp_path: Path, deep: int) -> None:
    (tmp_path / "/".join(["d"] * (deep - 1))).mkdir(parents=True)
    source = read(f"{tmp_path}/")
    assert source.unpackable == ""
    (tmp_path / "/".join(["d"] * deep)).mkdir()
    source = read(f"{tmp_path}/")
    assert (source.unpackable == "") == (deep == MOST_DEEP)
    if source.unpackable:
        with pytest.raises(Failure, match=source.unpackable):
            packed(source)
    else:
        packed(source)


@pytest.mark.parametrize("call", ["remove", "sweep"])
def test_what_is_too_deep_all_the_same_is_an_error_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def deep(*_: object) -> None:
        raise RecursionError

    dest = os.fsencode(tmp_path)
    receiving.prepare(dest, NAME)
    monkeypatch.setattr(receiving, "remove_tree", deep)
    with pytest.raises(OSError, match="deeper than can be removed"):
        getattr(receiving, call)(dest, NAME)
    monkeypatch.setattr(os, "walk", deep)
    with pytest.raises(OSError, match="deeper than can be removed"):
        receiving.sweep(dest, NAME)


def test_a_python_that_knows_no_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for musl before 3.11.3: it takes none along, and says so where it would have to set one."""
    write(tmp_path, "src/file", "content")
    plain = packed(read(f"{tmp_path}/src/"))
    os.setxattr(tmp_path / "src/file", "user.colour", b"blue")
    coloured = packed(read(f"{tmp_path}/src/"))
    assert coloured != plain
    for call in ("listxattr", "getxattr", "setxattr", "removexattr"):
        monkeypatch.delattr(os, call)
    source = read(f"{tmp_path}/src/")
    assert source.attributed == set()
    assert b"colour" not in packed(source)
    well(unpack(plain, tmp_path / "dest"))
    assert (tmp_path / "dest/file").read_text() == "content"
    ending = unpack(coloured, tmp_path / "other")
    assert (ending.code, ending.reason) == ("files", "the Python here can't set user.colour")
    assert list((tmp_path / "other").iterdir()) == []
