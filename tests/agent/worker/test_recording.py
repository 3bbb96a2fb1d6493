"""What a copy would send, recorded against one host and done to others: by the real rsync, over loopback."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import applying, meeting, pushing, receiving
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Applying
from nile.agent.worker.loop import Loop
from nile.agent.worker.recording import WITHHELD, FullError, Recording, Spool
from nile.agent.worker.running import Ending
from tests.agent.worker.copying import (
    NAME,
    SECRET,
    a_loop,
    contents,
    copy,
    installed,
    litter,
    tree,
    well,
)
from tests.agent.worker.test_pushing import (
    BIG,
    CHANGES,
    FULLY,
    children,
    everything,
    files,
    forked,
    look,
    same,
)

MOST = 100_000_000


@pytest.fixture(autouse=True)
def every_move_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "PROGRESS_S", 0.0)


class Tape:
    """One recording, of a source against a host; its spool is read through `stream`."""

    def __init__(
        self, source: Path, host: Path, most: int = MOST, spool: Path | None = None, **options: Any
    ) -> None:
        self.host = os.fsencode(host)
        self.source = source
        self.place = spool or source.parent / f"spool of {host.name}"
        self.place.mkdir(exist_ok=True)
        self.limits: list[tuple[int, int]] = []  # limit and written, whenever told
        self.told: Callable[[], None] = lambda: None
        self.spool = Spool(os.fsencode(self.place), most, self._changed)
        self.copy = rsyncs.Copy(NAME, **options)
        self.rsync = installed()
        self.endings: dict[str, Ending] = {}
        self.recording: Recording | None = None
        self.receive: receiving.Receive | None = None

    def _changed(self) -> None:
        self.limits.append((self.spool.limit, self.spool.written))
        self.told()

    def run(
        self, gate: Callable[[], list[bytes]] = list, progress: Callable[[], None] = lambda: None
    ) -> tuple[Ending, Ending]:
        """Record, until both ends are over."""
        with a_loop() as loop:
            self.receive = receiving.Receive(
                loop,
                self.rsync,
                self.host,
                NAME,
                "127.0.0.1",
                SECRET,
                loop.now() + 9,
                self._done("got", loop),
            )
            argv = rsyncs.client_argv(
                self.rsync,
                self.copy,
                [os.fsencode(self.source) + b"/"],
                self.host,
                pushing.helper(),
                self.rsync.version,
                False,
            )

            def met(connection: Any, code: str, reason: str) -> None:
                assert code == "", (code, reason)
                self.recording = Recording(
                    loop,
                    argv,
                    connection,
                    self.spool,
                    gate,
                    self._done("sent", loop),
                    lambda *_: progress(),
                )

            meeting.Dial(loop, "127.0.0.1", self.receive.port, SECRET, loop.now() + 9, met)
            loop.run()
        return self.endings["sent"], self.endings["got"]

    def _done(self, who: str, loop: Loop) -> Callable[[Ending], None]:
        def done(ending: Ending) -> None:
            assert who not in self.endings, "done was called twice"
            self.endings[who] = ending
            if who == "sent":
                assert self.spool.finished or self.spool.aborted
                assert list(self.place.iterdir()) == []
            if len(self.endings) == 2:
                loop.stop()

        return done

    def once(self, written: int, act: Callable[[], object]) -> Callable[[], None]:
        """Does `act()` as soon as the limit shows that so much was written: for `told`."""
        todo = [act]

        def told() -> None:
            if self.spool.written >= written and todo:
                todo.pop()()

        return told

    @property
    def stream(self) -> bytes:
        """All that may be sent."""
        return self.spool.read(0, self.spool.limit)


def record(source: Path, host: Path, **options: Any) -> Tape:
    """A recording that went well."""
    tape = Tape(source, host, **options)
    well(tape.run())
    assert tape.spool.finished
    return tape


class Feed:
    """A stream into an applier, as a node of a chain does it."""

    def __init__(
        self,
        loop: Loop,
        data: bytes,
        dest: Path,
        then: Callable[[Feed], object] | None = None,
        recorded: rsyncs.Version | None = None,
        **options: Any,
    ) -> None:
        """After the data `then(self)` is called, where nothing is given the end follows."""
        self.loop = loop
        self.left = memoryview(data)
        self.then = then or Feed.close
        self.endings: list[Ending] = []
        self.applying = Applying(
            loop,
            installed(),
            rsyncs.Copy(NAME, **options),
            os.fsencode(dest),
            recorded or installed().version,
            self._done,
        )
        self.open = True
        loop.watch(self.applying.stdin, select.POLLOUT, self._write)

    @property
    def pid(self) -> int:
        """The rsync's, which is also its session's."""
        return self.applying._running.pid

    def _write(self, _: int) -> None:
        try:
            self.left = self.left[os.write(self.applying.stdin, self.left) :]
        except BrokenPipeError:
            self.close()
            return
        if not self.left:
            self.loop.unwatch(self.applying.stdin)
            self.then(self)

    def close(self) -> None:
        """The stream ends."""
        if self.open:
            self.open = False
            self.loop.unwatch(self.applying.stdin)
            os.close(self.applying.stdin)

    def _done(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.close()
        self.loop.stop()

    def run(self) -> Ending:
        """Until it is over."""
        self.loop.run()
        assert len(self.endings) == 1
        return self.endings[0]


def apply(data: bytes, dest: Path, **options: Any) -> Ending:
    """Do this stream to that copy."""
    with a_loop() as loop:
        return Feed(loop, data, dest, **options).run()


def clone(tree: Path, name: str) -> Path:
    """An equal copy beside it."""
    subprocess.run(["cp", "-a", tree, tree.parent / name], check=True, timeout=20)
    return tree.parent / name


def old_and_new(tmp_path: Path) -> tuple[Path, Path]:
    """A source, and a copy with older files and one that is to go."""
    big = os.urandom(BIG)
    source = files(tmp_path / "src", {"a": b"new", "big": big, "fresh": b"1", "z": b"new"})
    named = {"a": b"older", "big": big[: BIG // 2] + os.urandom(9), "gone": b"1", "z": b"older"}
    return source, files(tmp_path / "host", named)


# Recorded once, done to all


def test_equal_copies_become_equal_to_the_source(tmp_path: Path) -> None:
    source = everything(tmp_path / "src")
    host = tmp_path / "host"
    well(copy(f"{source}/", host, **FULLY))
    others = [clone(host, name) for name in ("one", "two")]
    with (source / "big").open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    with (source / "sparse").open("r+b") as file:
        file.seek(40_000_000)
        file.write(b"there")
    (source / "plain").unlink()
    (source / "closed").rmdir()
    (source / "link").unlink()
    (source / "link").symlink_to("elsewhere")
    files(source, {"new \xff\n/file": os.urandom(9000), "empty": b"no more"})
    os.link(source / "new \xff\n/file", source / "d" / "of it")
    (source / "d" / "e").chmod(0o711)
    os.setxattr(source / "d" / "e" / "f", "user.more", b"x")
    before = tree(host)
    tape = record(source, host, **FULLY)
    assert tree(host) == before
    assert litter(host) == []
    for dest in (host, *others):
        ending = apply(tape.stream, dest, **FULLY)
        assert (ending.code, ending.status) == ("", 0), ending.fields()
        same(source, dest)
        assert (dest / "sparse").stat().st_blocks * 512 < 1_000_000


def test_only_names_and_checksums_are_moved(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    tape = record(source, host, delete=True, whole=True)
    assert tape.spool.total is not None
    assert tape.spool.total > BIG
    assert tape.endings["sent"].sent < 2000
    assert tape.endings["sent"].received < 2000


def test_a_delta_is_recorded(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    tape = record(source, host, delete=True)
    assert tape.spool.total is not None
    assert BIG // 2 < tape.spool.total < BIG * 6 // 10
    ending = apply(tape.stream, host, delete=True)
    assert ending.code == ""
    same(source, host)


def test_the_same_is_recorded_as_the_same(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    again = clone(host, "again")
    assert record(source, host).stream == record(source, again).stream


@pytest.mark.parametrize("there", [True, False])
def test_a_first_delivery(tmp_path: Path, there: bool) -> None:
    source = everything(tmp_path / "src")
    hosts = [tmp_path / "one", tmp_path / "two"]
    if there:
        for host in hosts:
            host.mkdir()
    tape = record(source, hosts[0], **FULLY)
    assert list(hosts[0].iterdir()) == []
    for host in hosts:
        assert apply(tape.stream, host, **FULLY).code == ""
        same(source, host)


@pytest.mark.parametrize("excludes", [[b"skip", b"\xff", b"mine"], [b"!", b"skip", b"mine"]])
def test_what_is_excluded_is_neither_sent_nor_deleted(tmp_path: Path, excludes: list[bytes]) -> None:
    source = files(tmp_path / "src", {"a": b"1", "skip/it": b"1", "b/mine": b"2"})
    host = files(tmp_path / "host", {"gone/a": b"1", "mine": b"1", "skip/old": b"1"})
    tape = record(source, host, excludes=excludes, delete=True)
    assert apply(tape.stream, host, excludes=excludes, delete=True).code == ""
    assert contents(host) == {"a": b"1", "mine": b"1", "skip/old": b"1"}
    assert litter(host) == []


def test_without_delete_nothing_is_deleted(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    assert apply(record(source, host).stream, host).code == ""
    assert contents(host) == {**contents(source), "gone": b"1"}


def test_contents_are_compared_if_asked_for(tmp_path: Path) -> None:
    source, host = files(tmp_path / "src", {"a": b"new"}), files(tmp_path / "host", {"a": b"old"})
    assert apply(record(source, host).stream, host).code == ""
    assert contents(host) == {"a": b"old"}
    assert apply(record(source, host, checksum=True).stream, host, checksum=True).code == ""
    assert contents(host) == {"a": b"new"}


def test_a_change_within_the_second_is_recorded_and_applied(tmp_path: Path) -> None:
    source, host = files(tmp_path / "src", {"a": b"old"}), files(tmp_path / "host", {"a": b"old"})
    (source / "a").write_bytes(b"new")
    os.utime(source / "a", ns=(10**18, 10**18 + 1))
    assert apply(record(source, host).stream, host).code == ""
    same(source, host)


@pytest.mark.cluster
def test_owners_are_given(tmp_path: Path) -> None:
    source, host = files(tmp_path / "src", {"a": b"1"}), tmp_path / "host"
    how: dict[str, Any] = {"chown": "1234:4321", "numeric_ids": True}
    assert apply(record(source, host, **how).stream, host, **how).code == ""
    about = (host / "a").stat()
    assert (about.st_uid, about.st_gid) == (1234, 4321)


# The end is withheld


def test_what_may_be_sent_stays_behind_until_the_gate_has_opened(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    tape = Tape(source, host, whole=True)
    at_gate: list[tuple[int, int]] = []

    def gate() -> list[bytes]:
        at_gate.append((tape.spool.limit, tape.spool.written))
        assert not tape.spool.finished
        return []

    well(tape.run(gate))
    assert len(at_gate) == 1
    assert tape.limits[-1] == (tape.spool.total, tape.spool.total)
    assert at_gate[0][1] == tape.spool.total, "everything was there"
    assert len(tape.limits) > 10
    assert tape.limits[:-1] == [(written - WITHHELD, written) for _, written in tape.limits[:-1]]
    assert at_gate[0][0] == tape.spool.total - WITHHELD


def test_of_little_nothing_may_be_sent_before(tmp_path: Path) -> None:
    source, host = files(tmp_path / "src", {"a": b"new"}), files(tmp_path / "host", {"a": b"older"})
    tape = Tape(source, host)
    well(tape.run(lambda: [] if tape.stream == b"" else [b"?"]))
    assert len(tape.limits) == 1
    assert len(tape.stream) > 100


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("moment", [WITHHELD + 1, BIG // 2])
def test_a_source_that_changes_changes_nothing(
    tmp_path: Path, change: Callable[[Path], object], moment: int
) -> None:
    source, host = old_and_new(tmp_path)
    before = contents(host)
    gate = look(source)
    tape = Tape(source, host, delete=True, whole=True)
    tape.told = tape.once(moment, lambda: change(source))
    sent, _ = tape.run(gate)
    assert not tape.spool.finished
    assert tape.spool.aborted
    assert sent.code in ("source-changed", "partial", "vanished"), sent.fields()
    if sent.code == "source-changed":
        assert sent.names == gate() != []
    assert tape.spool.limit <= tape.spool.written - WITHHELD
    with a_loop() as loop:
        ending = Feed(loop, tape.stream, host, lambda feed: feed.applying.abort(), delete=True).run()
    assert ending.code == "stopped"
    assert contents(host) == before
    assert litter(host) == []


def test_the_spool_takes_no_more_than_it_may(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    before = tree(host)
    tape = Tape(source, host, most=BIG // 3, whole=True)
    sent, _ = tape.run(lambda: pytest.fail("there is nothing to look at"))
    assert (sent.code, sent.retry) == ("spool-full", False)
    assert str(BIG // 3) in sent.reason == tape.spool.aborted
    assert tape.spool.limit <= tape.spool.written - WITHHELD
    assert tape.spool.written <= BIG // 3
    assert tree(host) == before
    assert litter(host) == []


@pytest.mark.cluster
def test_a_disk_that_is_full_is_called_so(tmp_path: Path, mounted: Path) -> None:
    source, host = old_and_new(tmp_path)
    tape = Tape(source, host, spool=mounted, whole=True)
    sent, _ = tape.run()
    assert (sent.code, tape.spool.aborted) == ("spool-full", sent.reason)
    assert os.strerror(errno.ENOSPC) in sent.reason
    assert str(mounted) in sent.reason


# The spool


@pytest.mark.parametrize("nameless", [True, False])
def test_a_spool_has_no_name_and_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    if not nameless:
        really = os.open

        def no_tmpfile(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "not here")
            return really(path, flags, *rest, **more)

        monkeypatch.setattr(os, "open", no_tmpfile)
    spool = Spool(os.fsencode(tmp_path), MOST, lambda: None)
    assert list(tmp_path.iterdir()) == []
    about = os.fstat(spool._fd)
    assert (about.st_nlink, stat.S_IMODE(about.st_mode)) == (0, 0o600)
    assert about.st_dev == tmp_path.stat().st_dev
    spool.append(b"x" * WITHHELD + b"0123456789")
    assert (spool.read(0, 4), spool.read(8, 5), spool.read(10, 5), spool.read(99, 5)) == (
        b"xxxx",
        b"xx",
        b"",
        b"",
    )
    spool.finish()
    assert spool.read(WITHHELD + 2, 99) == b"23456789"
    spool.close()
    spool.close()


def test_a_spool_where_there_can_be_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Spool(os.fsencode(tmp_path / "nowhere"), MOST, lambda: None)


def test_what_is_full_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(os.fsencode(tmp_path), 10, lambda: None)
    spool.append(b"0123456789")
    with pytest.raises(FullError):
        spool.append(b"x")
    spool.finish()
    spool.abort("too late")
    assert (spool.read(0, 99), spool.aborted) == (b"0123456789", "")
    spool.close()


def test_the_fifo_is_ours_alone_and_gone_once_it_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, host = old_and_new(tmp_path)
    tape = Tape(source, host, whole=True)
    begun: list[int] = []
    later: list[list[Path]] = []
    really = pushing.Push.__init__

    def begin(self: pushing.Push, *rest: Any) -> None:
        (place,) = tape.place.iterdir()
        begun.append(stat.S_IMODE(place.stat().st_mode))
        really(self, *rest)

    monkeypatch.setattr(pushing.Push, "__init__", begin)
    tape.told = lambda: later.append(list(tape.place.iterdir()))
    well(tape.run())
    assert begun == [0o700]
    assert later[0] == []


def test_a_spool_that_cant_have_a_fifo_costs_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def none(*_: Any) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "mkfifo", none)
    spool = Spool(os.fsencode(tmp_path), MOST, lambda: None)
    ours, theirs = socket.socketpair()
    with a_loop() as loop, pytest.raises(OSError, match="no"):
        Recording(loop, ["rsync"], ours, spool, list, lambda _: None)
    assert theirs.recv(1) == b""
    assert list(tmp_path.iterdir()) == []
    theirs.close()
    spool.close()


# A recording that ends in the middle


def server(tape: Tape) -> int:
    assert tape.receive is not None
    assert tape.receive._running is not None
    return tape.receive._running.pid


def client(tape: Tape) -> int:
    assert tape.recording is not None
    assert tape.recording._push._running is not None
    return tape.recording._push._running.pid


def stop(tape: Tape) -> None:
    assert tape.recording is not None
    tape.recording.stop()
    tape.recording.stop()


RECORDING_ENDS: dict[str, tuple[Callable[[Tape], object], set[str]]] = {
    "host killed": (lambda tape: os.killpg(server(tape), signal.SIGKILL), {"broken", "killed"}),
    "its other half killed": (
        lambda tape: os.kill(forked(server(tape)), signal.SIGKILL),
        {"broken", "killed"},
    ),
    "sender killed": (lambda tape: os.kill(client(tape), signal.SIGKILL), {"killed"}),
    "told to stop": (stop, {"stopped"}),
}


@pytest.mark.parametrize(("end", "codes"), RECORDING_ENDS.values(), ids=RECORDING_ENDS)
@pytest.mark.parametrize("moment", [WITHHELD + 1, BIG // 2])
def test_an_end_in_the_middle_aborts(
    tmp_path: Path, end: Callable[[Tape], object], codes: set[str], moment: int
) -> None:
    source, host = old_and_new(tmp_path)
    before, fds, families = tree(host), set(Path("/proc/self/fd").iterdir()), children()
    tape = Tape(source, host, delete=True, whole=True)
    tape.told = tape.once(moment, lambda: end(tape))
    sent, _ = tape.run(lambda: pytest.fail("there is nothing to look at"))
    assert sent.code in codes, sent.fields()
    assert tape.spool.aborted == sent.reason
    assert not tape.spool.finished
    assert tape.spool.limit <= tape.spool.written - WITHHELD
    assert tree(host) == before
    assert litter(host) == []
    tape.spool.close()
    assert set(Path("/proc/self/fd").iterdir()) == fds
    assert children() == families


def test_an_rsync_that_isnt_there_aborts(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    tape = Tape(source, host)
    tape.rsync.path = str(tmp_path / "rsync")
    sent, _ = tape.run()
    assert (sent.code, tape.spool.aborted) == ("no-rsync", sent.reason)


def test_an_exclusion_with_a_newline_cant_be_recorded(tmp_path: Path) -> None:
    """rsync can't write it to its script, which nobody wants."""
    source, host = old_and_new(tmp_path)
    tape = Tape(source, host, excludes=[b"new\nline"])
    sent, _ = tape.run()
    assert (sent.code, tape.spool.aborted) == ("usage", sent.reason)
    assert "newline" in sent.words


