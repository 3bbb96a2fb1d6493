"""A recorded stream, done to copies by the real rsync: whole, cut short, too slow, or not for them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import applying
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Applying
from nile.agent.worker.recording import WITHHELD
from tests.agent.worker.copying import (
    NAME,
    a_loop,
    contents,
    copy,
    halt,
    installed,
    litter,
    well,
)
from tests.agent.worker.taping import Feed, apply, clone, old_and_new, record
from tests.agent.worker.test_pushing import (
    BIG,
    FULLY,
    children,
    everything,
    files,
    same,
)

# A stream that ends in the middle


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """A source, a copy, and what was recorded for it."""
    source, host = old_and_new(tmp_path_factory.mktemp("taped"))
    return source, host, record(source, host, delete=True, whole=True).stream


def here(tmp_path: Path, taped: tuple[Path, Path, bytes]) -> Path:
    """A copy of our own."""
    dest = tmp_path / "dest"
    subprocess.run(["cp", "-a", taped[1], dest], check=True, timeout=20)
    return dest


def kill_one(feed: Feed) -> None:
    os.kill(feed.pid, signal.SIGKILL)


def kill_other(feed: Feed) -> None:
    """The one that reads the stream; there is none before it has read the list of files."""
    family = Path(f"/proc/{feed.pid}/task/{feed.pid}/children").read_text().split()
    os.kill(int(family[0]) if family else feed.pid, signal.SIGKILL)


def read_all(feed: Feed, act: Callable[[], object]) -> None:
    """Do this once rsync has read all that it was given, and does nothing any more."""
    before: list[tuple[int, ...]] = []

    def look() -> None:
        now = feed.applying._moved()
        if before and before[-1] == now and now[0] == 0:
            act()
        else:
            before.append(now)
            feed.loop.at(feed.loop.now() + 0.03, look)

    look()


STREAM_ENDS: dict[str, Callable[[Feed], object]] = {
    "aborted": lambda feed: feed.applying.abort(),
    "killed": lambda feed: os.killpg(feed.pid, signal.SIGKILL),
    "its parent killed": kill_one,
    "its child killed": kill_other,
    "closed": Feed.close,
}


@pytest.mark.parametrize("end", STREAM_ENDS.values(), ids=STREAM_ENDS)
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 1.0, 2.0])
def test_half_a_stream_changes_nothing(
    tmp_path: Path,
    taped: tuple[Path, Path, bytes],
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Feed], object],
    part: float,
) -> None:
    """Part 1.0 is all but what is withheld; 2.0 is all but the last hundred bytes, less than is withheld."""
    monkeypatch.setattr(applying, "LEAVE_S", 0.3)
    stream = taped[2]
    dest = here(tmp_path, taped)
    before = contents(dest)
    size = len(stream) - 100 if part > 1 else int((len(stream) - WITHHELD) * part)
    with a_loop() as loop:
        feed = Feed(loop, stream[:size], dest, lambda feed: read_all(feed, lambda: end(feed)), delete=True)
        ending = feed.run()
    assert ending.code in ("stopped", "killed", "broken", "timeout"), ending.fields()
    assert contents(dest) == before
    assert litter(dest) == []
    assert apply(stream, dest, delete=True).code == ""
    same(taped[0], dest)


def test_the_words_that_rename_are_the_last_hundred_bytes(
    tmp_path: Path, taped: tuple[Path, Path, bytes]
) -> None:
    """They are: with a few more of them the names change."""
    stream = taped[2]
    dest = here(tmp_path, taped)
    before = contents(dest)
    with a_loop() as loop:

        def all_but_the_end(feed: Feed) -> None:
            assert {
                name: text for name, text in contents(dest).items() if NAME.decode() not in name
            } == before
            feed.left, feed.then = (
                memoryview(stream)[-100:-1],
                lambda feed: read_all(feed, feed.applying.abort),
            )
            loop.watch(feed.applying.stdin, select.POLLOUT, feed._write)

        Feed(
            loop, stream[:-100], dest, lambda feed: read_all(feed, lambda: all_but_the_end(feed)), delete=True
        ).run()
    assert contents(dest)["a"] == b"new"


def test_what_has_no_data_is_done_at_once(tmp_path: Path) -> None:
    """Directories, links, modes and what is in the way; no file of another content, and none is gone."""
    source = everything(tmp_path / "src")
    (source / "was a file").symlink_to("anything")
    named = {"plain": b"older", "empty": b"", "gone/a": b"1", "was a file": b"1"}
    host = files(tmp_path / "host", named)
    before = contents(host)
    stream = record(source, host, **FULLY).stream
    with a_loop() as loop:
        feed = Feed(
            loop, stream[:-100], host, lambda feed: read_all(feed, feed.applying.abort), None, **FULLY
        )
        assert feed.run().code == "stopped"
    del before["was a file"]
    assert contents(host) == before
    new = {path.name for path in host.rglob("*")} - {"plain", "empty", "gone", "a"}
    assert new == {"d", "e", "closed", "link", "fifo", "was a file"}
    assert litter(host) == []


def killed_among_the_renames(source: Path, dest: Path, stream: bytes) -> set[bool]:
    """Kill it as soon as the first file has its new content; are others still old, and which?"""
    named = contents(source)
    with a_loop() as loop:

        def watch() -> None:
            if (dest / "0/0").stat().st_size == 5:
                loop.at(loop.now() + 0.001, watch)
            else:
                with suppress(ProcessLookupError):
                    os.killpg(feed.pid, signal.SIGKILL)

        feed = Feed(loop, stream, dest, lambda _: watch())
        feed.run()
    found = contents(dest)
    assert found.keys() == named.keys()
    assert [name for name in found if found[name] not in (named[name], b"older")] == []
    assert litter(dest) == []
    return {content == b"older" for content in found.values()}


def test_a_kill_among_the_renames_leaves_whole_files(tmp_path: Path) -> None:
    source = files(tmp_path / "src", {f"{i % 9}/{i}": f"{i}".encode() * 500 for i in range(4000)})
    host = files(tmp_path / "host", dict.fromkeys(contents(source), b"older"))
    stream = record(source, host).stream
    # It may be through before it is killed: then once more.
    tries = (killed_among_the_renames(source, clone(host, str(i)), stream) for i in range(10))
    assert any(found == {True, False} for found in tries)


# A stream that stands still


def test_an_rsync_that_stands_still_is_given_up(tmp_path: Path, taped: tuple[Path, Path, bytes]) -> None:
    """There is something for it to read."""
    dest = here(tmp_path, taped)
    before = contents(dest)
    with a_loop() as loop:
        began = loop.now()

        def stop(feed: Feed) -> None:
            halt(feed.pid)
            os.write(feed.applying.stdin, taped[2][BIG // 2 :][:100])

        feed = Feed(loop, taped[2][: BIG // 2], dest, stop, delete=True, stall_s=1)
        ending = feed.run()
        assert loop.now() - began >= 1
    assert (ending.code, ending.retry) == ("timeout", True)
    assert contents(dest) == before
    assert litter(dest) == []


def test_one_that_only_waits_is_not(tmp_path: Path, taped: tuple[Path, Path, bytes]) -> None:
    """For the end, say: a source that is looked at once more may be slow."""
    dest = here(tmp_path, taped)
    with a_loop() as loop:

        def rest(feed: Feed) -> None:
            feed.then, feed.left = Feed.close, memoryview(taped[2])[-WITHHELD:]
            loop.at(loop.now() + 1.2, lambda: loop.watch(feed.applying.stdin, select.POLLOUT, feed._write))

        feed = Feed(loop, taped[2][:-WITHHELD], dest, rest, delete=True, stall_s=0.4)
        ending = feed.run()
    assert ending.code == "", ending.fields()
    same(taped[0], dest)


def test_the_end_of_half_a_stream_is_noticed_sooner(
    tmp_path: Path, taped: tuple[Path, Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "LEAVE_S", 0.3)
    ending = apply(taped[2][: BIG // 2], here(tmp_path, taped))
    assert (ending.code, ending.retry) == ("timeout", True)


def test_a_slow_stream_is_not_one_that_stands_still(tmp_path: Path, taped: tuple[Path, Path, bytes]) -> None:
    """It takes thrice the time in which it may stand still."""
    dest = here(tmp_path, taped)
    step = BIG // 12
    with a_loop() as loop:
        rest = [memoryview(taped[2])[step:]]

        def more(feed: Feed) -> None:
            if not rest[0]:
                feed.close()
                return
            feed.left, rest[0] = rest[0][:step], rest[0][step:]
            loop.at(loop.now() + 0.25, lambda: loop.watch(feed.applying.stdin, select.POLLOUT, feed._write))

        feed = Feed(loop, taped[2][:step], dest, more, delete=True, stall_s=1)
        ending = feed.run()
    assert ending.code == "", ending.fields()
    same(taped[0], dest)


def test_the_pipe_breaks_when_it_is_over(tmp_path: Path, taped: tuple[Path, Path, bytes]) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    families = children()
    with a_loop() as loop:
        feed = Feed(loop, b"", here(tmp_path, taped), lambda feed: feed.applying.abort())
        feed.close = lambda: None  # type: ignore[method-assign]
        feed.run()
        with pytest.raises(BrokenPipeError):
            os.write(feed.applying.stdin, b"x")
        os.close(feed.applying.stdin)
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert children() == families


# Copies that aren't what was recorded against

DIVERGED: dict[str, Callable[[Path], object]] = {
    "another content": lambda dest: files(dest, {"big": os.urandom(BIG // 2 + 9)}),
    "shorter": lambda dest: files(dest, {"big": b"x"}),
    "its basis is missing": lambda dest: (dest / "big").unlink(),
    "what stays is missing": lambda dest: (dest / "kept").unlink(),
    "what stays is another": lambda dest: files(dest, {"kept": b"another"}),
    "a directory is missing": lambda dest: shutil.rmtree(dest / "there"),
    "another type": lambda dest: (dest / "big").unlink() or (dest / "big").mkdir(),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("change", DIVERGED.values(), ids=DIVERGED)
def test_a_copy_that_isnt_the_same_is_found_out_and_mended(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    source, host = old_and_new(tmp_path)
    for place in (source, host):
        files(place, {"kept": b"kept", "there/too": b"kept"})
    dest = clone(host, "dest")
    change(dest)
    before = contents(dest)
    stream = record(source, host, delete=True).stream
    ending = apply(stream, dest, delete=True)
    assert (ending.code, ending.retry) == ("diverged", True), ending.fields()
    assert litter(dest) == []
    new = contents(source)
    assert {
        name: text for name, text in contents(dest).items() if text not in (new.get(name), before.get(name))
    } == {}
    well(copy(f"{source}/", dest, delete=True))
    same(source, dest)


def test_files_that_cant_be_put_together_are_named(tmp_path: Path) -> None:
    source = files(tmp_path / "src", {"n\nl": b"x" * 9000, "\udcff": b"y" * 9000})
    host = files(tmp_path / "host", {"n\nl": b"x" * 9001, "\udcff": b"y" * 9001})
    stream = record(source, host).stream
    files(host, {"n\nl": b"z" * 9001, "\udcff": b"y" * 9002})
    before = contents(host)
    ending = apply(stream, host)
    assert (ending.code, ending.names) == ("diverged", [b"n\nl"])
    assert contents(host) == {"n\nl": before["n\nl"], "\udcff": b"y" * 9000}


def test_what_is_no_recording_changes_nothing(tmp_path: Path) -> None:
    dest = files(tmp_path / "dest", {"a": b"1"})
    ending = apply(b"GET / HTTP/1.1\r\n" * 100, dest, delete=True)
    assert ending.code == "diverged"
    assert contents(dest) == {"a": b"1"}
    assert litter(dest) == []


@pytest.mark.cluster
def test_a_full_disk_is_called_so(tmp_path: Path, mounted: Path) -> None:
    source, _ = old_and_new(tmp_path)
    dest = files(mounted / "dest", {"a": b"older", "gone": b"1"})
    tape = record(source, files(tmp_path / "empty", contents(dest)), delete=True)
    ending = apply(tape.stream, dest, delete=True)
    assert (ending.code, ending.retry) == ("disk-full", False), ending.fields()
    assert contents(dest) == {"a": b"older", "gone": b"1"}
    assert litter(dest) == []


# Who can read it


def test_an_older_rsync_is_refused(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    version = installed().version
    newer = (version[0], version[1] + 1, 0)
    with pytest.raises(rsyncs.Refusal) as refused, a_loop() as loop:
        Feed(loop, b"", dest, recorded=newer)
    assert refused.value.code == "old-rsync"
    assert not dest.exists()


@pytest.mark.parametrize("lacks", ["ACLs", "xattrs"])
def test_one_that_lacks_what_was_recorded_is_refused(lacks: str) -> None:
    rsync = installed()
    rsync.has -= {lacks}
    wanted = rsyncs.Copy(NAME, acls=lacks == "ACLs", xattrs=lacks == "xattrs")
    with pytest.raises(rsyncs.Refusal, match=lacks) as refused:
        rsyncs.applying_argv(rsync, wanted, b"/d", rsync.version)
    assert refused.value.code == "old-rsync"
    rsyncs.applying_argv(rsync, rsyncs.Copy(NAME), b"/d", rsync.version)


def test_what_was_recorded_with_an_older_one_is_read_by_a_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's, before 3.2, knows neither new lists of files nor names of number 0."""
    really = rsyncs.server_argv

    def older(*rest: Any) -> list[str]:
        argv = really(*rest)
        assert any(word.endswith("Ivu") for word in argv), argv
        return [word.replace("Ivu", "I") for word in argv]

    monkeypatch.setattr(rsyncs, "server_argv", older)
    monkeypatch.setattr(
        rsyncs,
        "recording_argv",
        lambda argv, batch, names, really=rsyncs.recording_argv: [
            argv[0],
            "--protocol=31",
            *really(argv, batch, names)[1:],
        ],
    )
    source, host = old_and_new(tmp_path)
    tape = record(source, host, delete=True)
    assert tape.stream[4:9] == b"\x1f\0\0\0\x7e"
    assert apply(tape.stream, host, recorded=(3, 1, 3), delete=True).code == ""
    same(source, host)


