"""The source as an archive, and a copy made of it: equal, whole or not at all, and nowhere else."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nile.agent import wire
from nile.agent.worker import archive, archiving, attributes
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Fed
from nile.agent.worker.archive import Owners
from nile.agent.worker.archiving import Archiving
from nile.agent.worker.loop import Loop
from nile.agent.worker.manifest import TEMPORARY, Entry, Terms
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.recording import WITHHELD, Spool
from nile.agent.worker.running import Ending
from nile.agent.worker.scanning import numbers_here, scan
from nile.agent.worker.trees import Source
from nile.agent.worker.unpacking import Unpacking
from nile.agent.worker.working import Failure
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.conftest import as_nobody
from tests.agent.worker.copying import NAME, a_loop, contents, litter, tree
from tests.agent.worker.taping import Feed
from tests.agent.worker.trees import make_all_kinds, write

BIG = 3 << 20
EQUAL = Terms(checksum=True)


def read(*paths: Path | str, excludes: tuple[bytes, ...] = ()) -> Source:
    """A source; a path with a trailing slash is what is in the directory."""
    source = Source([os.fsencode(str(path)) for path in paths], Patterns(excludes))
    source.read(checksum=True)
    return source


def packed(source: Source, **options: Any) -> bytes:
    """It as an archive."""
    with tempfile.TemporaryFile() as file:
        archiving.write(os.dup(file.fileno()), source, **options)
        file.seek(0)
        return file.read()


class Unpacked(Feed):
    """An archive into a destination."""

    def _begin(self, copy: rsyncs.Copy, dest: bytes, recorded: rsyncs.Version | None) -> Fed:
        return Unpacking(self.loop, copy, dest, self._done)


def unpack(data: bytes, dest: Path, then: Callable[[Feed], object] | None = None, **options: Any) -> Ending:
    """How that ended; nothing of ours is left."""
    before = descriptors()
    with a_loop() as loop:
        ending = Unpacked(loop, data, dest, then, **options).run()
    assert descriptors() == before
    assert litter(dest) == []
    return ending


def well(ending: Ending) -> None:
    assert (ending.code, ending.reason) == ("", "")


def same(source: Source, dest: Path, excludes: tuple[bytes, ...] = ()) -> None:
    """What decides whether a host is ok."""
    roots = [(os.fsencode(dest) + b"/" + name, name) for _, name in source.roots]
    found = scan(roots, Patterns(excludes), checksum=True)
    assert [entry._replace(mtime_ns=0) for entry in found.entries] == [
        entry._replace(mtime_ns=0) for entry in source.manifest.entries
    ]
    assert found.fingerprint(EQUAL) == source.manifest.fingerprint(EQUAL)


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
    before = archive.head(Owners(source.manifest.users, source.manifest.groups))
    assert data.startswith(before)
    return archive.head(Owners(users, groups)) + data[len(before) :]


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


# Whole, or not at all


@pytest.fixture
def plain(tmp_path: Path) -> Source:
    """A large file among small ones, and directories."""
    write(tmp_path, "src/a", "first")
    write(tmp_path, "src/dir/below/c", "third")
    (tmp_path / "src/big").write_bytes(os.urandom(BIG))
    return read(f"{tmp_path}/src/")


ENDS: dict[str, tuple[Callable[[Feed], object], tuple[str, ...]]] = {
    "aborted": (lambda feed: feed.applying.abort(), ("stopped",)),
    "killed": (lambda feed: os.killpg(feed.pid, signal.SIGKILL), ("killed",)),
    "closed": (Feed.close, ("broken",)),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_half_an_archive_leaves_nothing(tmp_path: Path, plain: Source, end: str, part: float) -> None:
    stream = packed(plain)
    act, codes = ENDS[end]
    ending = unpack(stream[: min(int(len(stream) * part), len(stream) - 1)], tmp_path / "dest", act)
    assert ending.code in codes
    assert list((tmp_path / "dest").iterdir()) == []
    well(unpack(stream, tmp_path / "dest"))
    same(plain, tmp_path / "dest")


def test_nothing_has_its_name_before_the_end(tmp_path: Path, plain: Source) -> None:
    stream = packed(plain)

    def look(feed: Feed) -> None:
        now = feed.applying._moved()
        feed.loop.at(
            feed.loop.now() + 0.05, lambda: check(feed) if feed.applying._moved() == now else look(feed)
        )

    def check(feed: Feed) -> None:
        assert [path.name for path in (tmp_path / "dest").iterdir()] == [NAME.decode()]
        os.write(feed.applying.stdin, stream[-1:])
        feed.close()

    well(unpack(stream[:-1], tmp_path / "dest", look))
    same(plain, tmp_path / "dest")


def test_one_that_stands_still_is_killed(tmp_path: Path, plain: Source) -> None:
    ending = unpack(packed(plain)[:-9], tmp_path / "dest", lambda _: None, stall_s=1)
    assert (ending.code, ending.retry) == ("timeout", True)
    assert list((tmp_path / "dest").iterdir()) == []


def test_a_full_disk_is_named_and_emptied(mounted: Path, tmp_path: Path, plain: Source) -> None:
    ending = unpack(packed(plain), mounted / "dest")
    assert (ending.code, ending.names) == ("disk-full", [os.fsencode(mounted / "dest")])
    assert list((mounted / "dest").iterdir()) == []


def test_no_inode_left_is_a_full_disk(mounted: Path, tmp_path: Path) -> None:
    for number in range(100):
        write(tmp_path, f"src/{number}")
    assert unpack(packed(read(f"{tmp_path}/src/")), mounted / "dest").code == "disk-full"
    assert list((mounted / "dest").iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_there_is_never_overwritten(tmp_path: Path, plain: Source, kind: str) -> None:
    """Whatever came there since it was looked; and of the rest nothing stays either."""
    place = tmp_path / "dest/dir"
    place.parent.mkdir()
    if kind == "file":
        place.write_text("own")
    elif kind == "link":
        place.symlink_to(tmp_path)
    else:
        place.mkdir()
    before = tree(tmp_path / "dest")
    ending = unpack(packed(plain), tmp_path / "dest")
    assert (ending.code, ending.names) == ("diverged", [b"dir"])
    assert tree(tmp_path / "dest") == before


def test_what_fails_at_the_very_end_is_undone(tmp_path: Path, plain: Source) -> None:
    """The destination itself comes last: an attribute that it can't have."""
    item = archive.item(
        Entry(b".", b"d", 0o755, 0, 1, 0, 0), [(b"user.x", b"v"), (b"system.posix_acl_access", b"no ACL")]
    )
    stream = packed(plain)
    own = next(entry for entry in plain.manifest.entries if entry.path == b".")
    assert archive.item(own, []) in stream
    ending = unpack(stream.replace(archive.item(own, []), item), tmp_path / "dest")
    assert ending.code == "corrupt"
    assert list((tmp_path / "dest").iterdir()) == []


