"""The end of an archive: names are given to what came, in a place where others may be at work, too."""

from __future__ import annotations

import os
import select
import shutil
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import archive, restoring
from nile.agent.worker.manifest import Entry
from nile.agent.worker.placing import Placing
from nile.agent.worker.removing import remove_tree
from tests.agent.worker.conftest import NOBODY, as_nobody
from tests.agent.worker.copying import contents, tree
from tests.agent.worker.test_archive_whole import entry, forged
from tests.agent.worker.trees import write
from tests.agent.worker.unpacking import packed, read, same, unpack, well

Restorer = restoring._Restorer


def folder(path: bytes, attributes: list[tuple[bytes, bytes]] | None = None, mode: int = 0o755) -> bytes:
    return archive.item(Entry(path, b"d", mode, 0, 1, NOBODY, NOBODY), attributes or [])


STREAM = forged(entry(b"a"), entry(b"b"), folder(b"d"), entry(b"d/e"), entry(b"z"))


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


def before_the_last(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """When all but `z` has its place."""
    really = Placing._place

    def place(self: Placing, name: bytes) -> None:
        if name == b"z":
            act()
        really(self, name)

    monkeypatch.setattr(Placing, "_place", place)


@pytest.mark.parametrize("what", ["file", "link", "directory"])
def test_what_gets_a_name_after_the_look_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    taken = tmp_path / "dest/z"

    def take() -> None:
        if what == "directory":
            taken.mkdir()
        elif what == "link":
            taken.symlink_to("nowhere")
        else:
            taken.write_text("own")

    before_the_last(monkeypatch, take)
    ending = unpack(STREAM, tmp_path / "dest")
    assert (ending.code, ending.names) == ("diverged", [b"z"])
    assert [path.name for path in (tmp_path / "dest").iterdir()] == ["z"]
    assert (taken.is_dir(), taken.is_symlink()) == (what == "directory", what == "link")
    assert what != "file" or taken.read_text() == "own"


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_directory_overwrites_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    stream = forged(entry(b"a"), folder(b"z"))
    taken = tmp_path / "dest/z"
    before_the_last(monkeypatch, lambda: write(taken, "own") if what == "directory" else taken.touch())
    ending = unpack(stream, tmp_path / "dest")
    assert (ending.code, ending.names) == ("diverged", [b"z"])
    assert [path.name for path in (tmp_path / "dest").iterdir()] == ["z"]


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_links(monkeypatch)
    well(unpack(STREAM, tmp_path / "dest"))
    assert sorted(path.name for path in (tmp_path / "dest").iterdir()) == ["a", "b", "d", "z"]
    before_the_last(monkeypatch, lambda: write(tmp_path, "other/z", "own"))
    ending = unpack(STREAM, tmp_path / "other")
    assert (ending.code, ending.names) == ("diverged", [b"z"])
    assert contents(tmp_path / "other") == {"z": b"own"}


@pytest.mark.parametrize("linked", [True, False])
def test_undoing_leaves_what_is_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    dest = tmp_path / "dest"
    if not linked:
        no_links(monkeypatch)

    def take() -> None:
        write(tmp_path, "new", "own").replace(dest / "a")
        write(tmp_path, "other/own", "own")
        shutil.move(dest / "d", tmp_path / "was")
        (tmp_path / "other").rename(dest / "d")
        raise OSError(28, "No space left on device")

    before_the_last(monkeypatch, take)
    assert unpack(STREAM, dest).code == "disk-full"
    assert contents(dest) == {"a": b"own", "d/own": b"own"}


def test_the_number_of_a_file_that_is_gone_is_no_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be given again: here to a file that is the same inode, and was written anew."""

    def take() -> None:
        (tmp_path / "dest/a").write_text("own")
        raise OSError(28, "No space left on device")

    before_the_last(monkeypatch, take)
    assert unpack(STREAM, tmp_path / "dest").code == "disk-full"
    assert contents(tmp_path / "dest") == {"a": b"own"}


# The destination itself

NOBODYS = 0xFFFFFFFF


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


RIGHTS = acl((1, 7, NOBODYS), (2, 5, 1), (4, 5, NOBODYS), (16, 5, NOBODYS), (32, 5, NOBODYS))


def test_the_destination_loses_what_the_source_does_not_have(tmp_path: Path) -> None:
    """As by rsync -aAX; what the source wasn't looked at for stays."""
    write(tmp_path, "src/file")
    os.setxattr(tmp_path / "src", "user.shape", b"round")
    source = read(f"{tmp_path}/src/")
    for name in ("all", "xattrs", "none"):
        (tmp_path / name).mkdir()
        os.setxattr(tmp_path / name, "user.colour", b"blue")
        for each in ("access", "default"):
            os.setxattr(tmp_path / name, f"system.posix_acl_{each}", RIGHTS)
    well(unpack(packed(source), tmp_path / "all"))
    same(source, tmp_path / "all")
    assert os.listxattr(tmp_path / "all") == ["user.shape"]
    well(unpack(packed(source, has=frozenset({"xattrs"})), tmp_path / "xattrs"))
    acls = ["system.posix_acl_access", "system.posix_acl_default"]
    assert sorted(os.listxattr(tmp_path / "xattrs")) == [*acls, "user.shape"]
    well(unpack(packed(source, has=frozenset()), tmp_path / "none"))
    assert sorted(os.listxattr(tmp_path / "none")) == [*acls, "user.colour"]


def test_a_destination_that_cannot_be_as_it_should_is_seen_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Placing, "_place", never)
    wrong = [(b"system.posix_acl_access", b"no ACL")]
    assert unpack(forged(folder(b".", wrong), entry(b"a")), tmp_path / "dest").code == "corrupt"
    assert list((tmp_path / "dest").iterdir()) == []


