"""Archives that are torn, forged, or of a source that changes: a copy is whole, or there is none."""

from __future__ import annotations

import io
import os
import shutil
import signal
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.agent import wire
from nile.agent.worker import archive, archiving
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.archive import Looked, Owners
from nile.agent.worker.archiving import Archiving
from nile.agent.worker.forking import Failure
from nile.agent.worker.loop import Loop
from nile.agent.worker.manifest import Entry
from nile.agent.worker.recording import WITHHELD, Spool
from nile.agent.worker.running import Ending
from nile.agent.worker.trees import Source
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import NAME, a_loop, halt, litter, tree
from tests.agent.worker.taping import Feed
from tests.agent.worker.trees import write
from tests.agent.worker.unpacking import BIG, Unpacked, packed, read, same, unpack, well

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
    "killed": (lambda feed: os.kill(feed.pid, signal.SIGKILL), ("killed",)),
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
    stream = packed(plain)

    def stop(feed: Feed) -> None:
        halt(feed.pid)
        os.write(feed.applying.stdin, stream[-9:-4])

    ending = unpack(stream[:-9], tmp_path / "dest", stop, stall_s=1)
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

HEAD = archive.head(Owners({}, {}), Looked(True, True))


def forged(*messages: bytes, count: int = -1) -> bytes:
    made = b"".join(messages)
    entries = sum(message.startswith(b"E") for message in messages) if count < 0 else count
    return HEAD + made + archive.end(entries)


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
    "a directory as a hard link": forged(entry(b"a", b"d"), entry(b"b", b"d", group=b"a")),
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
    "a message of no kind": HEAD + b"Q" + bytes(4),
    "a message of any size": HEAD + b"D\xff\xff\xff\xff",
    "no head": forged(entry(b"a"))[len(HEAD) :],
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


@pytest.mark.parametrize(
    "which",
    [
        "absolute",
        "above, further down",
        "hard link out",
        "hard link to an absolute path",
        "not sorted",
        "hard link to what comes later",
        "a directory as a hard link",
        "a kind that is none",
        "no head",
    ],
)
def test_much_of_that_is_refused_before_anything_is_tried(which: str) -> None:
    with pytest.raises(ValueError, match="archive"):
        list(archive.read(io.BytesIO(HOSTILE[which])))


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