def test_a_file_that_cant_be_read_aborts(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    shutil.rmtree(source)
    tape = Tape(source, host)
    sent, _ = tape.run()
    assert (sent.code, tape.spool.aborted) == ("partial", sent.reason)
    assert tape.stream == b""


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


def test_a_stream_that_stands_still_is_given_up(tmp_path: Path, taped: tuple[Path, Path, bytes]) -> None:
    dest = here(tmp_path, taped)
    before = contents(dest)
    with a_loop() as loop:
        began = loop.now()
        feed = Feed(loop, taped[2][: BIG // 2], dest, lambda _: None, delete=True, stall_s=1)
        ending = feed.run()
        assert loop.now() - began >= 1
    assert (ending.code, ending.retry) == ("timeout", True)
    assert contents(dest) == before
    assert litter(dest) == []


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
        lambda argv, batch, really=rsyncs.recording_argv: [
            argv[0],
            "--protocol=31",
            *really(argv, batch)[1:],
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
        *("--filter=-p .nile-sync-r1/", "--", "/dest"),
    ]
    assert set(words(delete=True, chown="a:b", numeric_ids=True, excludes=[b"x"])) - set(words()) == {
        *("--delete-delay", "--chown=a:b", "--numeric-ids", "--exclude=x"),
    }
    assert set(words()) - set(words((3, 1, 2))) == {"--modify-window=-1"}
