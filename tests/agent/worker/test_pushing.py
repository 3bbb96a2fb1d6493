"""From a worker to another by the real rsync, over loopback: copies, changes and ends in the middle."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nile.agent.worker import meeting, pushing, receiving
from nile.agent.worker.loop import Loop
from nile.agent.worker.running import Ending
from tests.agent.worker.copying import (
    LONGEST_S,
    NAME,
    SECRET,
    Pair,
    a_loop,
    contents,
    copy,
    installed,
    litter,
    tree,
    well,
)

BIG = 6_000_000  # bytes: more than all the buffers between two rsyncs


@pytest.fixture(autouse=True)
def every_move_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "PROGRESS_S", 0.0)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


def files(root: Path, named: dict[str, bytes]) -> Path:
    """A directory with these files, all of one old time."""
    for name, content in named.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(10**18, 10**18))
    return root


ODD = [b"new\nline", b"\xff\xfe not UTF-8", b"-rf", b"a:b", b"two  words", b"'\"$(x)`*?[", b".hidden"]


def everything(root: Path) -> Path:
    """A tree with one of each."""
    files(root, {"d/e/f": b"deep", "plain": b"1", "big": os.urandom(300_000), "empty": b""})
    for name in ODD:
        (root / "d" / os.fsdecode(name)).write_bytes(name)
    (root / "link").symlink_to("d/nowhere")
    os.link(root / "plain", root / "d" / "other name")
    os.mkfifo(root / "fifo")
    (root / "closed").mkdir()
    (root / "plain").chmod(0o4751)
    (root / "closed").chmod(0o500)
    os.setxattr(root / "big", "user.nile", b"\0value")
    with (root / "sparse").open("wb") as file:
        file.truncate(50_000_000)
        file.seek(30_000_000)
        file.write(b"here")
    if os.geteuid() == 0:
        os.chown(root / "big", 1234, 5678)
        os.chown(root / "link", 4321, 8765, follow_symlinks=False)
    os.utime(root / "d", ns=(10**18, 10**18 + 123_456_789))
    os.utime(root, ns=(10**18, 10**18 + 7))
    return root


def same(source: Path, dest: Path) -> None:
    """Equal, and nothing of ours is there."""
    assert litter(dest) == []
    assert tree(dest) == tree(source)


FULLY = {"hard_links": True, "xattrs": True, "sparse": True, "delete": True}


# Copies


def test_everything_is_copied_and_then_only_what_changed(tmp_path: Path) -> None:
    source, dest = everything(tmp_path / "src"), tmp_path / "at" / "dest"
    well(copy(f"{source}/", dest, **FULLY))
    same(source, dest)
    assert (dest / "sparse").stat().st_blocks * 512 < 1_000_000
    with (source / "big").open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    (source / "plain").unlink()
    sent, got = copy(f"{source}/", dest, **FULLY)
    well((sent, got))
    same(source, dest)
    assert 500 < sent.sent < 30_000, "a delta"
    assert 0 < sent.received < 10_000


def test_nothing_is_sent_of_what_is_there(tmp_path: Path) -> None:
    source, dest = everything(tmp_path / "src"), tmp_path / "dest"
    well(copy(f"{source}/", dest, **FULLY))
    sent, got = copy(f"{source}/", dest, **FULLY)
    well((sent, got))
    assert sent.sent < 2000
    same(source, dest)


def test_a_change_within_the_second_and_of_the_same_size_is_seen(tmp_path: Path) -> None:
    source, dest = files(tmp_path / "src", {"a": b"old"}), tmp_path / "dest"
    well(copy(f"{source}/", dest))
    (source / "a").write_bytes(b"new")
    os.utime(source / "a", ns=(10**18, 10**18 + 1))
    well(copy(f"{source}/", dest))
    assert contents(dest) == {"a": b"new"}


def test_whole_files_are_sent_if_asked_for(tmp_path: Path) -> None:
    source, dest = files(tmp_path / "src", {"a": os.urandom(500_000)}), tmp_path / "dest"
    well(copy(f"{source}/", dest))
    (source / "a").write_bytes(b"x" + (source / "a").read_bytes())
    sent, got = copy(f"{source}/", dest, whole=True)
    well((sent, got))
    assert sent.sent > 500_000
    same(source, dest)


def test_several_sources_and_the_trailing_slash(tmp_path: Path, loop: Loop) -> None:
    one = files(tmp_path / "-o:ne two", {"a": b"1"})
    two = files(tmp_path / "tw'o", {"b": b"2"})
    well(Pair(loop, tmp_path / "de st:").run(str(one), f"{two}/"))
    assert contents(tmp_path / "de st:") == {"-o:ne two/a": b"1", "b": b"2"}


def test_only_delete_deletes_and_not_what_is_excluded(tmp_path: Path) -> None:
    source = files(tmp_path / "src", {"a": b"1", "skip/it": b"1", "n\nl": b"1", "\udcff": b"1"})
    dest = files(tmp_path / "dest", {"gone/a": b"1", "mine": b"1", "skip/old": b"1"})
    well(copy(f"{source}/", dest, excludes=[b"skip", b"n\nl", b"\xff", b"mine"]))
    kept = {"a": b"1", "gone/a": b"1", "mine": b"1", "skip/old": b"1"}
    assert contents(dest) == kept
    well(copy(f"{source}/", dest, excludes=[b"skip", b"n\nl", b"\xff", b"mine"], delete=True))
    assert contents(dest) == {"a": b"1", "mine": b"1", "skip/old": b"1"}


def test_what_is_ours_is_protected_whatever_is_excluded(tmp_path: Path) -> None:
    ours = os.fsdecode(NAME)
    named = {"a": b"1", f"{ours}/theirs": b"1", "b/c": b"1", f"b/{ours}/theirs": b"1"}
    source = files(tmp_path / "src", named)
    for at, excludes in enumerate([[b"a", b"!", b"+ *"], [b"+ *"], [b"!"]]):
        dest = files(tmp_path / f"dest{at}", {"gone": b"1"})
        well(copy(f"{source}/", dest, excludes=excludes, delete=True))
        assert contents(dest) == {"a": b"1", "b/c": b"1"}


def test_contents_are_compared_if_asked_for(tmp_path: Path) -> None:
    source, dest = files(tmp_path / "src", {"a": b"new"}), files(tmp_path / "dest", {"a": b"old"})
    well(copy(f"{source}/", dest))
    assert contents(dest) == {"a": b"old"}
    well(copy(f"{source}/", dest, checksum=True))
    assert contents(dest) == {"a": b"new"}


@pytest.mark.cluster
def test_owners_are_given(tmp_path: Path) -> None:
    source, dest = files(tmp_path / "src", {"a": b"1"}), tmp_path / "dest"
    well(copy(f"{source}/", dest, chown="1234:4321", numeric_ids=True))
    about = (dest / "a").stat()
    assert (about.st_uid, about.st_gid) == (1234, 4321)


def test_what_is_limited_takes_its_time(tmp_path: Path, loop: Loop) -> None:
    source = files(tmp_path / "src", {"a": os.urandom(300_000)})
    began = loop.now()
    well(Pair(loop, tmp_path / "dest", bwlimit=300).run(f"{source}/"))
    assert loop.now() - began > 0.5


# The source changes while it is read

CHANGES: dict[str, Callable[[Path], object]] = {
    "before": lambda source: (source / "a").write_bytes(b"changed"),
    "in the middle": lambda source: (source / "big").write_bytes(os.urandom(BIG)),
    "after": lambda source: (source / "z").write_bytes(b"changed"),
    "gone": lambda source: (source / "z").unlink(),
    "new": lambda source: (source / "y").write_bytes(b"new"),
    "shorter": lambda source: os.truncate(source / "big", BIG // 2),
}


def look(source: Path) -> Callable[[], list[bytes]]:
    """A gate: what isn't as it was when this was called."""

    def seen() -> dict[bytes, tuple[int, int, int]]:
        abouts = {os.fsencode(path.name): path.stat() for path in source.iterdir()}
        return {name: (about.st_ino, about.st_size, about.st_ctime_ns) for name, about in abouts.items()}

    before = seen()

    def gate() -> list[bytes]:
        now = seen()
        return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))

    return gate


