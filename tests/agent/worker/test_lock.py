"""One run at a time on one directory: between real processes, of several users."""

from __future__ import annotations

import fcntl
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import nile
from nile.agent.worker import durable
from nile.agent.worker import lock as locks
from nile.agent.worker.lock import Busy, Lock, in_use
from nile.agent.worker.place import Place

HOLDER = """
import os, sys
from nile.agent.worker.lock import Lock
uid = int(sys.argv[2])
if uid != os.geteuid():
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
lock = Lock(os.fsencode(sys.argv[1]))
print(lock.acquire(), lock.held, flush=True)
sys.stdin.read()
"""


@contextmanager
def held(dest: Path, uid: int, run: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock, until the end of the block."""
    package = str(Path(nile.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(dest), str(uid)],
        env={**os.environ, "NILE_RUN": run, "PYTHONPATH": package},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "None True\n"
            yield process
        finally:
            process.kill()


def test_a_lock_is_taken_and_given_back(tmp_path: Path) -> None:
    one, other = Lock(os.fsencode(tmp_path)), Lock(os.fsencode(tmp_path))
    assert one.acquire() is None
    assert one.held
    busy = other.acquire()
    assert busy is not None
    assert busy.pid == os.getpid()
    assert not other.held
    one.release()
    one.release()
    assert other.acquire() is None
    other.release()


def test_who_has_it_and_since_when(open_path: Path) -> None:
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    began = time.time()
    with held(open_path, uid, "r-42") as process:
        busy = Lock(os.fsencode(open_path)).acquire()
    assert busy is not None
    assert busy == Busy(pwd.getpwuid(uid).pw_name, busy.since, process.pid, "r-42")
    assert busy.since is not None
    assert began - 2 <= busy.since <= time.time() + 2


def test_a_host_that_shares_its_files_with_another_one_of_the_run_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(run: str) -> str:
        monkeypatch.setenv("NILE_RUN", run)
        place = Place(os.fsencode(tmp_path), b".nile-sync-r", write=True)
        busy = place.take()
        place.abandon()
        assert busy is not None
        return ": ".join(busy)

    with held(tmp_path, os.geteuid(), "r-42"):
        assert "the two have these files in common: name one of them alone" in told("r-42")
        assert "another run writes there of" in told("r-43")
        assert told("r-43").endswith("(run r-42): wait until it has ended, or stop it")


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    with held(tmp_path, os.geteuid(), "r") as process:
        assert in_use(os.fsencode(tmp_path))
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        assert not in_use(os.fsencode(tmp_path))
        lock = Lock(os.fsencode(tmp_path))
        assert lock.acquire() is None
        lock.release()


def test_a_command_that_is_started_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    lock = Lock(os.fsencode(tmp_path))
    assert lock.acquire() is None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        assert not in_use(os.fsencode(tmp_path))
        child.kill()


def test_where_proc_does_not_tell_it_is_somebody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_read", lambda _path: b"")
    one = Lock(os.fsencode(tmp_path))
    assert one.acquire() is None
    assert Lock(os.fsencode(tmp_path)).acquire() == Busy()
    one.release()


def test_a_lock_that_is_gone_at_once_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Lock(os.fsencode(tmp_path))
    assert other.acquire() is None
    monkeypatch.setattr(locks, "_holding", lambda _seen: other.release())
    lock = Lock(os.fsencode(tmp_path))
    assert lock.acquire() is None
    lock.release()


def test_a_directory_that_was_replaced_meanwhile_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    flock = locks._try
    swaps = iter([True, False])

    def swapped(fd: int, how: int = fcntl.LOCK_EX) -> bool:
        if next(swaps):
            dest.rename(tmp_path / "old")
            dest.mkdir()
        return flock(fd, how)

    monkeypatch.setattr(locks, "_try", swapped)
    lock = Lock(os.fsencode(dest))
    assert lock.acquire() is None
    monkeypatch.undo()
    assert in_use(os.fsencode(dest))
    assert not in_use(os.fsencode(tmp_path / "old"))
    lock.release()


def test_the_lock_of_another_file_system_with_the_same_inode_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path.stat()
    device = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}"
    lines = [
        f"1: POSIX  ADVISORY  WRITE 11 {device}:{seen.st_ino} 0 EOF",
        f"2: FLOCK  ADVISORY  WRITE 12 ff:ff:{seen.st_ino} 0 EOF",
        f"3: FLOCK  ADVISORY  WRITE 13 {device}:{seen.st_ino}7 0 EOF",
        f"4: FLOCK  ADVISORY  WRITE 14 {device}:{seen.st_ino} 0 EOF",
        f"4: -> FLOCK  ADVISORY  WRITE 15 {device}:{seen.st_ino} 0 EOF",
    ]
    monkeypatch.setattr(locks, "_read", lambda _path: "\n".join(lines).encode())
    assert locks._holding(seen) == 14
    del lines[3]
    assert locks._holding(seen) == 12  # btrfs and its kind show another device here than stat does
    lines.append(f"5: FLOCK  ADVISORY  WRITE 16 fe:fe:{seen.st_ino} 0 EOF")
    assert locks._holding(seen) is None


def test_what_is_no_directory_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "missing"):
        with pytest.raises(OSError, match=r"Not a directory|No such file"):
            Lock(os.fsencode(tmp_path / name)).acquire()
        assert not in_use(os.fsencode(tmp_path / name))


@contextmanager
def forked(child: Callable[[], None]) -> Iterator[int]:
    """A child that does this, for as long as the block lasts."""
    pid = os.fork()
    if not pid:
        try:
            child()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_given_back_it_is_free_whatever_children_there_are(tmp_path: Path) -> None:
    one, other = Lock(os.fsencode(tmp_path)), Lock(os.fsencode(tmp_path))
    one.acquire()
    with forked(signal.pause):
        one.release()
        assert other.acquire() is None
    other.release()


def test_what_brings_a_release_to_the_disk_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that writes for long can't be interrupted: the worker goes on, and may be killed meanwhile."""
    monkeypatch.setattr(os, "sync", signal.pause)
    monkeypatch.setattr(durable, "SYNC_S", 0.0)
    fork, children = os.fork, []

    def note() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", note)
    lock = Lock(os.fsencode(tmp_path))
    lock.acquire()
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        durable.to_disk()
        latest = time.monotonic() + 10.0
        opened = Path(f"/proc/{children[0]}/fd")
        while list(opened.iterdir()) and time.monotonic() < latest:
            time.sleep(0.01)
        assert list(opened.iterdir()) == []
        os.kill(children[0], signal.SIGTERM)
        assert os.waitpid(children[0], 0)[1] == signal.SIGTERM, "it did what the worker does then"
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(children[0], signal.SIGKILL)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        lock.release()


def test_a_child_that_cannot_bring_it_to_the_disk_does_nothing_else() -> None:
    script = (
        "import os, sys\n"
        "from nile.agent.worker import durable\n"
        "def sync(): raise OSError(5, 'Input/output error')\n"
        "os.sync, closing = sync, os.closerange\n"
        "os.closerange = lambda *_: closing(3, 1000)\n"  # else it couldn't say anything anyway
        "durable.to_disk()\n"
        "print('on')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        cwd=Path(nile.__file__).parents[1],
    )
    assert (done.stdout, done.stderr) == ("on\n", "")
