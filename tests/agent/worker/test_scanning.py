"""What is in a tree, beside what the system and rsync say of it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nile.agent.worker import scanning, walking
from nile.agent.worker.manifest import TOP, Manifest, Terms, Totals
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.scanning import numbers_here, scan
from tests.agent.worker.conftest import as_nobody
from tests.agent.worker.trees import by_path, make_all_kinds, top, write

NONE = Patterns()
# Without --modify-window=-1 rsync takes times within one second for equal, and leaves them.
RSYNC = ["-aHx", "--modify-window=-1"]


def paths(manifest: Manifest) -> list[str]:
    return [os.fsdecode(entry.path) for entry in manifest.entries]


def expected(root: Path) -> dict[bytes, tuple[int, ...]]:
    """All below and the top itself: type and mode, mtime, owner, as lstat has them."""
    found = {TOP: root}
    for above, directories, files in os.walk(os.fsencode(root)):
        for name in directories + files:
            place = above + b"/" + name
            found[os.path.relpath(place, os.fsencode(root))] = Path(os.fsdecode(place))
    seen = {path: place.lstat() for path, place in found.items()}
    return {path: (s.st_mode, s.st_mtime_ns, s.st_uid, s.st_gid) for path, s in seen.items()}


TYPES = {b"f": stat.S_IFREG, b"d": stat.S_IFDIR, b"l": stat.S_IFLNK, b"p": stat.S_IFIFO}
TYPES |= {b"s": stat.S_IFSOCK, b"b": stat.S_IFBLK, b"c": stat.S_IFCHR}


def test_everything_is_listed_as_the_system_has_it(tmp_path: Path) -> None:
    make_all_kinds(tmp_path)
    manifest = scan(top(tmp_path), NONE)
    got = {e.path: (TYPES[e.kind] | e.mode, e.mtime_ns, e.uid, e.gid) for e in manifest.entries}
    assert got == expected(tmp_path)
    assert {entry.kind for entry in manifest.entries} >= {b"f", b"d", b"l", b"p", b"s"}
    entries = by_path(manifest)
    assert entries[b"link"].target == b"dir/file"
    assert entries[b"broken"].target == b"no\xffwhere"
    assert entries[b"new\nline"].size == 24
    assert entries[b"link"].size == entries[b"dir"].size == 0
    assert (manifest.missing, manifest.mounts, manifest.unreadable) == ([], [], [])
    assert [entry.path for entry in manifest.entries] == sorted(entries)
    if os.geteuid() == 0:
        assert entries[b"null"].device == os.makedev(1, 3)


def test_owners_have_names_where_they_have_one(tmp_path: Path) -> None:
    make_all_kinds(tmp_path)
    manifest = scan(top(tmp_path), NONE)
    assert manifest.users[os.geteuid()] == os.fsencode(
        subprocess.check_output(["id", "-un"], text=True).strip()
    )
    assert manifest.groups[os.getegid()] == os.fsencode(
        subprocess.check_output(["id", "-gn"], text=True).strip()
    )
    assert 1234 not in manifest.users


def test_hard_links_are_grouped_by_the_smallest_path_within_the_transfer(tmp_path: Path) -> None:
    write(tmp_path, "t/b", "four")
    os.link(tmp_path / "t" / "b", tmp_path / "t" / "c")
    os.link(tmp_path / "t" / "b", tmp_path / "a-outside")
    write(tmp_path, "t/d")
    os.link(tmp_path / "t" / "d", tmp_path / "d-outside")
    (tmp_path / "t" / "x").symlink_to("b")
    os.link(tmp_path / "t" / "x", tmp_path / "t" / "w", follow_symlinks=False)
    groups = {entry.path: entry.group for entry in scan(top(tmp_path / "t"), NONE).entries}
    assert groups == {b".": b"", b"b": b"b", b"c": b"b", b"d": b"", b"w": b"w", b"x": b"w"}
    assert scan(top(tmp_path / "t"), NONE).totals() == Totals(6, 3, 1, 4)
    assert {entry.group for entry in scan(top(tmp_path / "t"), Patterns([b"b"])).entries} == {b"", b"w"}


def test_names_in_the_transfer_are_those_of_rsync(tmp_path: Path) -> None:
    write(tmp_path, "src/a/f")
    write(tmp_path, "src/g")
    (tmp_path / "src" / "l").symlink_to("a")
    place = os.fsencode(tmp_path / "src")
    assert paths(scan([(place + b"/a", b"a")], NONE)) == ["a", "a/f"]
    assert paths(scan([(place + b"/a", b"")], NONE)) == [".", "f"]
    assert paths(scan([(place + b"/g", b"g"), (place + b"/a", b"a")], NONE)) == ["a", "a/f", "g"]
    assert [(e.path, e.kind) for e in scan([(place + b"/l", b"l")], NONE).entries] == [(b"l", b"l")]
    assert paths(scan([(place + b"/l", b"")], NONE)) == [".", "f"]
    for name in (b"a/b", b".", b".."):
        with pytest.raises(ValueError, match="one component"):
            scan([(place, name)], NONE)


def test_roots_that_are_missing_are_named(tmp_path: Path) -> None:
    write(tmp_path, "file")
    (tmp_path / "nowhere").symlink_to("gone")
    place = os.fsencode(tmp_path)
    gone = [(place + b"/gone", b"gone"), (place + b"/file/x", b"x"), (place + b"/nowhere", b"")]
    manifest = scan([*gone, (place + b"/file", b"file")], NONE)
    assert manifest.missing == [path for path, _ in gone]
    assert paths(manifest) == ["file"]
    assert scan([(place + b"/file", b"")], NONE).unreadable == [(b".", "Not a directory")]


def test_what_is_left_out_is_not_looked_into(tmp_path: Path) -> None:
    for name in ("a/b/f", "a/c", "d/.nile-sync-1/x", ".nile-sync-2", ".nile-synced", "k.o", "d/k.o/f"):
        write(tmp_path, name)
    assert paths(scan(top(tmp_path), Patterns([b"b", b"*.o"]))) == [".", ".nile-synced", "a", "a/c", "d"]
    named = [(os.fsencode(tmp_path / "a"), b"a"), (os.fsencode(tmp_path / "d"), b"d")]
    assert paths(scan(named, Patterns([b"/a", b"/k.o"]))) == ["d", "d/k.o", "d/k.o/f"]


NAMES = ["a", "b", "c"]
trees = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), st.booleans()), min_size=1, max_size=6
)
filters = st.lists(st.sampled_from([b"a", b"/a", b"b/", b"a/b", b"/a/*", b"**/c", b"c/***"]), max_size=2)


def _build(root: Path, tree: list[tuple[list[str], bool]]) -> None:
    root.mkdir(parents=True)
    for number, (names, directory) in enumerate(tree):
        place = root.joinpath(*names)
        if any(above.is_file() for above in place.parents) or place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if directory:
            place.mkdir(mode=0o700 + number)
        else:
            place.write_text("x" * (number + 1) + root.name)
            place.chmod(0o600 + number)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    trees,
    trees,
    filters,
    st.sampled_from(["1/ 2/", "1/a 2/a", "1/ 2/a", "1/a 2/", "1/b 2/b 2/c 1/", "1/ 2/ 1/b/"]),
)
@example([(["a"], False)], [(["a"], True)], [], "1/ 2/")
@example([(["a"], True), (["b", "a"], True)], [(["a"], False)], [], "1/ 2/ 1/b/")
def test_several_sources_are_merged_as_by_rsync(
    tmp_path_factory: pytest.TempPathFactory,
    one: list[tuple[list[str], bool]],
    two: list[tuple[list[str], bool]],
    excluded: list[bytes],
    sources: str,
) -> None:
    root = tmp_path_factory.mktemp("merged")
    _build(root / "1", one)
    _build(root / "2", two)
    given_roots = [(root / source, source) for source in sources.split() if (root / source).exists()]
    options = [f"--exclude={os.fsdecode(pattern)}" for pattern in excluded]
    argv = ["rsync", *RSYNC, *options, *(f"{root}/{source}" for _, source in given_roots), f"{root}/copy/"]
    (root / "copy").mkdir()
    if given_roots:
        subprocess.run(argv, check=True, timeout=30)
    patterns = Patterns(excluded)
    roots = [
        (os.fsencode(place), b"" if source.endswith("/") else os.fsencode(place.name))
        for place, source in given_roots
    ]
    copied = scan(top(root / "copy"), NONE, checksum=True).entries
    ours = scan(roots, patterns, checksum=True).entries
    if TOP not in {entry.path for entry in ours}:
        copied = [entry for entry in copied if entry.path != TOP]  # not a part of what is copied
    assert copied == ours


def test_a_copy_by_rsync_has_the_same_fingerprint_and_contents(tmp_path: Path) -> None:
    make_all_kinds(tmp_path / "src")
    subprocess.run(["rsync", *RSYNC, f"{tmp_path}/src/", f"{tmp_path}/dest/"], check=True, timeout=30)
    terms = Terms(checksum=True)
    one = scan(top(tmp_path / "src"), NONE, checksum=True)
    other = scan(top(tmp_path / "dest"), NONE, checksum=True)
    assert one.fingerprint(terms) == other.fingerprint(terms)
    assert by_path(one)[b"again"].digest == hashlib.blake2b(b"content", digest_size=32).digest()
    place = tmp_path / "dest" / "dir" / "file"
    times = place.stat()
    with place.open("r+") as file:
        file.write("CONTENT")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    other = scan(top(tmp_path / "dest"), NONE, checksum=True)
    assert one.fingerprint(terms) != other.fingerprint(terms)
    assert one.fingerprint(Terms()) == other.fingerprint(Terms())


@pytest.mark.parametrize("size", [0, 1, scanning.BUFFER - 1, scanning.BUFFER, scanning.BUFFER + 1, 2**21 + 7])
def test_the_digest_is_of_the_whole_content(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "long").write_bytes(b"z" * (scanning.BUFFER + 100))
    (tmp_path / "file").write_bytes(content)
    found = by_path(scan(top(tmp_path), NONE, checksum=True))[b"file"]
    assert found.digest == hashlib.blake2b(content, digest_size=32).digest()


@pytest.mark.cluster
def test_what_this_user_cannot_read_is_listed_with_the_reason(open_path: Path) -> None:
    for name, mode in (("closed/f", 0o644), ("secret", 0o600), ("fine", 0o644), ("listed/f", 0o644)):
        write(open_path / "t", name).chmod(mode)
    (open_path / "t" / "closed").chmod(0o700)
    (open_path / "t" / "listed").chmod(0o744)
    os.chown(open_path / "t" / "secret", 1234, 1234)

    def check() -> None:
        denied = "Permission denied"
        plain = scan(top(open_path / "t"), NONE)
        assert plain.unreadable == [(b"closed", denied), (b"listed/f", denied)]
        assert paths(plain) == [".", "closed", "fine", "listed", "secret"]
        source = scan(top(open_path / "t"), NONE, source=True)
        assert source.unreadable == [(b"closed", denied), (b"listed/f", denied), (b"secret", denied)]
        read = scan(top(open_path / "t"), NONE, checksum=True)
        assert read.unreadable == source.unreadable
        assert by_path(read)[b"secret"].digest == b""
        assert scan([(os.fsencode(open_path / "t" / "closed" / "f"), b"f")], NONE).unreadable == [
            (b"f", denied)
        ]

    as_nobody(check)


def test_what_vanishes_meanwhile_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "d/f")
    write(tmp_path, "gone")
    (tmp_path / "link").symlink_to("x")
    listing, readlink = walking.listing, os.readlink

    def vanishing(place: bytes) -> list[os.DirEntry[bytes]]:
        listed = listing(place)
        (tmp_path / "gone").unlink(missing_ok=True)
        return listed

    def vanished(place: bytes) -> bytes:
        Path(os.fsdecode(place)).unlink()
        return readlink(place)

    monkeypatch.setattr(walking, "listing", vanishing)
    monkeypatch.setattr(os, "readlink", vanished)
    manifest = scan(top(tmp_path), NONE)
    missing = "No such file or directory"
    assert manifest.unreadable == [(b"gone", missing), (b"link", missing)]
    assert paths(manifest) == [".", "d", "d/f"]


def test_a_file_that_is_replaced_before_it_is_read_is_not_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "f", "old")
    write(tmp_path, "secret", "other")
    read = scanning._Scanner.read

    def replaced(scanner: scanning._Scanner) -> None:
        (tmp_path / "f").rename(tmp_path / "old")
        (tmp_path / "f").symlink_to("secret")
        (tmp_path / "secret").rename(tmp_path / "moved")
        write(tmp_path, "secret", "new")
        read(scanner)

    monkeypatch.setattr(scanning._Scanner, "read", replaced)
    manifest = scan(top(tmp_path), NONE, checksum=True)
    assert [path for path, _ in manifest.unreadable] == [b"f", b"secret"]
    assert {entry.digest for entry in manifest.entries} == {b""}


@pytest.mark.cluster
def test_other_file_systems_are_named_and_not_entered(tmp_path: Path, mounted: Path) -> None:
    write(mounted, "f")
    write(tmp_path, "f")
    manifest = scan(top(tmp_path), NONE)
    assert manifest.mounts == [b"mounted here"]
    assert paths(manifest) == [".", "f", "mounted here"]
    assert paths(scan(top(mounted), NONE)) == [".", "f"]
    listed = subprocess.check_output(
        ["rsync", "-anx", "--out-format=%n", f"{tmp_path}/", "/never"], text=True
    )
    assert sorted(re.sub("/$", "", name) for name in listed.splitlines()) == paths(manifest)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A directory in whose depth even pytest would be lost: gone before pytest cleans up."""
    (tmp_path / "deep").mkdir()
    yield tmp_path / "deep"
    subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True, timeout=60)


def _dig(place: Path, levels: int) -> None:
    inner = os.open(place, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=inner)
        inner, before = os.open("d", os.O_RDONLY, dir_fd=inner), inner
        os.close(before)
    os.close(inner)


def test_a_very_deep_tree_is_walked(deep: Path) -> None:
    _dig(deep, 1500)
    assert scan(top(deep), NONE).totals() == Totals(1501, 0, 1501, 0)


def test_a_tree_too_deep_for_a_path_is_listed_as_such(deep: Path) -> None:
    _dig(deep, 2500)
    (path, reason), *others = scan(top(deep), NONE).unreadable
    assert (reason, others) == ("File name too long", [])
    assert path.endswith(b"/d")


def test_ids_are_mapped_by_name_as_rsync_does() -> None:
    users, groups = numbers_here(
        {0: b"nobody", 4711: b"root", 4712: b"nobody-at-all"}, {4713: b"root", 0: b"nogroup"}
    )
    assert users == {4711: 0}
    assert groups == {4713: 0}
