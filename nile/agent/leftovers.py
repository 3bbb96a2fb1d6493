"""What a command leaves: its descendants, and files in its scratch; sent as source, seldom needed.

Every descendant of an agent is its command's, but for the ssh clients of a
relay: the agent and the warden above it are subreapers, so what daemonises
stays below them.
"""

import _signal
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Optional, Set, Tuple

_LONGEST_S = 2.0


def descendants(top: int, but: "Iterable[int]" = ()) -> "List[Tuple[int, str]]":
    """Living descendants of `top` as (pid, name), without those in `but` and what is below these."""
    children: "Dict[int, List[Tuple[int, str]]]" = {}
    for pid, name, parent in _all_processes():
        children.setdefault(parent, []).append((pid, name))
    left_out = frozenset(but)
    found: "List[Tuple[int, str]]" = []
    todo = [top]
    while todo:
        for pid, name in children.get(todo.pop(), ()):
            if pid not in left_out:
                found.append((pid, name))
                todo.append(pid)
    return found


def _all_processes() -> "List[Tuple[int, str, int]]":
    """Every process but zombies: (pid, name, parent), from proc(5)."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % entry, "rb") as file:
                stat = file.read()
        except OSError:
            continue
        name = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
        state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
        if state not in (b"Z", b"X"):
            found.append((int(entry), os.fsdecode(name), int(parent)))
    return found


def kill_descendants(top: int, signum: int, but: "Iterable[int]" = ()) -> None:
    """Signal every descendant. Before a SIGKILL all are stopped, so that none forks away."""
    if signum == _signal.SIGKILL:
        _stop_all(top, but)
    for pid, _ in descendants(top, but):
        kill(pid, signum)
        if signum != _signal.SIGKILL:
            kill(pid, _signal.SIGCONT)  # a stopped process would not see it


def _stop_all(top: int, but: "Iterable[int]") -> None:
    stopped: "set[int]" = set()
    for _ in range(200):
        running = [pid for pid, _ in descendants(top, but) if pid not in stopped]
        if not running:
            return
        for pid in running:
            kill(pid, _signal.SIGSTOP)
        stopped.update(running)


def kill(pid: int, signum: int) -> None:
    """Send a signal to whoever is still there and may be killed."""
    try:
        os.kill(pid, signum)
    except OSError:
        pass  # gone, or another user's: the census names it


def remove_tree(path: str, folder: "Optional[int]" = None) -> None:
    """Remove a directory and all that is in it, as far as rights allow; `path` may be relative to `folder`.

    Another user may own it (`nile.agent.sudo`), and put links where directories were: none is followed.
    """
    try:
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return
    try:
        for name in os.listdir(opened):
            try:
                os.unlink(name, dir_fd=opened)
            except OSError:
                remove_tree(name, opened)
        os.rmdir(path, dir_fd=folder)
    except (OSError, RecursionError):
        pass  # what is too deep stays, as what may not be removed
    finally:
        os.close(opened)


def kill_marked(run: str, host: str) -> None:
    """Kill what an agent that is dead left of this run on this host: its environment says so."""
    marks = {b"NILE_RUN=" + os.fsencode(run), b"NILE_HOST=" + os.fsencode(host)}
    for _ in range(200):
        found = [pid for pid, _, _ in _all_processes() if pid != os.getpid() and marks <= _environment(pid)]
        if not found:
            return
        for pid in found:
            kill(pid, _signal.SIGSTOP)
        for pid in found:
            kill(pid, _signal.SIGKILL)
        time.sleep(0.005)


def _environment(pid: int) -> "Set[bytes]":
    try:
        with open("/proc/%d/environ" % pid, "rb") as file:
            return set(file.read().split(b"\0"))
    except OSError:
        return set()


def kill_all() -> None:
    """Kill and reap every descendant of this process; give up after two seconds."""
    own = os.getpid()
    until = time.monotonic() + _LONGEST_S
    while time.monotonic() < until:
        if not _reap() or not descendants(own):
            return
        kill_descendants(own, _signal.SIGKILL)
        time.sleep(0.005)


def _reap() -> bool:
    """Reap children that ended; is there any child yet (and so, for a subreaper, any descendant)?"""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except OSError:
        return False
    return True
