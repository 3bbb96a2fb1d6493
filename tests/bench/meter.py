"""Run a command; tell its wall time and the CPU time of it and all its descendants on this machine.

Stands alone, so that it can run inside a host's namespaces: there it is the
subreaper, so descendants that the command doesn't wait for are counted too.
What still lives two seconds after the command ended is killed and counted.

    meter.py RESULT_FILE COMMAND ARGUMENT...     writes one JSON object to that file
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
LINGER_S = 2.0
NAME = "bench-meter"


def measure(command: list[str]) -> dict[str, float | int]:
    """Run it: `rc` (128 + n for signal n), `wall_s`, `cpu_s`, and how many descendants were `killed`."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "can't become the subreaper")
    prctl(PR_SET_NAME, NAME.encode(), 0, 0, 0)  # lest it be taken for an agent's python3
    start = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status = os.waitpid(pid, 0)
    wall = time.monotonic() - start
    killed = _reap_the_rest(time.monotonic() + LINGER_S)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = os.waitstatus_to_exitcode(status)
    return {
        "rc": code if code >= 0 else 128 - code,
        "wall_s": wall,
        "cpu_s": used.ru_utime + used.ru_stime,
        "killed": killed,
    }


def _reap_the_rest(deadline: float) -> int:
    """Wait for orphans until the deadline, then kill what is left; how many that were."""
    killed: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return len(killed)
        if pid:
            continue
        if time.monotonic() > deadline:
            for child in _children():
                os.kill(child, signal.SIGKILL)
                killed.add(child)
        time.sleep(0.01)


def _children() -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(after_name[1]) == os.getpid():
            yield int(stat.parent.name)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(measure(sys.argv[2:])))
