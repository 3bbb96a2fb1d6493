"""A tree, merged into what a host has already: as `rsync -aHAX` does it, for whatever both have."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.agent.worker import archive
from nile.agent.worker.archive import Item
from nile.agent.worker.assembling import CHUNK, Downloads
from nile.agent.worker.compare import lacking
from nile.agent.worker.dressing import Terms
from nile.agent.worker.forking import Failure
from nile.agent.worker.manifest import Manifest
from nile.agent.worker.merging import Done, Merge
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.trees import Source
from tests.agent.worker.copying import NAME, contents, tree
from tests.agent.worker.merging import bare, bring, download, here, merged
from tests.agent.worker.test_archive import acl, plant
from tests.agent.worker.trees import make_all_kinds, write
from tests.agent.worker.unpacking import read, same, well

NOBODY_IN_AN_ACL = 0xFFFFFFFF
RIGHTS = acl(
    (1, 6, NOBODY_IN_AN_ACL),
    (2, 4, 1),
    (4, 4, NOBODY_IN_AN_ACL),
    (16, 4, NOBODY_IN_AN_ACL),
    (32, 0, NOBODY_IN_AN_ACL),
)


def everything(root: Path, source: Source | None = None) -> dict[bytes, tuple[object, ...]]:
    """As `tree`, with all attributes and ACLs; no times of directories that stay and aren't the source's."""
    found: dict[bytes, Any] = dict(tree(root))
    own = {entry.path for entry in source.manifest.entries if entry.kind == b"d"} if source else set(found)
    for path, what in found.items():
        if path not in own and stat.S_ISDIR(what[0]):
            found[path] = (*what[:3], None, *what[4:])
    return {path: (*what, attributes_of(os.fsencode(root) + b"/" + path)) for path, what in found.items()}


def attributes_of(path: bytes) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def rsync(source: bytes, dest: Path, *words: str) -> int:
    argv = ["rsync", "-aHAX", "--modify-window=-1", *words, "--", os.fsdecode(source), str(dest)]
    return subprocess.run(argv, timeout=30, stderr=subprocess.DEVNULL, check=False).returncode


# Whatever both have

names = st.sampled_from([b"a", b"b", b"a-", b"\xff\n", b"c"])
modes = st.sampled_from([0o644, 0o755, 0o4711, 0o000, 0o2770])
things = st.one_of(
    st.tuples(st.just("file"), st.sampled_from([b"", b"x", b"y", b"longer"]), modes),
    st.tuples(st.just("directory"), st.none(), modes),
    st.tuples(st.just("symlink"), st.sampled_from([b"a", b"..", b"/nowhere"]), st.none()),
    st.tuples(st.just("fifo"), st.none(), modes),
    st.tuples(st.just("link"), st.integers(0, 9), st.none()),
)
made = st.tuples(
    st.integers(0, 5), names, things, st.sampled_from([10**18, 10**18 + 1, 5]), st.sampled_from([0, 1, 4321])
)
trees = st.lists(made, max_size=9)
attributes = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from(["user.a", "trusted.b", "access", "default"]),
        st.binary(max_size=3),
    ),
    max_size=3,
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """A source, and a host that has much of it: some as it is, some otherwise, some not; and other things."""
    source, host = draw(trees), list[Any]()
    for where, name, was, mtime_ns, owner in source:
        fate = draw(st.sampled_from(["same"] * 4 + ["gone", "mode", "time", "owner", "thing"]))
        thing: Any = was
        kind, value, mode = was
        if fate == "mode" and mode is not None:
            thing = (kind, value, draw(modes))
        elif fate == "thing":
            thing = draw(things)
        mtime_ns = mtime_ns + 1 if fate == "time" else mtime_ns
        owner = owner + 1 if fate == "owner" else owner
        if fate != "gone":
            host.append((where, name, thing, mtime_ns, owner))
    return source, host + draw(st.lists(made, max_size=3))


def adorn(top: bytes, wanted: list[tuple[int, str, bytes]]) -> None:
    """Attributes and ACLs for some of what is there."""
    paths = sorted(
        path + b"/" + name
        for path, directories, files in os.walk(top)
        for name in [*directories, *files]
        if not os.path.islink(path + b"/" + name)  # noqa: PTH114 - bytes
    )
    for which, name, value in wanted if paths else ():
        path = paths[which % len(paths)]
        if name in ("access", "default"):
            if name == "default" and not os.path.isdir(path):  # noqa: PTH112
                continue
            os.setxattr(path, "system.posix_acl_" + name, RIGHTS)
        elif name == "trusted.b" or os.path.isfile(path) or os.path.isdir(path):  # noqa: PTH112, PTH113
            os.setxattr(path, name, value)


@settings(max_examples=60)
@given(pairs(), attributes, attributes, st.booleans(), st.booleans())
def test_it_is_what_rsync_makes(
    pair: tuple[list[Any], list[Any]], ours: Any, theirs: Any, delete: bool, excluding: bool
) -> None:
    excludes = (b"c", b"/a-") if excluding else ()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        plant(os.fsencode(place / "src"), pair[0])
        adorn(os.fsencode(place / "src"), ours)
        for host in ("ours", "theirs"):
            plant(os.fsencode(place / host), pair[1])
            adorn(os.fsencode(place / host), theirs)
        source = Source([os.fsencode(place / "src") + b"/"], Patterns(excludes))
        source.read(checksum=False)
        words = ["--exclude=" + os.fsdecode(pattern) for pattern in excludes]
        words += ["--numeric-ids"] + ["--delete-delay"] * delete
        status = rsync(source.paths[0], place / "theirs", *words)
        ending, _ = bring(source, place / "ours", delete, excludes, terms=Terms(numeric_ids=True))
        assert (ending.code, status) in (("", 0), ("partial", 23)), (ending.fields(), status)
        assert everything(place / "ours", source) == everything(place / "theirs", source)
        again = bring(source, place / "ours", delete, excludes, terms=Terms(numeric_ids=True))[1]
        assert again.mended == again.deleted == 0, "all was right"
        assert status or again.made == 0


# One by one


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """All that a tree can have."""
    make_all_kinds(tmp_path / "src")
    os.setxattr(tmp_path / "src/dir/file", "user.colour", b"blue")
    os.utime(tmp_path / "src", ns=(1, 1_234_567_890_123_456_789))
    return read(f"{tmp_path}/src/")


def test_a_first_delivery(tmp_path: Path, source: Source) -> None:
    ending, done = bring(source, tmp_path / "dest")
    well(ending)
    same(source, tmp_path / "dest")
    assert everything(tmp_path / "dest") == everything(tmp_path / "src")
    assert done.made == len(source.manifest.entries) - 1, "the destination was there"
    assert done.taken == len(lacking(source.manifest, Manifest([])))


def test_what_is_right_is_left_alone(tmp_path: Path, source: Source) -> None:
    """Not even the time of its last change changes."""
    well(bring(source, tmp_path / "dest")[0])

    def found() -> dict[Path, tuple[int, int]]:
        paths = (tmp_path / "dest").rglob("*")
        return {path: (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in paths}

    before = found()
    ending, done = bring(source, tmp_path / "dest")
    well(ending)
    assert done == Done()
    assert found() == before


def test_only_what_is_named_travels(tmp_path: Path, source: Source) -> None:
    well(bring(source, tmp_path / "dest")[0])
    inode = (tmp_path / "dest/plain").stat().st_ino
    write(tmp_path, "src/dir/file", "new content")
    write(tmp_path, "src/dir/fresh", "1")
    source = read(f"{tmp_path}/src/")
    stream = bare(source, paths=b"dir/file\0dir/fresh")
    found = [
        each.entry.path for each in archive.read(io.BytesIO(stream), archive.BARE) if isinstance(each, Item)
    ]
    assert found == [b".", b"again", b"dir", b"dir/below", b"dir/file", b"dir/fresh"]
    ending, done = bring(source, tmp_path / "dest", paths=b"dir/file\0dir/fresh")
    well(ending)
    same(source, tmp_path / "dest")
    assert (done.made, done.taken, (tmp_path / "dest/plain").stat().st_ino) == (3, 2, inode)


def test_a_change_that_size_and_time_hide_is_brought_where_it_was_found(tmp_path: Path) -> None:
    for place, text in (("src", "new"), ("dest", "old")):
        os.utime(write(tmp_path, f"{place}/file", text), ns=(1, 1))
    source = read(f"{tmp_path}/src/")
    well(bring(source, tmp_path / "dest")[0])
    assert (tmp_path / "dest/file").read_text() == "old", "it looks like it"
    assert lacking(source.manifest, here(tmp_path / "dest", source, checksum=True)) != []
    what = Merge(
        os.fsencode(tmp_path / "dest"),
        NAME,
        download(source, source.manifest.entries[1:], tmp_path / "dest"),
        frozenset({b"file"}),
    )
    well(merged(bare(source), what)[0])
    assert (tmp_path / "dest/file").read_text() == "new"


def test_files_that_are_called_otherwise_where_they_were_downloaded(tmp_path: Path) -> None:
    write(tmp_path, "src/dir/\udcff\n", "content")
    source = read(f"{tmp_path}/src/")
    (tmp_path / "dest").mkdir()
    downloads = download(source, [], tmp_path / "dest")
    write(Path(os.fsdecode(downloads)), "d/1", "content")
    what = Merge(os.fsencode(tmp_path / "dest"), NAME, downloads, names={b"dir/\xff\n": b"d/1"})
    well(merged(bare(source), what)[0])
    assert (tmp_path / "dest/dir/\udcff\n").read_text() == "content"


def test_what_wasnt_downloaded_isnt_taken_from_whatever_is_called_like_it(tmp_path: Path) -> None:
    for name in ("1", "file"):
        write(tmp_path, f"src/{name}", name)
    source = read(f"{tmp_path}/src/")
    (tmp_path / "dest").mkdir()
    downloads = download(source, source.manifest.entries[1:], tmp_path / "dest")
    what = Merge(os.fsencode(tmp_path / "dest"), NAME, downloads, names={b"file": b"file"})
    ending, _ = merged(bare(source), what)
    assert (ending.code, "wasn't downloaded (1)" in ending.said()) == ("incomplete", True), ending
    assert not (tmp_path / "dest/file").exists()


def test_one_that_becomes_shorter_while_its_holes_are_made(tmp_path: Path) -> None:
    place = write(tmp_path, "src/file", "x" * 3 * CHUNK)
    (entry,) = read(f"{tmp_path}/src/").manifest.entries[1:]
    os.truncate(place, 2 * CHUNK + 1)
    full = os.open(place, os.O_RDONLY)
    with pytest.raises(Failure, match="shorter"):
        Downloads._with_holes(full, os.fsencode(place), entry)


def test_names_are_linked_whatever_they_were(tmp_path: Path) -> None:
    """The first is right, one is missing, one a file of its own, one already linked, one a directory."""
    for name in "abcde":
        (tmp_path / "src").mkdir(exist_ok=True)
        if name == "a":
            os.utime(write(tmp_path, "src/a", "content"), ns=(1, 1))
        else:
            os.link(tmp_path / "src/a", tmp_path / "src" / name)
    for name in "ac":
        os.utime(write(tmp_path, f"dest/{name}", "content"), ns=(1, 1))
    os.link(tmp_path / "dest/a", tmp_path / "dest/d")
    (tmp_path / "dest/e").mkdir()
    inode = (tmp_path / "dest/a").stat().st_ino
    ending, done = bring(read(f"{tmp_path}/src/"), tmp_path / "dest")
    well(ending)
    assert {path.stat().st_ino for path in (tmp_path / "dest").iterdir()} == {inode}
    assert (done.made, done.taken) == (3, 0)


def test_what_a_download_inherits_is_taken_from_it(tmp_path: Path) -> None:
    write(tmp_path, "src/file", "x")
    (tmp_path / "dest").mkdir()
    os.setxattr(tmp_path / "dest", "system.posix_acl_default", RIGHTS)
    well(bring(read(f"{tmp_path}/src/"), tmp_path / "dest")[0])
    assert everything(tmp_path / "dest") == everything(tmp_path / "src")


@pytest.mark.parametrize("most", [0, 1, 2, 3, 5, None])
def test_no_more_is_deleted_than_may_be(tmp_path: Path, most: int | None) -> None:
    """What is in the way counts, too; and what is beyond is left, and told, as by rsync."""
    for host in ("ours", "theirs"):
        for path in ("way/1", "old/2", "old/deep/3", "kept"):
            write(tmp_path, f"{host}/{path}", path)
    write(tmp_path, "src/kept", "other")
    (tmp_path / "src/way").symlink_to("kept")
    words = ["--delete-delay"] + ([f"--max-delete={most}"] if most is not None else [])
    status = rsync(os.fsencode(tmp_path) + b"/src/", tmp_path / "theirs", *words)
    source = read(f"{tmp_path}/src/")
    ending, done = bring(source, tmp_path / "ours", delete=True, max_delete=most)
    assert (ending.code, status) == {0: ("partial", 23), 5: ("", 0), None: ("", 0)}.get(
        most, ("max-delete", 25)
    )
    assert done.deleted == (0 if ending.code else 5)
    assert len(tree(tmp_path / "ours")) == len(tree(tmp_path / "theirs"))
    assert contents(tmp_path / "ours")["kept"] == b"other"


def test_what_is_left_out_is_never_deleted(tmp_path: Path) -> None:
    write(tmp_path, "src/kept", "1")
    write(tmp_path, "src/way", "2")
    for path in ("cache/own", "dir/cache/own", "dir/other", "way/cache/own", "way/other"):
        write(tmp_path, f"dest/{path}", "3")
    source = read(f"{tmp_path}/src/", excludes=(b"cache",))
    ending, _ = bring(source, tmp_path / "dest", delete=True, excludes=(b"cache",))
    assert (ending.code, ending.names) == ("partial", [b"way"])
    assert sorted(contents(tmp_path / "dest")) == ["cache/own", "dir/cache/own", "kept", "way/cache/own"]


def test_attributes_that_nobody_looked_for_stay(tmp_path: Path, source: Source) -> None:
    well(bring(source, tmp_path / "dest")[0])
    os.setxattr(tmp_path / "dest/plain", "user.own", b"1")
    what = Merge(os.fsencode(tmp_path / "dest"), NAME, download(source, [], tmp_path / "dest"))
    ending, done = merged(bare(source, has=frozenset()), what)
    well(ending)
    assert (done.mended, attributes_of(os.fsencode(tmp_path / "dest/plain"))) == (0, {"user.own": b"1"})
    ending, done = merged(bare(source), what)
    assert (done.mended, attributes_of(os.fsencode(tmp_path / "dest/plain"))) == (1, {})


def test_another_file_system_is_left_to_rsync(mounted: Path, tmp_path: Path) -> None:
    """Nothing can be moved there; where nothing has to be, it is no hindrance."""
    write(tmp_path, f"src/{mounted.name}/file", "1")
    write(tmp_path, "src/other", "1")
    source = read(f"{tmp_path}/src/")
    ending, done = bring(source, tmp_path, excludes=(b"src",))
    assert (ending.code, ending.names, done) == ("diverged", [os.fsencode(mounted.name)], Done())
    assert not (tmp_path / "other").exists()
    write(mounted, "file", "1")
    os.utime(mounted / "file", ns=(1, (tmp_path / f"src/{mounted.name}/file").stat().st_mtime_ns))
    (other,) = (each for each in source.manifest.entries if each.path == b"other")
    well(merged(bare(source), Merge(os.fsencode(tmp_path), NAME, download(source, [other], tmp_path)))[0])
    assert (tmp_path / "other").exists()
