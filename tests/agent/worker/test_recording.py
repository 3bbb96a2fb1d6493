"""What a copy would send, recorded against one host and done to others: by the real rsync, over loopback."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nile.agent.worker import pushing, recording
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.recording import GIB, WITHHELD, FullError, Recording, Spool
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import (
    NAME,
    a_loop,
    contents,
    copy,
    litter,
    tree,
    well,
)
from tests.agent.worker.taping import Feed, Tape, apply, clone, old_and_new, record
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


def test_only_names_and_checksums_are_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "PROGRESS_S", 0.0)
    source, host = old_and_new(tmp_path)
    tape, told = Tape(source, host, delete=True, whole=True), [(0, 0)]
    sent, got = tape.run(progress=lambda *moved: told.append(moved))
    well((sent, got))
    assert tape.spool.total is not None
    assert tape.spool.total > BIG
    assert 0 < sent.sent < 2000
    assert 0 < sent.received < 2000
    assert (told, told[-1]) == (sorted(told), (sent.sent, sent.received))


def test_a_delta_is_recorded(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    tape = record(source, host, delete=True)
    assert tape.spool.total is not None
    assert BIG // 2 < tape.spool.total < BIG * 6 // 10
    ending = apply(tape.stream, host, delete=True)
    assert ending.code == ""
    same(source, host)


TIMES = 16
"""Bytes at the end in which rsync says how long making and sending its list of files took, among others."""


def test_the_same_is_recorded_as_the_same(tmp_path: Path) -> None:
    source, host = old_and_new(tmp_path)
    again = clone(host, "again")
    first, second = record(source, host).stream, record(source, again).stream
    assert len(first) == len(second)
    assert first[:-TIMES] == second[:-TIMES]


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


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, 0x9F),
        ({"delete": True, "whole": True, "sparse": True, "numeric_ids": True, "max_delete": 3}, 0x9F),
        ({"hard_links": True, "checksum": True, "bwlimit": 9000}, 0xFF),
        ({"acls": True, "xattrs": True}, 0xC9F),
        ({"listed": True, "names": b"a\0"}, 0x9E),
    ],
)
def test_what_it_begins_with_is_known(tmp_path: Path, options: dict[str, Any], flags: int) -> None:
    """Whoever applies it compares that with what it was told."""
    source, host = old_and_new(tmp_path)
    head = record(source, host, **options).stream[: rsyncs.HEAD]
    assert int.from_bytes(head, "little") == flags
    like = rsyncs.Copy(NAME, **{name: value for name, value in options.items() if name != "names"})
    assert rsyncs.wrong_head(head, like) == ""
    assert rsyncs.wrong_head(b"\x02\0\0\0", like) == "", "what it lacks is missed in the end"
    for bit in range(32):
        more = flags | 1 << bit
        assert bool(rsyncs.wrong_head(more.to_bytes(4, "little"), like)) is (more != flags), bit
    for short in (b"", head[:3], bytes(4)):
        assert rsyncs.wrong_head(short, like)


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


def test_the_gate_waits_for_what_is_still_in_the_fifo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all of it fits in there, rsync may end before a byte is read."""
    source, host = files(tmp_path / "src", {"a": b"new"}), files(tmp_path / "host", {"a": b"older"})
    really = Recording._read

    def late(self: Recording, fd: int) -> None:
        if self._ending is None:
            time.sleep(0.005)
        else:
            really(self, fd)

    monkeypatch.setattr(Recording, "_read", late)
    assert apply(record(source, host).stream, host).code == ""
    same(source, host)


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


def free(monkeypatch: pytest.MonkeyPatch, looks: list[int], size: int = 10 * GIB) -> None:
    """So many bytes are free of so many, whenever it is looked; the last one lasts."""

    def statvfs(_: int) -> SimpleNamespace:
        now = looks.pop(0) if len(looks) > 1 else looks[0]
        return SimpleNamespace(f_blocks=size // 4096, f_bavail=now // 4096, f_frsize=4096)

    monkeypatch.setattr(os, "fstatvfs", statvfs)


def test_the_spool_leaves_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, host = old_and_new(tmp_path)
    before = tree(host)
    monkeypatch.setattr(recording, "LOOK_EVERY", BIG // 3)
    free(monkeypatch, [2 * GIB, GIB, GIB - 4096])
    tape = Tape(source, host, whole=True)
    sent, _ = tape.run(lambda: pytest.fail("there is nothing to look at"))
    assert (sent.code, sent.retry) == ("spool-full", False)
    assert "kept for others" in sent.reason == tape.spool.aborted
    assert tape.spool.limit <= tape.spool.written - WITHHELD
    assert 0 < tape.spool.written < BIG
    assert tree(host) == before
    assert litter(host) == []


@pytest.mark.parametrize(("size", "least"), [(10 * GIB, GIB), (1000 * GIB, 50 * GIB)])
def test_a_spool_is_not_begun_where_there_is_too_little_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, least: int
) -> None:
    before = descriptors()
    free(monkeypatch, [least - 4096], size)
    with pytest.raises(FullError) as caught:
        Spool(os.fsencode(tmp_path), lambda: None)
    assert caught.value.fields["code"] == "spool-full"
    assert str(tmp_path) in caught.value.fields["reason"]
    assert descriptors() == before
    free(monkeypatch, [least], size)
    Spool(os.fsencode(tmp_path), lambda: None).close()


@pytest.mark.cluster
def test_a_disk_that_is_full_is_called_so(
    tmp_path: Path, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, host = old_and_new(tmp_path)
    free(monkeypatch, [10 * GIB])
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
    spool = Spool(os.fsencode(tmp_path), lambda: None)
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
        Spool(os.fsencode(tmp_path / "nowhere"), lambda: None)


def test_what_is_full_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LOOK_EVERY", 10)
    free(monkeypatch, [2 * GIB, 0])
    spool = Spool(os.fsencode(tmp_path), lambda: None)
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
    def none(*_: Any) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "mkfifo", none)
    spool = Spool(os.fsencode(tmp_path), lambda: None)
    ours, theirs = socket.socketpair()
    with a_loop() as loop, pytest.raises(OSError, match="no"):
        Recording(loop, ["rsync"], ours, spool, list, lambda _: None)
    theirs.settimeout(1)
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
