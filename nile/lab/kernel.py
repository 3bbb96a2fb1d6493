"""The few Linux calls that Python 3.11 has no names for."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from nile.errors import LabError

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
"""From linux/sched.h."""

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
"""From linux/mount.h."""

PR_SET_CHILD_SUBREAPER = 36
"""From linux/prctl.h."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones; OSError where the kernel refuses."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespace that `fd` (of /proc/PID/ns) refers to; for this thread alone."""
    _check(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); OSError names the target."""
    words = (source.encode(), str(target).encode(), kind.encode() or None, flags, data.encode() or None)
    _check(_libc.mount(*words[:3], ctypes.c_ulong(flags), words[4]), f"mount {target}")


def bind(source: str | Path, target: str | Path) -> None:
    """Show `source` at `target`."""
    mount(str(source), target, flags=MS_BIND)


def tmpfs(target: str | Path, mode: int = 0o755) -> None:
    """An empty memory file system at `target`."""
    mount("lab", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o}")


def start_clocks_anew() -> None:
    """Have the clocks of children begin at 0, as after a boot, time_namespaces(7); nothing where they can't.

    Those clocks are CLOCK_MONOTONIC and CLOCK_BOOTTIME, and what follows from them: /proc/uptime, proc(5).
    """
    try:
        unshare(CLONE_NEWTIME)
        clocks = {"monotonic": time.CLOCK_MONOTONIC, "boottime": time.CLOCK_BOOTTIME}
        offsets = {name: divmod(-time.clock_gettime_ns(clock), 10**9) for name, clock in clocks.items()}
        lines = [f"{name} {seconds} {rest}\n" for name, (seconds, rest) in offsets.items()]
        Path("/proc/self/timens_offsets").write_text("".join(lines))
    except OSError:
        return  # a kernel without them: the host's clocks are the machine's


def become_subreaper() -> None:
    """Inherit orphans among one's descendants instead of leaving them to pid 1."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def enter(pid: int, kinds: dict[str, int]) -> None:
    """Enter some of a process's namespaces: names as in /proc/PID/ns -> CLONE flags."""
    fds = {}
    try:
        for kind in kinds:
            fds[kind] = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
        for kind, flag in kinds.items():
            setns(fds[kind], flag)
    except OSError as error:
        raise LabError(
            f"can't enter the {kind} namespace of process {pid}: {error.strerror}",
            remedy="is the lab up (nile lab status)? Are you root?",
        ) from error
    finally:
        for fd in fds.values():
            os.close(fd)
