"""Where CPU time goes on the whole machine, by program: the scheduler's own account.

The tracepoint `sched_stat_runtime` tells of every slice that a task ran, in
nanoseconds; tick-based times would miss most of these short processes. A
task's whole time counts under the name it had last, so what ran between fork
and exec belongs to the program that was started. Needs root.
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
EVENT = "events/sched/sched_stat_runtime/enable"
BUFFER_KB = 64 * 1024
_SLICE = re.compile(r"sched_stat_runtime: comm=(.*) pid=(\d+) runtime=(\d+) \[ns\]")
_OVERRUN = re.compile(r"^(?:overrun|commit overrun|dropped events): ([1-9]\d*)$", re.MULTILINE)


class Accounting:
    """Counts CPU time from entering to `stop`; raises OSError where the kernel doesn't offer it."""

    def __init__(self) -> None:
        self._mounted = not (TRACING / "instances").is_dir()
        self._directory = TRACING / "instances" / f"nile-bench-{os.getpid()}"

    def __enter__(self) -> Self:
        if self._mounted:
            subprocess.run(["mount", "-t", "tracefs", "tracefs", str(TRACING)], check=True)
        self._directory.mkdir()
        (self._directory / "buffer_size_kb").write_text(str(BUFFER_KB))
        (self._directory / EVENT).write_text("1")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._directory.rmdir()
        if self._mounted:
            subprocess.run(["umount", str(TRACING)], check=True)

    def stop(self) -> dict[str, tuple[int, float]]:
        """Program -> (how many processes ran, their CPU seconds). Raises OSError if records were lost."""
        (self._directory / EVENT).write_text("0")
        for stats in self._directory.glob("per_cpu/cpu*/stats"):
            if _OVERRUN.search(stats.read_text()):
                raise OSError("the trace buffer was too small: the account isn't whole")
        with (self._directory / "trace").open(errors="replace") as trace:
            slices = [match.groups() for line in trace if (match := _SLICE.search(line))]
        return by_program((name, int(pid), int(runtime)) for name, pid, runtime in slices)


def by_program(slices: Iterable[tuple[str, int, int]]) -> dict[str, tuple[int, float]]:
    """(name, pid, nanoseconds) in order of time -> name -> (processes, seconds)."""
    names: dict[int, str] = {}
    times: dict[int, int] = defaultdict(int)
    for name, pid, runtime in slices:
        names[pid] = name
        times[pid] += runtime
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for pid, name in names.items():
        count, total = found[name]
        found[name] = (count + 1, total + times[pid] / 1e9)
    return dict(found)
