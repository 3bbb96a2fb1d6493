"""Processes as /proc shows them: who belongs to a lab, and how to be rid of them.

A lab's processes are found without any file of the lab: each bears the mark
`NILE_LAB=<directory>` in the environment it was started with, or descends from
one that does. So `down` needs no pid files, which a crash could leave half
written or stale.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nile.errors import LabError

MARK = "NILE_LAB"


@dataclass(frozen=True, slots=True)
class Process:
    """One process, by the machine's own pid."""

    pid: int
    ppid: int
    name: str
    state: str
    argv: tuple[str, ...] = ()


def read(pid: int) -> Process | None:
    """A process, or None where there is none (any more); zombies are gone too."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace")
    except OSError:
        return None
    head, _, tail = text.rpartition(")")
    state, ppid = tail.split()[:2]
    return None if state in "ZX" else Process(pid, int(ppid), head.partition("(")[2], state)


def argv(pid: int) -> tuple[str, ...]:
    """The words that a process was started with; empty where it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(word.decode(errors="replace") for word in raw.split(b"\0")[:-1])


def table() -> dict[int, Process]:
    """Every living process of the machine."""
    found = (read(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - no Path per process
    return {process.pid: process for process in found if process}


def descendants(roots: Iterable[int], processes: dict[int, Process] | None = None) -> set[int]:
    """Pids of all that descend from `roots`, these left out."""
    processes = table() if processes is None else processes
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.ppid, []).append(process.pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty where it can't be read."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.decode(errors="replace").partition("=") for entry in raw.split(b"\0") if b"=" in entry)
    return {name: value for name, _, value in pairs}


def marked(directory: Path) -> set[int]:
    """Pids of all processes that bear a lab's mark, or descend from one that does."""
    mark = f"{MARK}={directory}".encode()
    processes = table()
    bearers = {pid for pid in processes if mark in _environ_entries(pid)}
    return (bearers | descendants(bearers, processes)) - ourselves(processes)


def ourselves(processes: dict[int, Process] | None = None) -> set[int]:
    """This process and its ancestors, which no clean-up may touch."""
    processes = table() if processes is None else processes
    found = {os.getpid()}
    here = processes.get(os.getpid())
    while here is not None and here.ppid and here.ppid not in found:
        found.add(here.ppid)
        here = processes.get(here.ppid)
    return found


def _environ_entries(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def send(pids: Iterable[int], number: int) -> None:
    """Signal all of them; those that are gone or not ours are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def stop_tree(root: int) -> set[int]:
    """SIGSTOP a process and all its descendants, also those that are just being forked; their pids."""
    send([root], signal.SIGSTOP)
    stopped: set[int] = set()
    while fresh := descendants([root]) - stopped:
        send(fresh, signal.SIGSTOP)
        stopped |= fresh
    return stopped | {root}


def kill_tree(root: int) -> None:
    """SIGKILL a process and all its descendants; stopped first, so that none escapes by forking."""
    pids = stop_tree(root)
    send([root], signal.SIGKILL)
    send(pids, signal.SIGKILL)


MOST_PATIENCE = 6


def kill_all(
    find: Callable[[], set[int]], *, within_s: float = 10.0, thaw: Callable[[], None] = lambda: None
) -> int:
    """SIGKILL whatever `find` finds until it finds nothing; the number of processes killed.

    `thaw` is called after each round: a frozen cgroup (v1) holds its processes
    back even from dying. LabError where none of them died for `within_s`, or
    where they don't end within a few times that: to look for them takes long on
    a machine that is busy.
    """
    killed: set[int] = set()
    before: set[int] = set()
    end, last = 0.0, time.monotonic() + MOST_PATIENCE * within_s
    while pids := find():
        send(pids, signal.SIGKILL)
        thaw()
        killed |= pids
        now = time.monotonic()
        end = min(last, end if before and before <= pids else now + within_s)
        before = pids
        if now > end:
            raise LabError(
                f"can't kill processes of the lab: {sorted(pids)[:10]}",
                remedy="were they started by another user? Run `nile lab down` as that user, or as root.",
            )
        time.sleep(0.01)
    return len(killed)


def in_namespace(kind: str, inode: int) -> Iterator[int]:
    """Pids of all processes in a namespace, `kind` as in /proc/PID/ns."""
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit() and namespace(int(name), kind) == inode:
            yield int(name)


def namespace(pid: int, kind: str) -> int | None:
    """The inode that identifies a process's namespace; None where it can't be seen."""
    try:
        return Path(f"/proc/{pid}/ns/{kind}").stat().st_ino
    except OSError:
        return None


@contextmanager
def hold_namespaces(pids: Iterable[int], kind: str) -> Iterator[set[int]]:
    """Inodes of the namespaces that processes are in, this process's own left out.

    They are held open meanwhile, at a descriptor each: the kernel gives a dead
    namespace's inode to the next one at once, which may be another lab's.
    """
    held: dict[int, int] = {}
    own = namespace(os.getpid(), kind)
    try:
        for pid in pids:
            try:
                descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            inode = os.fstat(descriptor).st_ino
            if inode == own or inode in held:
                os.close(descriptor)
            else:
                held[inode] = descriptor
        yield set(held)
    finally:
        for descriptor in held.values():
            os.close(descriptor)
