"""The source as an archive, and a copy made of it: equal, as rsync would make it."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nile.agent.worker import archive, attributes
from nile.agent.worker.archive import Looked, Owners
from nile.agent.worker.manifest import TEMPORARY
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.scanning import numbers_here, scan
from nile.agent.worker.trees import Source
from tests.agent.worker.conftest import as_nobody
from tests.agent.worker.copying import contents, tree
from tests.agent.worker.trees import make_all_kinds, write
from tests.agent.worker.unpacking import BIG, packed, read, same, unpack, well

# Equal


def test_everything_that_a_tree_can_have_arrives(tmp_path: Path) -> None:
    make_all_kinds(tmp_path / "src")
    os.setxattr(tmp_path / "src/dir/file", "user.colour", b"blue")
    (tmp_path / "src/dir/below").chmod(0o555)
    os.utime(tmp_path / "src", ns=(1, 1_234_567_890_123_456_789))
    source = read(f"{tmp_path}/src/")
    well(unpack(packed(source), tmp_path / "dest"))
    same(source, tmp_path / "dest")
    assert tree(tmp_path / "dest") == tree(tmp_path / "src")


@pytest.mark.parametrize("there", [True, False])
def test_what_has_a_name_of_its_own_comes_beside_what_is_there(tmp_path: Path, there: bool) -> None:
    make_all_kinds(tmp_path / "src")
    write(tmp_path, "one file", "1")
    source = read(tmp_path / "src", tmp_path / "one file")
    if there:
        write(tmp_path, "dest/older", "2")
    well(unpack(packed(source), tmp_path / "dest"))
    same(source, tmp_path / "dest")
    assert (tmp_path / "dest/older").exists() is there


def test_roots_that_overlap_are_one_tree(tmp_path: Path) -> None:
    write(tmp_path, "a/both/x", "first")
    write(tmp_path, "a/z", "file")
    write(tmp_path, "b/both/y", "second")
    write(tmp_path, "b/both/x", "isn't taken")
    write(tmp_path, "b/z/deep", "a directory goes first")
    source = read(f"{tmp_path}/a/", f"{tmp_path}/b/")
    well(unpack(packed(source), tmp_path / "dest"))
    same(source, tmp_path / "dest")
    assert contents(tmp_path / "dest") == {
        "both/x": b"first",
        "both/y": b"second",
        "z/deep": b"a directory goes first",
    }


def test_what_is_left_out_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, "src/kept", "1")
    write(tmp_path, "src/cache/x", "2")
    write(tmp_path, "dest/cache/own", "3")
    source = read(f"{tmp_path}/src/", excludes=(b"/cache",))
    well(unpack(packed(source), tmp_path / "dest"))
    same(source, tmp_path / "dest", (b"/cache",))
    assert contents(tmp_path / "dest") == {"cache/own": b"3", "kept": b"1"}


def test_holes_stay_holes(tmp_path: Path) -> None:
    place = write(tmp_path, "src/sparse")
    with place.open("r+b") as file:
        file.truncate(1 << 40)
        for at in (0, 1 << 30, (1 << 40) - 5):
            file.seek(at)
            file.write(b"there")
    (tmp_path / "src/zeros").write_bytes(bytes(BIG))
    source = Source([os.fsencode(f"{tmp_path}/src/")], Patterns())
    source.read(checksum=False)
    stream = packed(source)
    assert len(stream) < 100_000
    well(unpack(stream, tmp_path / "dest"))
    found = tmp_path / "dest/sparse"
    assert (found.stat().st_size, found.stat().st_blocks) == (1 << 40, place.stat().st_blocks)
    with found.open("rb") as file:
        for at in (0, 1 << 30, (1 << 40) - 5):
            file.seek(at)
            assert file.read(5) == b"there"
    assert (tmp_path / "dest/zeros").read_bytes() == bytes(BIG)


def test_files_larger_than_one_message(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for size in (archive.CHUNK - 1, archive.CHUNK, archive.CHUNK + 1, BIG):
        (tmp_path / f"src/{size}").write_bytes(os.urandom(size))
    source = read(f"{tmp_path}/src/")
    well(unpack(packed(source), tmp_path / "dest"))
    same(source, tmp_path / "dest")


names = st.binary(min_size=1, max_size=6).filter(
    lambda name: name not in (b".", b"..") and not set(name) & {0, 0x2F} and not name.startswith(TEMPORARY)
)
things = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=40), st.integers(0, 0o7777)),
    st.tuples(st.just("hole"), st.integers(1, 1 << 33), st.integers(0, 0o7777)),
    st.tuples(st.just("directory"), st.none(), st.integers(0, 0o7777)),
    st.tuples(
        st.just("symlink"), st.binary(min_size=1, max_size=20).filter(lambda to: b"\0" not in to), st.none()
    ),
    st.tuples(st.just("fifo"), st.none(), st.integers(0, 0o7777)),
    st.tuples(st.just("link"), st.integers(0, 1000), st.none()),
)
trees = st.lists(
    st.tuples(st.integers(0, 1000), names, things, st.integers(-(10**18), 4 * 10**18), st.integers(0, 70000)),
    max_size=12,
)


def plant(top: bytes, wanted: list[Any]) -> None:
    """Make such a tree: each in one of the directories that there are by then."""
    directories, others, made = [top], list[bytes](), list[Any]()
    Path(os.fsdecode(top)).mkdir()
    for where, name, (kind, value, mode), mtime_ns, owner in wanted:
        path = directories[where % len(directories)] + b"/" + name
        if os.path.lexists(path) or (kind == "link" and not others):
            continue
        if kind in ("file", "hole"):
            with open(path, "wb") as file:  # noqa: PTH123
                file.write(value if kind == "file" else b"x")
                file.truncate(len(value) if kind == "file" else value)
        elif kind == "directory":
            Path(os.fsdecode(path)).mkdir()
            directories.append(path)
        elif kind == "symlink":
            Path(os.fsdecode(path)).symlink_to(os.fsdecode(value))
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            os.link(others[value % len(others)], path, follow_symlinks=False)
        if kind != "directory":
            others.append(path)
        made.append((path, mode, mtime_ns, owner))
    for path, mode, mtime_ns, owner in reversed(made):
        if os.geteuid() == 0:
            os.lchown(path, owner, owner)
        if mode is not None:
            Path(os.fsdecode(path)).chmod(mode)
        os.utime(path, ns=(0, mtime_ns), follow_symlinks=False)


@settings(deadline=None, max_examples=60)
@given(trees, st.booleans())
@example([(0, b"-", ("directory", None, 0), 1, 1), (1, b"a", ("file", b"x", 0), 2, 2)], True)
@example([(0, b"\xff\n", ("symlink", b"../..", None), 1, 1), (0, b"b", ("link", 0, None), 1, 1)], False)
def test_what_is_packed_is_what_is_unpacked(wanted: list[Any], slash: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        plant(os.fsencode(place) + b"/src", wanted)
        source = Source([os.fsencode(place) + b"/src" + b"/" * slash], Patterns())
        source.read(checksum=False)
        well(unpack(packed(source), Path(place, "dest")))
        dest = os.fsencode(place) + b"/dest/"
        found = scan([(dest + name, name) for _, name in source.roots], Patterns())
        assert found.entries == source.manifest.entries


# Owners


@pytest.fixture
def owned(tmp_path: Path) -> Source:
    """Files of a user that has the name `daemon`, and of one that has none."""
    for name, owner in (("named", 1), ("nameless", 54321)):
        os.chown(write(tmp_path, f"src/{name}", name), owner, owner)
    return read(f"{tmp_path}/src/")


def renamed(source: Source, data: bytes) -> bytes:
    """As if the source called its user 1 what here is called `bin` or whatever 2 is."""
    users, groups = ({1: attributes.names_of({2}, {2})[at][2]} for at in (0, 1))
    looked = Looked(True, True)
    before = archive.head(Owners(source.manifest.users, source.manifest.groups), looked)
    assert data.startswith(before)
    return archive.head(Owners(users, groups), looked) + data[len(before) :]


@pytest.mark.parametrize(
    ("options", "named", "nameless"),
    [
        ({}, (2, 2), (54321, 54321)),
        ({"numeric_ids": True}, (1, 1), (54321, 54321)),
        ({"chown": "3:4"}, (3, 4), (3, 4)),
        ({"chown": "sys"}, (3, 2), (3, 54321)),
        ({"chown": ":sys", "numeric_ids": True}, (1, 3), (54321, 3)),
    ],
)
def test_files_belong_to_whom_rsync_would_give_them(
    tmp_path: Path, owned: Source, options: Any, named: tuple[int, int], nameless: tuple[int, int]
) -> None:
    assert numbers_here({1: b"sys"}, {1: b"sys"}) == ({1: 3}, {1: 3})
    well(unpack(renamed(owned, packed(owned)), tmp_path / "dest", **options))
    for name, expected in (("named", named), ("nameless", nameless)):
        seen = (tmp_path / "dest" / name).stat()
        assert (seen.st_uid, seen.st_gid) == expected


def test_somebody_unknown_is_no_owner(tmp_path: Path, owned: Source) -> None:
    ending = unpack(packed(owned), tmp_path / "dest", chown="nobody-of-that-name")
    assert (ending.code, "nobody-of-that-name" in ending.reason) == ("files", True)
    assert contents(tmp_path / "dest") == {}


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_acls_go_by_name(tmp_path: Path) -> None:
    nobody = 0xFFFFFFFF
    rights = acl((1, 6, nobody), (2, 4, 1), (4, 4, nobody), (8, 4, 1), (16, 4, nobody), (32, 0, nobody))
    place = write(tmp_path, "src/file", "x")
    os.chown(write(tmp_path, "src/other"), 1, 1)
    os.setxattr(place, "system.posix_acl_access", rights)
    write(tmp_path, "dest/.keep")
    os.setxattr(tmp_path / "dest", "system.posix_acl_default", rights)
    source = read(tmp_path / "src")
    well(unpack(renamed(source, packed(source)), tmp_path / "dest"))
    found = os.getxattr(tmp_path / "dest/src/file", "system.posix_acl_access")
    assert found == rights.replace(struct.pack("<HHI", 2, 4, 1), struct.pack("<HHI", 2, 4, 2)).replace(
        struct.pack("<HHI", 8, 4, 1), struct.pack("<HHI", 8, 4, 2)
    )
    assert "system.posix_acl_access" not in os.listxattr(tmp_path / "dest/src/other"), "it inherits nothing"


def test_whom_only_an_acl_speaks_of_has_a_name_too(tmp_path: Path) -> None:
    nobody = 0xFFFFFFFF
    rights = acl((1, 6, nobody), (2, 4, 1), (4, 4, nobody), (16, 4, nobody), (32, 0, nobody))
    os.setxattr(write(tmp_path, "src/file", "x"), "system.posix_acl_access", rights)
    stream = packed(read(f"{tmp_path}/src/"))
    assert archive.more_names(attributes.names_of({1}, ())) in stream


def test_attributes_are_taken_where_rsync_takes_them(tmp_path: Path) -> None:
    place = write(tmp_path, "src/file", "x")
    os.setxattr(place, "user.colour", b"blue")
    os.setxattr(place, "trusted.colour", b"red")
    source = read(f"{tmp_path}/src/")
    well(unpack(packed(source, has=frozenset()), tmp_path / "without"))
    assert os.listxattr(tmp_path / "without/file") == []
    well(unpack(packed(source), tmp_path / "with"))
    assert sorted(os.listxattr(tmp_path / "with/file")) == ["trusted.colour", "user.colour"]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (["--numeric-ids"], {"numeric_ids": True}),
        (["--chown=3:4"], {"chown": "3:4"}),
        (["--chown=daemon"], {"chown": "daemon"}),
        (["--chown=:sys", "--numeric-ids"], {"chown": ":sys", "numeric_ids": True}),
    ],
)
@pytest.mark.parametrize("root", [True, False], ids=["root", "user"])
def test_all_is_as_rsync_makes_it(open_path: Path, words: list[str], options: Any, root: bool) -> None:
    source_place = open_path / "src"
    make_all_kinds(source_place)
    os.chown(write(source_place, "dir/owned", "x" * 5000), 1, 1)
    for number, mode in enumerate((0o4755, 0o2755, 0o1777, 0o444, 0o7777)):
        write(source_place, f"modes/{number}", "x").chmod(mode)
        (source_place / f"modes/dir {number}").mkdir()
        (source_place / f"modes/dir {number}").chmod(mode | 0o500)
    (source_place / "dir/file").chmod(0o4755)
    nobody = 0xFFFFFFFF
    rights = acl((1, 6, nobody), (2, 4, 1), (4, 4, nobody), (16, 4, nobody), (32, 0, nobody))
    os.setxattr(source_place / "modes/3", "system.posix_acl_access", rights)
    os.setxattr(source_place / "modes", "system.posix_acl_default", rights)
    os.setxattr(source_place / "dir/file", "user.colour", b"blue")
    os.setxattr(source_place / "dir", "user.colour", b"green")
    os.setxattr(source_place / "link", "trusted.colour", b"red", follow_symlinks=False)
    stream = packed(read(source_place))
    for name in ("ours", "theirs"):
        (open_path / name).mkdir()
        (open_path / name).chmod(0o777)

    def check() -> None:
        well(unpack(stream, open_path / "ours", **options))
        argv = [
            "rsync",
            "-aHAXSx",
            "--modify-window=-1",
            *words,
            str(source_place),
            str(open_path / "theirs"),
        ]
        subprocess.run(argv, check=True, timeout=20)

    if not root:  # whose rsync may not read what isn't for him
        (source_place / "fifo").chmod(0o644)
        for path in source_place.rglob("*"):
            if not path.is_symlink() and (path.is_file() or path.is_dir()):
                path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o555 if path.is_dir() else 0o444))
        stream = packed(read(source_place))
        as_nobody(check)
    else:
        check()
    ours, theirs = open_path / "ours/src", open_path / "theirs/src"
    assert tree(ours) == tree(theirs)
    for path in ours.rglob("*"):
        other = theirs / path.relative_to(ours)
        for name in os.listxattr(other, follow_symlinks=False):
            value = os.getxattr(other, name, follow_symlinks=False)
            assert os.getxattr(path, name, follow_symlinks=False) == value
        assert os.listxattr(path, follow_symlinks=False) == os.listxattr(other, follow_symlinks=False)


def test_a_user_makes_what_a_user_may(open_path: Path) -> None:
    """No devices, no owners, no attributes but his own; and read-only directories are no hindrance."""
    source_place = open_path / "src"
    make_all_kinds(source_place)
    (source_place / "dir/file").chmod(0o444)
    (source_place / "dir").chmod(0o555)
    os.setxattr(source_place / "dir/file", "user.colour", b"blue")
    os.setxattr(source_place / "dir/file", "trusted.colour", b"red")
    stream = packed(read(source_place))
    (open_path / "dest").mkdir()
    (open_path / "dest").chmod(0o777)

    def check() -> None:
        well(unpack(stream, open_path / "dest"))
        there = open_path / "dest/src"
        assert not (there / "null").exists()
        seen = (there / "dir/file").stat()
        assert (seen.st_uid, stat.S_IMODE(seen.st_mode)) == (os.geteuid(), 0o444)
        assert os.listxattr(there / "dir/file") == ["user.colour"]
        assert stat.S_IMODE((there / "dir").stat().st_mode) == 0o555
        torn = unpack(stream[:-50], open_path / "dest")
        assert torn.code == "broken"

    as_nobody(check)


def test_a_user_may_undo_what_he_made(open_path: Path) -> None:
    """The destination is another's, so its times can't be set; that is found last, as by rsync."""
    write(open_path, "src/dir/below/file", "x")
    for name in ("dir/below", "dir"):
        (open_path / "src" / name).chmod(0o555)
    stream = packed(read(f"{open_path}/src/"))
    (open_path / "dest").mkdir()
    (open_path / "dest").chmod(0o777)

    def check() -> None:
        ending = unpack(stream, open_path / "dest")
        assert (ending.code, ending.names) == ("not-writable", [os.fsencode(open_path / "dest")])

    as_nobody(check)
    assert list((open_path / "dest").iterdir()) == []


def test_how_much_there_is_in_files_with_holes(tmp_path: Path) -> None:
    place = write(tmp_path, "src/sparse")
    with place.open("r+b") as file:
        file.write(os.urandom(100_000))
        file.truncate(4 << 20)
    (tmp_path / "src/again").hardlink_to(place)
    write(tmp_path, "src/small", "x" * 10)
    source = read(f"{tmp_path}/src/")
    assert 100_000 <= source.sparse() < 1 << 20
    assert source.room() == source.sparse() + 10