@pytest.mark.parametrize("rights", [b"", acl((1, 5, NOBODYS), (4, 5, NOBODYS), (32, 5, NOBODYS))])
def test_a_user_may_have_a_destination_that_is_closed_to_him(open_path: Path, rights: bytes) -> None:
    write(open_path, "src/a/b", "x")
    (open_path / "src").chmod(0o555)
    if rights:
        os.setxattr(open_path / "src", "system.posix_acl_default", rights)
    source = read(f"{open_path}/src/")
    stream = packed(source)
    (open_path / "dest").mkdir()
    os.chown(open_path / "dest", NOBODY, NOBODY)
    as_nobody(lambda: well(unpack(stream, open_path / "dest")))
    assert contents(open_path / "dest") == {"a/b": b"x"}
    seen = (open_path / "dest").stat()
    assert (stat.S_IMODE(seen.st_mode), seen.st_mtime_ns) == (0o555, (open_path / "src").stat().st_mtime_ns)


# What is kept until the end


@pytest.mark.parametrize("spread", [False, True])
def test_what_is_kept_of_directories_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: bool
) -> None:
    """The same attributes of many directories are kept once."""
    monkeypatch.setattr(restoring, "MOST_KEPT", 10_000)
    value = bytes(2000)
    made = [folder(b"%d" % at, [(b"user.x", value + b"%d" % (at * spread))]) for at in range(8)]
    ending = unpack(forged(*made), tmp_path / "dest")
    assert ending.code == ("corrupt" if spread else "")
    assert len(list((tmp_path / "dest").iterdir())) == (0 if spread else 8)


@pytest.mark.parametrize(
    "make",
    [lambda at: folder(b"%03d" % at + bytes(100).replace(b"\0", b"x")), lambda at: entry(b"%0103d" % at)],
)
def test_so_are_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    monkeypatch.setattr(restoring, "MOST_KEPT", 10_000)
    well(unpack(forged(*map(make, range(40))), tmp_path / "few"))
    assert unpack(forged(*map(make, range(100))), tmp_path / "many").code == "corrupt"
    assert list((tmp_path / "many").iterdir()) == []


def test_so_are_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_ENTRIES", 3)
    few = [entry(b"%d" % at) for at in range(3)]
    well(unpack(forged(*few), tmp_path / "few"))
    assert unpack(forged(*few, entry(b"x")), tmp_path / "many").code == "corrupt"


# What is left when it is killed


@pytest.mark.parametrize("mode", [0o555, 0o300, 0o000], ids=oct)
def test_closed_directories_of_ours_are_removed(open_path: Path, mode: int) -> None:
    write(open_path, "doomed/a/b/file")
    write(open_path, "kept/file")
    (open_path / "doomed/link").symlink_to(open_path / "kept")
    for path in (open_path / "doomed/a/b", open_path / "doomed/a", open_path / "doomed", open_path / "kept"):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(mode)
    os.chown(open_path, NOBODY, NOBODY)
    before = tree(open_path / "kept")
    as_nobody(lambda: remove_tree(os.fsencode(open_path / "doomed")))
    assert [path.name for path in open_path.iterdir()] == ["kept"]
    assert tree(open_path / "kept") == before


def test_closed_directories_of_others_stay_as_they_are(open_path: Path) -> None:
    os.chown(open_path, NOBODY, NOBODY)
    write(open_path, "doomed/theirs/file")
    (open_path / "doomed/theirs").chmod(0o700)
    os.chown(open_path / "doomed", NOBODY, NOBODY)

    def check() -> None:
        with pytest.raises(PermissionError) as raised:
            remove_tree(os.fsencode(open_path / "doomed"))
        assert raised.value.filename == os.fsencode(open_path / "doomed/theirs")

    as_nobody(check)
    assert (open_path / "doomed/theirs/file").exists()


def test_an_archive_has_long_after_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its child waits for the disk alone: as long as that takes it isn't killed amid giving names."""
    monkeypatch.setattr("nile.agent.worker.applying.LEAVE_S", 0.05)
    really = Restorer.finish

    def finish(self: Restorer) -> None:
        select.select([os.pipe()[0]], [], [], 0.6)  # for so long nothing is done
        really(self)

    monkeypatch.setattr(Restorer, "finish", finish)
    well(unpack(STREAM, tmp_path / "dest"))