# A source that changes


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("other"),
        lambda path: path.unlink(),
        lambda path: Path(shutil.copy2(path, f"{path}2")).replace(path),
        lambda path: os.utime(path),
        lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
    ],
    ids=["content", "gone", "replaced", "time", "link"],
)
def test_a_file_that_changed_is_never_packed(
    tmp_path: Path, plain: Source, change: Callable[[Path], object]
) -> None:
    change(tmp_path / "src/a")
    with pytest.raises(Failure) as raised:
        packed(plain)
    assert raised.value.code == "source-changed"
    assert raised.value.name in (b"a", b"."), "the directory of what is gone changed too"


def test_a_file_that_changes_while_it_is_read_is_never_packed(
    tmp_path: Path, plain: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.pread

    def pread(fd: int, count: int, at: int) -> bytes:
        if at > BIG // 2:
            os.pwrite(os.open(tmp_path / "src/big", os.O_WRONLY), b"!", 0)
        return really(fd, count, at)

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(Failure) as raised:
        packed(plain)
    assert raised.value.name == b"big"


class Taken:
    """An archive, as the root's worker makes it: into a spool."""

    def __init__(self, loop: Loop, place: Path, source: Source) -> None:
        self.loop = loop
        self.endings: list[Ending] = []
        self.limits: list[int] = []
        self.spool = Spool(os.fsencode(place), lambda: self.limits.append(self.spool.limit))
        self.archiving = Archiving(loop, source, archiving.FEATURES, self.spool, source.changed, self._done)

    def _done(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.loop.stop()

    def run(self) -> Ending:
        self.loop.run()
        (ending,) = self.endings
        return ending


def test_the_archive_of_a_worker_is_spooled(tmp_path: Path, plain: Source) -> None:
    before = descriptors()
    with a_loop() as loop:
        taken = Taken(loop, tmp_path, plain)
        well(taken.run())
        assert taken.spool.finished
        assert taken.spool.read(0, taken.spool.written) == packed(plain)
        assert taken.limits[-2] <= taken.spool.written - WITHHELD, "the end was withheld"
        taken.spool.close()
    assert descriptors() == before


def test_its_end_is_withheld_where_the_source_changed_meanwhile(tmp_path: Path, plain: Source) -> None:
    """A file that was packed already: only the gate sees it."""
    with a_loop() as loop:
        taken = Taken(loop, tmp_path, plain)
        really = taken.archiving._read
        todo = [lambda: (tmp_path / "src/a").write_text("other")]

        def read_on(fd: int) -> None:
            really(fd)
            if todo and taken.spool.written > archive.CHUNK:
                todo.pop()()

        loop.watch(taken.archiving._reader, 1, read_on)
        ending = taken.run()
        assert (ending.code, ending.names) == ("source-changed", [b"a"])
        assert (taken.spool.finished, bool(taken.spool.aborted)) == (False, True)
        assert taken.spool.limit <= taken.spool.written - WITHHELD
        taken.spool.close()


def test_what_can_no_more_be_read_is_named(tmp_path: Path, plain: Source) -> None:
    (tmp_path / "src/a").unlink()
    with a_loop() as loop:
        taken = Taken(loop, tmp_path, plain)
        ending = taken.run()
        taken.spool.close()
    assert (ending.code, ending.names) == ("source-changed", [b"."])


def test_an_archive_that_is_stopped_leaves_nothing(tmp_path: Path, plain: Source) -> None:
    before = descriptors()
    with a_loop() as loop:
        taken = Taken(loop, tmp_path, plain)
        pid = taken.archiving._working.pid
        taken.archiving.stop()
        assert taken.run().code == "stopped"
        taken.spool.close()
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)
    assert descriptors() == before


# Nowhere else


def forged(*messages: bytes, count: int = -1) -> bytes:
    made = b"".join(messages)
    entries = sum(message.startswith(b"E") for message in messages) if count < 0 else count
    return archive.head(Owners({}, {})) + made + archive.end(entries)


def entry(path: bytes, kind: bytes = b"f", **fields: Any) -> bytes:
    return archive.item(
        Entry(path, kind, 0o644, **{"size": 0, "mtime_ns": 1, "uid": 0, "gid": 0, **fields}), []
    )


def content(data: bytes, offset: int = 0) -> bytes:
    return b"".join(archive.data(offset, data))


LINK = entry(b"a", b"l", target=b"../../..")
HOSTILE: dict[str, bytes] = {
    "absolute": forged(entry(b"/evil")),
    "above": forged(entry(b"../evil")),
    "above, further down": forged(entry(b"d", b"d"), entry(b"d/../../evil")),
    "two dots": forged(entry(b"..", b"d")),
    "one dot": forged(entry(b"./evil")),
    "a file for the top": forged(entry(b".")),
    "nothing": forged(entry(b"")),
    "empty component": forged(entry(b"d", b"d"), entry(b"d//evil")),
    "trailing slash": forged(entry(b"evil/")),
    "NUL": forged(entry(b"e\0vil")),
    "through a link": forged(LINK, entry(b"a/evil")),
    "through a link to a directory": forged(LINK, entry(b"a/evil", b"d")),
    "a link through a link": forged(LINK, entry(b"a/evil", b"l", target=b"x")),
    "below a file": forged(entry(b"a"), entry(b"a/evil")),
    "below nothing": forged(entry(b"a/evil")),
    "twice": forged(LINK, entry(b"a")),
    "not sorted": forged(entry(b"b"), entry(b"a")),
    "what nobody looks at": forged(entry(b".nile-sync-evil")),
    "and below": forged(entry(b"d", b"d"), entry(b"d/.nile-sync-evil", b"d")),
    "hard link out": forged(entry(b"evil", group=b"../../../outside")),
    "hard link through a link": forged(LINK, entry(b"evil", group=b"a/outside")),
    "hard link to an absolute path": forged(entry(b"evil", group=b"/etc/passwd")),
    "hard link to a directory": forged(entry(b"d", b"d"), entry(b"evil", group=b"d")),
    "hard link to what comes later": forged(entry(b"a", group=b"b"), entry(b"b")),
    "hard link to what isn't": forged(entry(b"b", group=b"a")),
    "content of nobody": forged(content(b"evil")),
    "content of a directory": forged(entry(b"d", b"d"), content(b"evil")),
    "content of a hard link": forged(
        entry(b"a", size=4), content(b"good"), entry(b"b", size=4, group=b"a"), content(b"evil")
    ),
    "more content than size": forged(entry(b"a", size=3), content(b"evil")),
    "content behind the end of a file": forged(entry(b"a", size=4), content(b"evil", 1)),
    "no content": forged(entry(b"a"), content(b"")),
    "a link to nowhere": forged(entry(b"a", b"l")),
    "a kind that is none": forged(entry(b"a", b"x")),
    "fewer than said": forged(entry(b"a"), count=2),
    "behind its end": forged(entry(b"a")) + b"x",
    "a message of no kind": archive.head(Owners({}, {})) + b"Q" + bytes(4),
    "a message of any size": archive.head(Owners({}, {})) + b"D\xff\xff\xff\xff",
    "no head": forged(entry(b"a"))[len(archive.head(Owners({}, {}))) :],
    "another version": b"H" + struct.pack("!I", len(wire.dumps({"version": 9}))) + wire.dumps({"version": 9}),
    "owners that are none": forged(b"N" + struct.pack("!I", len(wire.dumps([]))) + wire.dumps([])),
}


@pytest.mark.parametrize("stream", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_writes_nothing_anywhere(tmp_path: Path, stream: bytes) -> None:
    write(tmp_path, "outside", "as it was")
    (tmp_path / "dest").mkdir()
    before = tree(tmp_path)
    ending = unpack(stream, tmp_path / "dest")
    assert ending.code in ("corrupt", "files", "not-writable"), ending.fields()
    assert tree(tmp_path) == before


def test_names_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_NAMES", 5)
    names = [archive.more_names(Owners({at: b"daemon"}, {})) for at in range(6)]
    well(unpack(forged(*names[:5], count=0), tmp_path / "dest"))
    assert unpack(forged(*names, count=0), tmp_path / "dest").code == "corrupt"


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_a_spoiled_archive_writes_nothing_elsewhere(data: st.DataObject) -> None:
    """Any byte may be another: it is refused, or what comes of it is below the destination."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write(place, "src/d/file", "content")
        (place / "src/link").symlink_to("..")
        (place / "src/hard").hardlink_to(place / "src/d/file")
        write(place, "outside", "as it was")
        stream = bytearray(packed(read(f"{place}/src/")))
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
        (place / "dest").mkdir()
        unpack(bytes(stream), place / "dest")
        assert sorted(path.name for path in place.iterdir()) == ["dest", "outside", "src"]
        assert (place / "outside").read_text() == "as it was"


@pytest.mark.parametrize("spoil", ["link", "open"])
def test_the_directory_of_the_run_has_to_be_its_own(tmp_path: Path, plain: Source, spoil: str) -> None:
    place = tmp_path / "dest" / NAME.decode()
    place.parent.mkdir()
    if spoil == "link":
        place.symlink_to(tmp_path)
        with a_loop() as loop, pytest.raises(rsyncs.Refusal):
            Unpacked(loop, b"", tmp_path / "dest")
    else:
        (place / NAME.decode()).mkdir(parents=True)
        place.chmod(0o777)
        assert unpack(packed(plain), tmp_path / "dest").code == "not-writable"


def test_a_child_that_fails_otherwise_says_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: Any) -> None:
        raise RuntimeError("so wrong")

    monkeypatch.setattr("nile.agent.worker.unpacking.restore", wrong)
    ending = unpack(forged(), tmp_path / "dest")
    assert (ending.code, ending.reason) == ("failed", "RuntimeError: so wrong")


def test_no_child_no_archive(tmp_path: Path, plain: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", none)
    before = descriptors()
    with a_loop() as loop:
        with pytest.raises(rsyncs.Refusal, match="Resource"):
            Unpacked(loop, b"", tmp_path / "dest")
        spool = Spool(os.fsencode(tmp_path), lambda: None)
        with pytest.raises(OSError, match="Resource"):
            Archiving(loop, plain, archiving.FEATURES, spool, list, lambda _: None)
        spool.close()
    assert descriptors() == before
    assert litter(tmp_path / "dest") == []