def old_and_new(tmp_path: Path) -> tuple[Path, Path]:
    """A source, and a destination with older files and one that is to go."""
    big = os.urandom(BIG)
    source = files(tmp_path / "src", {"a": b"new", "big": big, "fresh": b"1", "z": b"new"})
    named = {"a": b"older", "big": big[: BIG // 2] + os.urandom(9), "gone": b"1", "z": b"older"}
    return source, files(tmp_path / "dest", named)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("moment", [300, BIG // 3])
def test_a_source_that_changes_changes_nothing(
    tmp_path: Path, loop: Loop, change: Callable[[Path], object], moment: int
) -> None:
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    gate = look(source)
    pair = Pair(loop, dest, delete=True, whole=True)
    pair.after(moment, lambda: (change(source), None)[1])
    sent, got = pair.run(f"{source}/", gate=gate)
    assert sent.code == "source-changed"
    assert sent.names == gate() != []
    assert sent.retry is False
    assert got.code != ""
    assert contents(dest) == before
    assert litter(dest) == []


def test_the_last_look_is_after_the_last_byte_and_before_the_first_name(tmp_path: Path, loop: Loop) -> None:
    """Even so late a change is noticed; and it is one look."""
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    looks = []
    pair = Pair(loop, dest, delete=True, whole=True)
    gate = look(source)

    def last() -> list[bytes]:
        assert pair.push is not None
        looks.append((contents(dest), pair.push._out.moved))
        (source / "a").write_bytes(b"changed")
        return gate()

    sent, _ = pair.run(f"{source}/", gate=last)
    assert (sent.code, sent.names) == ("source-changed", [b"a"])
    assert len(looks) == 1
    assert {k: v for k, v in looks[0][0].items() if not k.startswith(os.fsdecode(NAME))} == before
    assert looks[0][1] > BIG
    assert contents(dest) == before


def test_what_is_printed_is_looked_at_before_a_byte_passes(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if nobody is told that there is something."""
    monkeypatch.setattr(pushing.Push, "_printed", lambda self, _: None)
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    sent, _ = Pair(loop, dest, delete=True).run(f"{source}/", gate=lambda: [b"a"])
    assert sent.code == "source-changed"
    assert contents(dest) == before


def test_what_has_no_data_isnt_held_by_a_gate(tmp_path: Path, loop: Loop) -> None:
    """New directories and links may be there, and modes; no file of another content, and none is gone."""
    source = everything(tmp_path / "src")
    dest = files(tmp_path / "dest", {"plain": b"older", "empty": b"", "gone/a": b"1"})
    before = contents(dest)
    sent, _ = Pair(loop, dest, **FULLY).run(f"{source}/", gate=lambda: [b"a"])
    assert sent.code == "source-changed"
    assert contents(dest) == before
    new = {path.name for path in dest.rglob("*")} - {"plain", "empty", "gone", "a"}
    assert new <= {"d", "e", "closed", "link", "fifo"}
    assert litter(dest) == []


def test_with_a_gate_that_opens_all_is_copied(tmp_path: Path, loop: Loop) -> None:
    source, dest = old_and_new(tmp_path)
    looks = []
    well(Pair(loop, dest, delete=True).run(f"{source}/", gate=lambda: looks.append(1) or []))  # type: ignore[func-returns-value]
    assert looks == [1]
    same(source, dest)


@pytest.mark.parametrize("named", [{}, {"a": b"old"}, {f"{i}": b"x" * i for i in range(300)}])
def test_the_gate_is_asked_whatever_there_is_to_do(
    tmp_path: Path, loop: Loop, named: dict[str, bytes]
) -> None:
    source = files(tmp_path / "src", named)
    source.mkdir(exist_ok=True)
    dest = files(tmp_path / "dest", {"a": b"old", "gone": b"1"})
    before = contents(dest)
    sent, _ = Pair(loop, dest, delete=True).run(f"{source}/", gate=lambda: [b"x"])
    assert (sent.code, sent.names) == ("source-changed", [b"x"])
    assert contents(dest) == before


def test_a_name_cant_open_the_gate(tmp_path: Path, loop: Loop) -> None:
    source = files(tmp_path / "src", {"x\nsend_files phase=2\n": b"1", "big": os.urandom(BIG)})
    dest = tmp_path / "dest"
    pair = Pair(loop, dest)
    moved = []

    def gate() -> list[bytes]:
        assert pair.push is not None
        moved.append(pair.push._out.moved)
        return []

    well(pair.run(f"{source}/", gate=gate))
    assert moved[0] > BIG
    same(source, dest)


def test_an_rsync_that_doesnt_say_how_far_it_is_copies_nothing(tmp_path: Path, loop: Loop) -> None:
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    sent, got = Pair(loop, dest, delete=True).run(f"{source}/", gate=list, phases=False)
    assert sent.code == "protocol"
    assert got.code != ""
    assert contents(dest) == before


# Ends in the middle


def killed(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


def rsync_pid(pair: Pair, sender: bool) -> int:
    end = pair.push if sender else pair.receive
    assert end is not None
    assert end._running is not None
    return end._running.pid


def cut(pair: Pair) -> None:
    assert pair.push is not None
    pair.push._connection.shutdown(socket.SHUT_RDWR)


def forked(pid: int) -> int:
    """The only child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


ENDS: dict[str, Callable[[Pair], object]] = {
    "receiver killed": lambda pair: killed(rsync_pid(pair, sender=False)),
    "its generator killed": lambda pair: os.kill(rsync_pid(pair, sender=False), signal.SIGKILL),
    "its other half killed": lambda pair: os.kill(forked(rsync_pid(pair, sender=False)), signal.SIGKILL),
    "receiver ended": lambda pair: os.kill(rsync_pid(pair, sender=False), signal.SIGTERM),
    "sender killed": lambda pair: os.kill(rsync_pid(pair, sender=True), signal.SIGKILL),
    "connection cut": cut,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("moment", [100_000, BIG // 2, BIG * 9 // 10])
def test_an_end_in_the_middle_leaves_all_as_it_was(
    tmp_path: Path, loop: Loop, end: Callable[[Pair], object], moment: int
) -> None:
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    pair = Pair(loop, dest, delete=True, whole=True)
    pair.after(moment, lambda: (end(pair), None)[1])
    for ending in pair.run(f"{source}/"):
        assert ending.code in ("broken", "killed"), ending.fields()
        assert ending.retry
    assert contents(dest) == before
    assert litter(dest) == []


def ended_among_the_renames(source: Path, dest: Path) -> set[bool]:
    """Kill the receiver as soon as the first file has its new content; are others still old, and which?"""
    named = contents(source)
    files(dest, dict.fromkeys(named, b"older"))
    with a_loop() as loop:
        pair = Pair(loop, dest)

        def watch() -> None:
            if (dest / "0/0").stat().st_size == 5:
                loop.at(loop.now() + 0.001, watch)
            else:
                killed(rsync_pid(pair, sender=False))

        def gate() -> list[bytes]:
            # So that we see it in time on a busy machine, too.
            os.setpriority(os.PRIO_PGRP, rsync_pid(pair, sender=False), 19)
            watch()
            return []

        pair.run(f"{source}/", gate=gate)
    found = contents(dest)
    assert found.keys() == named.keys()
    assert [name for name in found if found[name] not in (named[name], b"older")] == []
    assert litter(dest) == []
    return {content == b"older" for content in found.values()}


def test_an_end_among_the_renames_leaves_whole_files(tmp_path: Path) -> None:
    source = files(tmp_path / "src", {f"{i % 9}/{i}": f"{i}".encode() * 500 for i in range(4000)})
    # It may be through before it is killed: then once more.
    assert any(ended_among_the_renames(source, tmp_path / str(i)) == {True, False} for i in range(10))


def test_what_came_before_the_end_is_used_by_another_attempt(tmp_path: Path) -> None:
    source, dest = old_and_new(tmp_path)
    (dest / "big").unlink()
    before = contents(dest)
    with a_loop() as loop:
        pair = Pair(loop, dest, keep=True, delete=True, whole=True)
        pair.after(BIG * 9 // 10, lambda: cut(pair))
        pair.run(f"{source}/")
        assert pair.receive.kept
    kept = [path for path in litter(dest) if path.is_file() or path.name != os.fsdecode(NAME)]
    assert kept == []
    assert {k: v for k, v in contents(dest).items() if not k.startswith(".nile")} == before
    sent, got = copy(f"{source}/", dest, keep=True, delete=True)
    well((sent, got))
    assert sent.sent < BIG // 2
    same(source, dest)


def test_sweeping_removes_only_what_is_ours(tmp_path: Path) -> None:
    ours = os.fsdecode(NAME)
    root = files(
        tmp_path / "d", {f"{ours}/{ours}/x": b"1", f"a/b/{ours}/y": b"1", "a/b/c": b"1", f"{ours}x": b"1"}
    )
    files(tmp_path / "else", {f"{ours}/x": b"1"})
    (root / "away").symlink_to(tmp_path / "else")
    (root / "a" / ours).symlink_to(tmp_path / "else")
    for path in (root, root / "a/b"):
        os.utime(path, ns=(5, 5))
    receiving.sweep(os.fsencode(root), NAME)
    assert contents(root) == {"a/b/c": b"1", f"{ours}x": b"1"}
    assert contents(tmp_path / "else") == {f"{ours}/x": b"1"}
    assert [path.stat().st_mtime_ns for path in (root, root / "a/b")] == [5, 5]
    receiving.sweep(os.fsencode(root / "nowhere"), NAME)


@pytest.mark.cluster
def test_an_owner_writes_to_a_directory_that_is_read_only(tmp_path: Path) -> None:
    """Not root, whom no mode keeps out."""
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 65534, 65534)
    place.chmod(0o555)
    for path in (tmp_path, *tmp_path.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(path.stat().st_mode | 0o011)
    program = (
        "import os, sys\nsys.path.insert(0, sys.argv[1])\nfrom nile.agent.worker import receiving as r\n"
        "os.setuid(65534)\nplace, name = map(os.fsencode, sys.argv[2:])\nbefore = os.stat(place)\n"
        "assert r.prepare(place, name)\nassert os.path.isdir(os.path.join(place, name, name))\n"
        "r.sweep(place, name)\nafter = os.stat(place)\nassert os.listdir(place) == []\n"
        "assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)\n"
    )
    root = Path(__file__).parents[3]
    argv = [sys.executable, "-c", program, str(root), str(place), os.fsdecode(NAME)]
    subprocess.run(argv, check=True, timeout=20)
    assert stat.S_IMODE(place.stat().st_mode) == 0o555


@pytest.mark.parametrize("sender", [True, False])
def test_what_is_told_to_stop_stops(tmp_path: Path, loop: Loop, sender: bool) -> None:
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    pair = Pair(loop, dest, delete=True, whole=True)

    def stop() -> None:
        end = pair.push if sender else pair.receive
        assert end is not None
        end.stop()
        end.stop()

    pair.after(BIG // 2, stop)
    sent, got = pair.run(f"{source}/")
    assert (sent if sender else got).code == "stopped"
    assert contents(dest) == before
    assert litter(dest) == []


@pytest.mark.parametrize("sender", [True, False])
@pytest.mark.parametrize("delay_ms", [0, 1, 5, 10, 20, 30, 40, 60])
def test_what_has_just_begun_stops_too(tmp_path: Path, loop: Loop, sender: bool, delay_ms: int) -> None:
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    pair = Pair(loop, dest, bwlimit=1000)

    def stop() -> None:
        end = pair.push if sender else pair.receive
        assert end is not None
        end.stop()

    pair.begun = lambda: loop.at(loop.now() + delay_ms / 1000, stop) if delay_ms else stop()
    sent, got = pair.run(f"{source}/")
    assert (sent if sender else got).code == "stopped"
    assert contents(dest) == before


def test_what_stops_hears_no_helper_any_more(tmp_path: Path, loop: Loop) -> None:
    source, dest = old_and_new(tmp_path)
    pair = Pair(loop, dest)

    def stop() -> None:
        assert pair.push is not None
        assert select.select([pair.push._helper], [], [], LONGEST_S)[0]
        pair.push.stop()

    pair.begun = stop
    sent, got = pair.run(f"{source}/")
    assert (sent.code, got.code) == ("stopped", "broken")


def children() -> set[str]:
    """Processes of ours, and those of them that wait to be buried."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_no_descriptor_and_no_process_is_left(tmp_path: Path) -> None:
    source, dest = old_and_new(tmp_path)
    before, families = set(Path("/proc/self/fd").iterdir()), children()
    for end in [None, *ENDS.values()]:
        with a_loop() as loop:
            pair = Pair(loop, dest, whole=True)
            pair.after(BIG // 2, lambda pair=pair, end=end: end and end(pair))  # type: ignore[misc]
            pair.run(f"{source}/")
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert children() == families


def test_each_end_is_passed_on_by_itself(tmp_path: Path, loop: Loop) -> None:
    """The sender's bytes end, and the answer comes after that; by pipes, where rsync has no sockets."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    words = [*pushing.helper(), "nile", "rsync", "--server", ".", "/d"]
    script = f'printf hello | "$@" | cat > {tmp_path}/answer'
    heard = []
    said: list[Ending] = []

    def listen(_: int) -> None:
        heard.append(theirs.recv(1000))
        if not heard[-1]:
            loop.unwatch(theirs.fileno())
            theirs.send(b"x" * 100_000)
            theirs.close()

    def done(ending: Ending) -> None:
        said.append(ending)
        loop.stop()

    loop.watch(theirs.fileno(), select.POLLIN, listen)
    pushing.Push(loop, ["/bin/sh", "-c", script, "sh", *words], ours, done)
    loop.run()
    assert b"".join(heard) == framed(b"rsync", b"--server", b".", b"/d") + b"hello"
    assert (tmp_path / "answer").read_bytes() == b"x" * 100_000
    assert (said[0].code, said[0].sent, said[0].received) == ("", len(b"".join(heard)), 100_000)


# A peer that stands still, or asks for what it mustn't


def test_a_sender_that_stands_still_is_given_up(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "LEAVE_S", 0.1)
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    pair = Pair(loop, dest, whole=True, stall_s=1)
    pair.after(BIG // 2, lambda: os.kill(rsync_pid(pair, sender=True), signal.SIGSTOP))
    sent, got = pair.run(f"{source}/")
    assert (got.code, got.status, got.retry) == ("timeout", 30, True)
    assert sent.code == "killed"
    assert contents(dest) == before
    assert litter(dest) == []


def test_a_receiver_that_stands_still_is_given_up(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "LEAVE_S", 0.1)
    source, dest = old_and_new(tmp_path)
    before = contents(dest)
    pair = Pair(loop, dest, whole=True, stall_s=1)
    pair.after(BIG // 2, lambda: os.killpg(rsync_pid(pair, sender=False), signal.SIGSTOP))
    sent, got = pair.run(f"{source}/")
    assert (sent.code, sent.retry) == ("timeout", True)
    assert got.code == "killed"
    assert contents(dest) == before


def asked(loop: Loop, dest: Path, words: bytes) -> Ending:
    """What becomes of a sender that says just this."""
    said: list[Ending] = []
    talk: list[socket.socket] = []

    def done(ending: Ending) -> None:
        said.append(ending)
        loop.stop()

    receive = receiving.Receive(
        loop, installed(), os.fsencode(dest), NAME, "127.0.0.1", SECRET, loop.now() + LONGEST_S, done
    )

    def met(connection: socket.socket | None, code: str, reason: str) -> None:
        assert connection is not None, reason
        talk.append(connection)
        connection.send(words)

    meeting.Dial(loop, "127.0.0.1", receive.port, SECRET, loop.now() + LONGEST_S, met)
    loop.run()
    talk[0].setblocking(True)
    assert talk[0].recv(100) == b"", "the receiver hung up"
    talk[0].close()
    return said[0]


def framed(*words: bytes) -> bytes:
    line = b"\0".join(words)
    return struct.pack("!I", len(line)) + line


@pytest.fixture
def soon_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "LINGER_S", 0.1)


@pytest.mark.usefixtures("soon_gone")
@pytest.mark.parametrize(
    "words",
    [
        framed(b"sh", b"-c", b"touch %s/x"),
        framed(b"rsync", b"--server", b"--sender", b"-logDtpr", b".", b"/"),
        struct.pack("!I", 2**31),
        struct.pack("!I", 0),
    ],
)
def test_what_isnt_a_push_to_here_is_refused(tmp_path: Path, loop: Loop, words: bytes) -> None:
    ending = asked(loop, tmp_path / "dest", words)
    assert (ending.code, ending.retry) == ("refused", False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("soon_gone")
def test_a_sender_that_asks_for_nothing_is_given_up(
    tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "ASKING_S", 0.1)
    ending = asked(loop, tmp_path / "dest", framed(b"rsync", b"--server")[:-1])
    assert (ending.code, ending.retry) == ("timeout", True)


def test_nobody_comes(tmp_path: Path, loop: Loop) -> None:
    said = []

    def done(ending: Ending) -> None:
        said.append(ending)
        loop.stop()

    receiving.Receive(loop, installed(), b"/nowhere", NAME, "127.0.0.1", SECRET, loop.now() + 0.05, done)
    loop.run()
    assert [ending.code for ending in said] == ["timeout"]


def test_an_rsync_that_isnt_there(tmp_path: Path, loop: Loop) -> None:
    source, dest = files(tmp_path / "src", {"a": b"1"}), tmp_path / "dest"
    pair = Pair(loop, dest)
    pair.rsync.path = str(tmp_path / "rsync")
    sent, got = pair.run(f"{source}/")
    assert (sent.code, got.code) == ("no-rsync", "broken")


# Places that can't be written


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.cluster
def test_a_full_disk_is_called_so(tmp_path: Path, small: Path, loop: Loop) -> None:
    source = files(tmp_path / "src", {"a": b"new", "big": os.urandom(BIG), "fresh": b"1"})
    dest = files(small / "dest", {"a": b"older", "gone": b"1"})
    before = contents(dest)
    sent, got = Pair(loop, dest, delete=True).run(f"{source}/")
    assert (got.code, got.retry, sent.status) == ("disk-full", False, 11), (sent.fields(), got.fields())
    assert any(name.startswith(os.fsencode(dest)) for name in got.names)
    assert "No space left" in got.words
    assert contents(dest) == before
    assert litter(dest) == []


@pytest.mark.cluster
def test_a_disk_that_is_full_with_what_was_kept_may_not_be_without(
    tmp_path: Path, small: Path, loop: Loop
) -> None:
    source = files(tmp_path / "src", {"big": os.urandom(700_000)})
    dest = files(small / "dest", {f"{os.fsdecode(NAME)}/other": bytes(600_000)})
    pair = Pair(loop, dest, keep=True)
    _, got = pair.run(f"{source}/")
    assert (got.code, got.retry, pair.receive.kept) == ("disk-full", True, False)
    assert litter(dest) == []
    well(copy(f"{source}/", dest, keep=True))
    same(source, dest)


@pytest.mark.cluster
def test_a_read_only_destination_is_called_so(tmp_path: Path, small: Path, loop: Loop) -> None:
    source, dest = files(tmp_path / "src", {"a": b"new"}), files(small / "dest", {"a": b"older"})
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    _, got = Pair(loop, dest).run(f"{source}/")
    assert (got.code, got.retry) == ("not-writable", False)
    assert "Read-only" in got.reason
    assert contents(dest) == {"a": b"older"}


def test_a_destination_that_is_a_file(tmp_path: Path, loop: Loop) -> None:
    source = files(tmp_path / "src", {"a": b"1"})
    dest = tmp_path / "dest"
    dest.write_bytes(b"mine")
    _, got = Pair(loop, dest).run(f"{source}/")
    assert got.code == "not-writable"
    assert dest.read_bytes() == b"mine"


def test_a_source_that_isnt_there_is_named(tmp_path: Path, loop: Loop) -> None:
    sent, got = Pair(loop, tmp_path / "dest", delete=True).run(f"{tmp_path}/no\nwhere/")
    assert (sent.code, sent.status) == ("partial", 23)
    assert os.fsencode(tmp_path / "no\nwhere") in sent.names
    assert got.code in ("", "partial")
