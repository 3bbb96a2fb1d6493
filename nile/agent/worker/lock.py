"""One run at a time on one directory of a host, across users.

The lock is on the directory itself, so it needs no file of its own, and it
goes with the process that has it. Who has it is looked up in /proc; where that
doesn't say, it is somebody.
"""

import errno
import fcntl
import os
import pwd
import time

from nile.agent.worker.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

_TRIES = 10
_PAUSE_S = 0.01


class Busy(NamedTuple):
    """Who has a lock, as far as this host tells: a user's name, Unix time in seconds, a process, a run."""

    user: "Optional[str]" = None
    since: "Optional[float]" = None
    pid: "Optional[int]" = None
    run: "Optional[str]" = None


class Lock:
    """The lock of one directory, held until it is released or this process and its children are gone."""

    def __init__(self, dest: bytes) -> None:
        self.dest = dest
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether it is ours."""
        return self._fd >= 0

    def acquire(self) -> "Optional[Busy]":
        """Take it, or say who has it; raises OSError where the directory can't be opened or locked."""
        for attempt in range(_TRIES):
            fd = os.open(self.dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                taken = _try(fd)
                if taken and os.path.samestat(os.fstat(fd), os.stat(self.dest)):
                    self._fd, fd = fd, -1
                    return None
                busy = None if taken else holder(fd)
            finally:
                if fd >= 0:
                    os.close(fd)
            # Another directory has that name by now; or somebody only looked whether there is a lock.
            if busy is not None and (busy.pid is not None or attempt == _TRIES - 1):
                return busy
            time.sleep(_PAUSE_S)
        raise OSError(errno.ESTALE, "the directory is replaced again and again")

    def release(self) -> None:
        """Give it back; nothing happens if it isn't ours."""
        if self.held:
            fcntl.flock(self._fd, fcntl.LOCK_UN)  # a child may have it open still
            os.close(self._fd)
            self._fd = -1


def in_use(place: bytes) -> bool:
    """Whether somebody holds the lock of this directory; one that can't be opened has none."""
    try:
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try(fd, fcntl.LOCK_SH)
    except OSError:
        return False
    finally:
        os.close(fd)


def _try(fd: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder(fd: int) -> Busy:
    """Who has a lock on what this descriptor has open."""
    pid = _holding(os.fstat(fd))
    if pid is None:
        return Busy()
    return Busy(_user(pid), _since(pid), pid, _run(pid))


def _holding(seen: os.stat_result) -> "Optional[int]":
    """The process that /proc/locks names; a line is `1: FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF`.

    The numbers of the device are hexadecimal; some file systems show others here than stat does.
    """
    own: "List[int]" = []
    alike: "List[int]" = []
    for line in _read("/proc/locks").splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] != b"FLOCK":
            continue  # of another kind, or one that waits (`1: -> FLOCK ...`)
        major, minor, inode = fields[5].split(b":")
        if int(inode) == seen.st_ino and int(fields[4]) > 0:
            same = os.makedev(int(major, 16), int(minor, 16)) == seen.st_dev
            (own if same else alike).append(int(fields[4]))
    if own:
        return own[0]
    return alike[0] if len(alike) == 1 else None


def _user(pid: int) -> "Optional[str]":
    for line in _read("/proc/%d/status" % pid).splitlines():
        if line.startswith(b"Uid:"):
            uid = int(line.split()[1])
            try:
                return pwd.getpwuid(uid).pw_name
            except KeyError:
                return str(uid)
    return None


def _since(pid: int) -> "Optional[float]":
    """When it started: field 22 of its stat, in ticks since the boot."""
    fields = _read("/proc/%d/stat" % pid).rpartition(b")")[2].split()
    booted = [line for line in _read("/proc/stat").splitlines() if line.startswith(b"btime ")]
    if len(fields) < 20 or not booted:
        return None
    return int(booted[0].split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _run(pid: int) -> "Optional[str]":
    for variable in _read("/proc/%d/environ" % pid).split(b"\0"):
        if variable.startswith(b"NILE_RUN="):
            return variable[9:].decode("utf-8", "backslashreplace")
    return None


def _read(path: str) -> bytes:
    """What a file says; b"" if it doesn't."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
