"""Merges that are broken off, or that are to be led astray: files are whole, all else is as it was."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import archive, merging, receiving
from nile.agent.worker.archive import Looked, Owners
from nile.agent.worker.compare import lacking
from nile.agent.worker.dressing import Terms
from nile.agent.worker.merging import Done, Merge
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.running import Ending
from nile.agent.worker.trees import Source
from tests.agent.worker.copying import NAME, contents, litter, tree
from tests.agent.worker.merging import bare, bring, download, here, merged, own
from tests.agent.worker.test_archive_whole import HEAD as ORDINARY
from tests.agent.worker.test_archive_whole import HOSTILE, entry
from tests.agent.worker.test_archive_whole import content as holding
from tests.agent.worker.trees import make_all_kinds, write
from tests.agent.worker.unpacking import packed, read, unpack, well

HEAD = archive.head(Owners({}, {}), Looked(True, True), bare=True)


def forged(*messages: bytes) -> bytes:
    return HEAD + b"".join(messages) + archive.end(len(messages))


# Broken off

CALLS = [
    "rename",
    "link",
    "unlink",
    "rmdir",
    "mkdir",
    "symlink",
    "mknod",
    "chmod",
    "chown",
    "utime",
    "setxattr",
]
CALLS += ["removexattr", "open", "close"]
OLD = {
    "same": "same",
    "changed": "old",
    "was a file": "old",
    "hard 1": "old",
    "hard 2": "other",
    "dir/changed": "old",
}
NEW = {"same": "same", "changed": "new", "was a directory": "new", "fresh": "new", "was a file/x": "new"}
NEW |= {"hard 1": "new", "hard 2": "new", "dir/changed": "new", "dir/fresh/x": "new", "link/x": "new"}
TIMES = {"same": 1, "old": 2, "new": 3, "other": 4}
EXTRA = {"extra/deep/1": "old", "extra/2": "old", "was a directory/3": "old"}


def plant(place: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        os.utime(
            write(place, path, content), ns=(1, len(content) if content == "same" else hash(content) % 10**9)
        )


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """What is brought to `host`."""
    plant(tmp_path / "src", NEW)
    (tmp_path / "src/hard 2").unlink()
    os.link(tmp_path / "src/hard 1", tmp_path / "src/hard 2")
    os.setxattr(tmp_path / "src/same", "user.colour", b"blue")
    (tmp_path / "src/dir").chmod(0o700)
    (tmp_path / "src/symlink").symlink_to("same")
    os.mkfifo(tmp_path / "src/fifo")
    return read(f"{tmp_path}/src/")


def host(place: Path) -> Path:
    """It has some of it."""
    plant(place, OLD | EXTRA)
    (place / "link").symlink_to("dir")
    os.setxattr(place / "same", "user.own", b"1")
    return place


def merge_of(source: Source, dest: Path) -> Merge:
    """All that is needed is downloaded."""
    seen = here(dest, source)
    ours = {entry.path for entry in source.manifest.entries}
    extras = [entry.path for entry in seen.entries if entry.path not in ours]
    downloads = download(source, lacking(source.manifest, seen), dest)
    return Merge(os.fsencode(dest), NAME, downloads, extras=extras)


def broken_at(which: int, act: Callable[[], None], told: Path) -> None:
    """In a child: do that instead of the call with this number, and leave a word that it came to that."""
    count = [0]
    really_open = os.open

    def instead(really: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == which:
                os.write(really_open(told, os.O_WRONLY | os.O_CREAT, 0o600), b"!")
                act()
            return really(*args, **options)

        return call

    for name in CALLS:
        setattr(os, name, instead(getattr(os, name)))


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fails() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("act", "codes"), [(killed, {"killed"}), (fails, {"disk-full", "partial"})])
def test_at_any_moment_files_are_whole(
    tmp_path: Path, source: Source, act: Callable[[], None], codes: set[str]
) -> None:
    """Each is the old one or the new one; and the next run makes it all as it should be."""
    stream = bare(source)
    which, over = 0, False
    while not over:
        which += 1
        dest, told = host(tmp_path / "dest"), tmp_path / f"told {which}"
        what = merge_of(source, dest)
        ending = broken(stream, what, which, act, told)
        over = not told.exists()
        assert ending.code in ({""} if over else codes), (which, ending.fields())
        receiving.remove(os.fsencode(dest), NAME)
        whole(dest)
        if which % 5 == 0 or over:
            well(bring(source, dest, delete=True)[0])
            assert tree(dest) == tree(tmp_path / "src")
        shutil.rmtree(dest)
    assert which > 100, "there were so many moments"


def broken(stream: bytes, what: Merge, which: int, act: Callable[[], None], told: Path) -> Ending:
    really = merging._work

    def work(what: Merge, terms: Terms) -> None:
        broken_at(which, act, told)
        really(what, terms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_work", work)
        return merged(stream, what)[0]


def whole(dest: Path) -> None:
    """All that is there is an old file or a new one, with its own time."""
    for path, content in contents(dest).items():
        name = path.replace("link/", "dir/") if (dest / "link").is_symlink() else path
        assert content.decode() in {each[name] for each in (OLD, NEW, EXTRA) if name in each}, path
    assert litter(dest) == []


def test_a_file_whose_place_a_directory_cant_get_has_it_again(tmp_path: Path, source: Source) -> None:
    dest = host(tmp_path / "dest")
    really = os.rename

    def work(what: Merge, terms: Terms) -> None:
        def rename(old: bytes, new: bytes, **where: int) -> None:
            if new == b"was a file" and old != b"old":
                if (dest / "was a file").exists():
                    raise NotADirectoryError
                fails()
            really(old, new, **where)

        os.rename = rename  # type: ignore[assignment]
        merging.merge(0, what, terms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_work", work)
        patch.setattr(os, "rename", really)
        ending, _ = merged(bare(source), merge_of(source, dest))
    assert ending.code == "disk-full"
    assert (dest / "was a file").read_text() == "old"


def test_half_an_archive_changes_nothing(tmp_path: Path, source: Source) -> None:
    stream = bare(source)
    dest = host(tmp_path / "dest")
    for part in (0.0, 0.3, 0.9, 1.0):
        what = merge_of(source, dest)
        before = {path: path.lstat() for path in dest.rglob("*") if NAME.decode() not in str(path)}
        ending, _ = merged(stream[: min(int(len(stream) * part), len(stream) - 1)], what)
        assert (ending.code, ending.retry) == ("broken", True)
        receiving.remove(os.fsencode(dest), NAME)
        after = {path: path.lstat() for path in dest.rglob("*")}
        assert after.keys() == before.keys()
        assert all(after[path].st_mtime_ns == before[path].st_mtime_ns for path in after)
        assert contents(dest) == contents(host(tmp_path / f"other {part}"))


def test_one_that_is_stopped_says_so(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_work", lambda *_: signal.pause())
    dest = host(tmp_path / "dest")
    ending, done = merged(bare(source), merge_of(source, dest), abort=True)
    assert (ending.code, done) == ("stopped", Done())


def test_one_that_stands_still_is_killed(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_work", lambda *_: signal.pause())
    monkeypatch.setattr(merging.Merging.__init__, "__defaults__", (None, 0.2))
    ending, _ = merged(bare(source), merge_of(source, host(tmp_path / "dest")))
    assert (ending.code, ending.retry) == ("timeout", True)


def test_no_child_no_merge(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> int:
        raise OSError(11, "Resource temporarily unavailable")

    what = merge_of(source, host(tmp_path / "dest"))
    monkeypatch.setattr(os, "fork", none)
    with pytest.raises(OSError, match="Resource"):
        merged(bare(source), what)
    assert not (tmp_path / "dest" / NAME.decode() / NAME.decode()).exists()


# What was downloaded isn't what it should be


def missing(path: Path) -> None:
    path.unlink()


def short(path: Path) -> None:
    os.truncate(path, 1)


def linked(path: Path) -> None:
    path.rename(path.parent / "other")
    path.symlink_to("other")


def twice(path: Path) -> None:
    os.link(path, path.parent / "other")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def through(path: Path) -> None:
    """The content is there, behind a link."""
    path.parent.rename(path.parent.parent / "elsewhere")
    path.parent.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (missing, "incomplete"),
        (short, "corrupt"),
        (linked, "corrupt"),
        (twice, "corrupt"),
        (pipe, "corrupt"),
        (directory, "corrupt"),
        (through, "incomplete"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_such_a_file_is_never_taken(
    tmp_path: Path, source: Source, spoil: Callable[[Path], None], code: str
) -> None:
    dest = host(tmp_path / "dest")
    before = tree(dest)
    what = merge_of(source, dest)
    spoil(Path(os.fsdecode(what.downloaded)) / "dir/changed")
    ending, _ = merged(bare(source), what)
    assert (ending.code, ending.names) == (code, [b"dir/changed"])
    receiving.remove(os.fsencode(dest), NAME)
    os.utime(dest, ns=(1, before[b"."][3]))  # type: ignore[arg-type]
    assert tree(dest) == before


@pytest.mark.parametrize("spoil", ["open", "link"])
def test_the_directory_of_downloads_has_to_be_our_own(tmp_path: Path, source: Source, spoil: str) -> None:
    dest = host(tmp_path / "dest")
    what = merge_of(source, dest)
    downloads = Path(os.fsdecode(what.downloaded))
    if spoil == "open":
        downloads.chmod(0o755)
    else:
        downloads.rename(tmp_path / "elsewhere")
        downloads.symlink_to(tmp_path / "elsewhere")
    assert merged(bare(source), what)[0].code == "not-writable"
    assert contents(tmp_path / "dest")["changed"] == b"old"


# Nowhere else


def test_an_archive_of_the_one_sort_is_none_of_the_other(tmp_path: Path, source: Source) -> None:
    """Files without content are never taken for empty ones."""
    assert unpack(bare(source), tmp_path / "new").code == "corrupt"
    assert list((tmp_path / "new").iterdir()) == []
    dest = host(tmp_path / "dest")
    assert merged(packed(source), merge_of(source, dest))[0].code == "corrupt"
    assert contents(dest)["changed"] == b"old"


@pytest.mark.parametrize("which", HOSTILE)
def test_a_hostile_archive_changes_nothing(tmp_path: Path, which: str) -> None:
    write(tmp_path, "outside", "as it was")
    for name in ("a", "d/evil", "evil"):
        write(tmp_path, f"dest/{name}", "there")
    before = tree(tmp_path)
    receiving.prepare(os.fsencode(tmp_path / "dest"), NAME)
    stream = HOSTILE[which]
    stream = HEAD + stream[len(ORDINARY) :] if stream.startswith(ORDINARY) else stream
    downloads = Path(os.fsdecode(own(tmp_path / "dest"))) / "downloads"
    downloads.mkdir(0o700)
    what = Merge(os.fsencode(tmp_path / "dest"), NAME, os.fsencode(downloads))
    ending, _ = merged(stream, what)
    assert ending.code in ("corrupt", "files", "not-writable", "incomplete"), ending.fields()
    receiving.remove(os.fsencode(tmp_path / "dest"), NAME)
    assert tree(tmp_path) == before


def test_content_in_an_archive_without_contents_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "src/a", "evil")
    what = merge_of(read(f"{tmp_path}/src/"), tmp_path / "dest")
    made = entry(b"a", size=4), holding(b"good")
    ending, _ = merged(HEAD + b"".join(made) + archive.end(1), what)
    assert (ending.code, (tmp_path / "dest/a").exists()) == ("corrupt", False)


LINKED = ["dir", "dir/below"]


@pytest.mark.parametrize("where", LINKED)
def test_a_link_where_a_directory_should_be_is_replaced_and_never_followed(
    tmp_path: Path, where: str
) -> None:
    write(tmp_path, "src/dir/below/file", "new")
    write(tmp_path, "elsewhere/file", "as it was")
    write(tmp_path, "elsewhere/below/file", "as it was")
    before = tree(tmp_path / "elsewhere")
    place = tmp_path / "dest" / where
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    well(bring(read(f"{tmp_path}/src/"), tmp_path / "dest", delete=True)[0])
    assert tree(tmp_path / "dest") == tree(tmp_path / "src")
    assert tree(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("path", [b"../outside", b"/outside", b"dir/../../outside", b"", b"link/outside"])
def test_nothing_elsewhere_is_deleted(tmp_path: Path, source: Source, path: bytes) -> None:
    for place in ("outside", "elsewhere/outside"):
        write(tmp_path, place, "as it was")
    dest = host(tmp_path / "dest")
    (dest / "link").unlink()
    (dest / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "src/link/x").unlink()
    (tmp_path / "src/link").rmdir()
    what = merge_of(read(f"{tmp_path}/src/"), dest)._replace(extras=[path])
    ending, done = merged(bare(read(f"{tmp_path}/src/")), what)
    assert (ending.code, done.deleted) == ("partial" if path == b"link/outside" else "corrupt", 0)
    assert (tmp_path / "outside").exists()
    assert (tmp_path / "elsewhere/outside").exists()


@pytest.mark.parametrize("at", [b"../../../outside", b"/etc/passwd"])
def test_no_content_comes_from_elsewhere(tmp_path: Path, at: bytes) -> None:
    write(tmp_path, "outside", "as it was")
    (tmp_path / "dest").mkdir()
    source = read(f"{tmp_path}/outside")
    what = merge_of(source, tmp_path / "dest")._replace(names={b"outside": at})
    assert merged(bare(source), what)[0].code == "corrupt"
    assert (tmp_path / "outside").exists()


def test_what_is_there_is_never_content(tmp_path: Path) -> None:
    """Nor do links of an archive lead to it."""
    write(tmp_path, "dest/file", "own")
    receiving.prepare(os.fsencode(tmp_path / "dest"), NAME)
    what = merge_of(Source([], Patterns()), tmp_path / "dest")
    ending, _ = merged(forged(entry(b"link", group=b"file")), what)
    assert ending.code == "corrupt"


@pytest.mark.parametrize("into", ["link", "other file", "gone"])
def test_what_is_swapped_meanwhile_is_left_alone(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, into: str
) -> None:
    """Between the look and the change, somebody who may write there puts something else there."""
    write(tmp_path, "outside", "as it was")
    before = (tmp_path / "outside").lstat()
    dest = host(tmp_path / "dest")
    really = merging._Merger.merge

    def merge(self: merging._Merger) -> Done:
        (dest / "same").unlink()
        if into == "link":
            (dest / "same").symlink_to(tmp_path / "outside")
        elif into == "other file":
            (dest / "same").write_text("another")
        return really(self)

    monkeypatch.setattr(merging._Merger, "merge", merge)
    ending, _ = merged(bare(source), merge_of(source, dest))
    assert (ending.code, ending.names) == ("diverged", [b"same"])
    after = (tmp_path / "outside").lstat()
    assert (after.st_ctime_ns, os.listxattr(tmp_path / "outside")) == (before.st_ctime_ns, [])


def test_sockets_and_pipes_are_looked_at_and_never_opened(tmp_path: Path) -> None:
    for place in ("src", "dest"):
        make_all_kinds(tmp_path / place)
    for name in ("fifo", "socket", "null"):
        (tmp_path / "src" / name).chmod(0o640)
        os.utime(tmp_path / "src" / name, ns=(1, 1))
    well(bring(read(f"{tmp_path}/src/"), tmp_path / "dest")[0])
    assert tree(tmp_path / "src") == tree(tmp_path / "dest")