def test_a_destination_that_is_a_file_is_refused(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.write_bytes(b"mine")
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(rsyncs.Refusal) as refused, a_loop() as loop:
        Feed(loop, b"", dest)
    assert refused.value.code == "not-writable"
    assert str(dest) in refused.value.reason
    assert dest.read_bytes() == b"mine"
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_an_rsync_that_isnt_there_is_refused(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    before = set(Path("/proc/self/fd").iterdir())
    rsync = installed()
    rsync.path = str(tmp_path / "rsync")
    with a_loop() as loop, pytest.raises(rsyncs.Refusal) as refused:
        Applying(loop, rsync, rsyncs.Copy(NAME), os.fsencode(dest), rsync.version, lambda _: None)
    assert refused.value.code == "no-rsync"
    assert list(dest.iterdir()) == []
    assert set(Path("/proc/self/fd").iterdir()) == before


def words(version: rsyncs.Version = (3, 2, 7), **options: Any) -> list[str]:
    rsync = rsyncs.Rsync("/usr/bin/rsync", (3, 2, 7), 31, frozenset())
    return rsyncs.applying_argv(rsync, rsyncs.Copy(NAME, **options), b"/dest", version)


def test_what_is_asked_of_a_reader() -> None:
    assert words() == [
        *("/usr/bin/rsync", "--read-batch=-", "-ax", "--info=NAME1", "--modify-window=-1"),
        *(
            "--checksum-seed=7",
            "--delay-updates",
            "--partial-dir=.nile-sync-r1",
            "--temp-dir=/dest/.nile-sync-r1/.nile-sync-r1",
        ),
        *("--filter=-p .nile-sync-r1*/", "--", "/dest"),
    ]
    assert words(link_dest=b"/r/1")[4] == "--link-dest=/r/1"
    assert set(words(delete=True, chown="a:b", numeric_ids=True, excludes=[b"x"])) - set(words()) == {
        *("--delete-delay", "--chown=a:b", "--numeric-ids", "--exclude=x"),
    }
    assert set(words()) - set(words((3, 1, 2))) == {"--modify-window=-1"}
