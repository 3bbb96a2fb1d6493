"""Where CPU time goes in a cluster of namespaces, by program: the scheduler's own account.

The tracepoint `sched_stat_runtime` tells of every slice that a task ran, in
nanoseconds; tick-based times would miss most of these short processes. A
task's whole time counts under the name it had last, so what ran between fork
and exec belongs to the program that was started. Only descendants of the given
processes count (`sched_process_fork` tells who is one), whatever else the
machine does. Needs root.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

TRACING = Path("/sys/kernel/tracing")
EVENTS = ("sched_stat_runtime", "sched_process_fork")
BUFFER_KB = 64 * 1024
_SLICE = re.compile(r"sched_stat_runtime: comm=(.*) pid=(\d+) runtime=(\d+) \[ns\]")
_FORK = re.compile(r"sched_process_fork: comm=.* pid=(\d+) child_comm=.* child_pid=(\d+)")
_OVERRUN = re.compile(r"^(?:overrun|commit overrun|dropped events): ([1-9]\d*)$", re.MULTILINE)

Spent = dict[str, tuple[int, float]]
"""Program -> (how many tasks of it ran, their CPU seconds)."""


class Accounting:
    """Counts CPU time of descendants of `roots` (pids), from entering to `stop`.

    Raises OSError where the kernel doesn't offer it.
    """

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = set(roots)
        self._mounted = not (TRACING / "instances").is_dir()
        self._directory = TRACING / "instances" / f"nile-bench-{os.getpid()}"

    def __enter__(self) -> Self:
        if self._mounted:
            subprocess.run(["mount", "-t", "tracefs", "tracefs", str(TRACING)], check=True)
        self._directory.mkdir()
        (self._directory / "buffer_size_kb").write_text(str(BUFFER_KB))
        self._known = descendants(self._roots)
        self._trace("1")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._directory.rmdir()
        if self._mounted:
            subprocess.run(["umount", str(TRACING)], check=True)

    def _trace(self, on: str) -> None:
        for event in EVENTS:
            (self._directory / "events/sched" / event / "enable").write_text(on)

    def stop(self) -> Spent:
        """What was spent. Raises OSError if records were lost."""
        self._trace("0")
        for stats in self._directory.glob("per_cpu/cpu*/stats"):
            if _OVERRUN.search(stats.read_text()):
                raise OSError("the trace buffer was too small: the account isn't whole")
        with (self._directory / "trace").open(errors="replace") as trace:
            return by_program(trace, self._roots, self._known)


def descendants(roots: set[int]) -> set[int]:
    """Tasks that descend from `roots` now, these left out."""
    children: dict[int, list[int]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        children[parent].append(int(stat.parent.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        born = children[waiting.pop()]
        found.update(born)
        waiting += born
    return found - roots


def by_program(trace: Iterable[str], roots: set[int], known: Iterable[int]) -> Spent:
    """Sum up a trace, in order of time, for the tasks `known` and all that they and `roots` fork."""
    names: dict[int, str] = {}
    times: dict[int, int] = defaultdict(int)
    counted = set(known)
    for line in trace:
        if fork := _FORK.search(line):
            if int(fork[1]) in counted or int(fork[1]) in roots:
                counted.add(int(fork[2]))
        elif (ran := _SLICE.search(line)) and int(ran[2]) in counted:
            names[int(ran[2])] = ran[1]
            times[int(ran[2])] += int(ran[3])
    found: Spent = defaultdict(lambda: (0, 0.0))
    for task, name in names.items():
        count, total = found[name]
        found[name] = (count + 1, total + times[task] / 1e9)
    return dict(found)
