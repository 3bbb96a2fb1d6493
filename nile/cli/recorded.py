"""What the commands that read the store of runs share."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nile.errors import UsageError
from nile.events import Verdict

if TYPE_CHECKING:
    from nile.control import Control
    from nile.options import ExecOptions
    from nile.report import Screen
    from nile.store import RunRecord, Store
    from nile.topology.model import Plan

SHORTEST_ID = 8


def control_of(run_id: str, plan: Plan, options: ExecOptions, *, paused: bool = False) -> Control:
    """What answers for a run of this process while it is under way."""
    from nile.control import Control
    from nile.options import Pacing

    return Control(control_directory(), run_id, Pacing(plan.limits.parallel, options.fanout, paused))


def control_directory() -> Path:
    """Where runs under way have their sockets."""
    from nile.topology.places import state_directory

    return state_directory() / "control"


def open_store() -> Store:
    """The user's store of runs; UsageError where nothing was ever recorded."""
    from nile.store import Store, store_path

    path = store_path()
    if not path.exists():
        raise UsageError("no run is recorded yet", where=str(path), remedy="`nile exec` records every run")
    return Store(path)


def screen() -> Screen:
    """Standard output and standard error of this process."""
    from nile.report import Screen, Sink

    return Screen(Sink(sys.stdout), Sink(sys.stderr))


def argv_naming(option: str, run: str) -> tuple[str, ...]:
    """The command line as it is recorded, where an option names a run: `last` will soon be another one."""
    words = list(sys.argv)
    for index, word in enumerate(words):
        if word.startswith(f"{option}="):
            words[index] = f"{option}={run}"
        elif index and words[index - 1] == option:
            words[index] = run
    return tuple(words)


def local_time(at: float) -> str:
    """A wall clock for people, in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def short_ids(ids: list[str]) -> dict[str, str]:
    """The shortest beginnings, of `SHORTEST_ID` characters or more, by which ids differ from each other."""
    length = SHORTEST_ID
    while len({run[:length] for run in ids}) < len(set(ids)):
        length += 1
    return {run: run[:length] for run in ids}


def run_object(run: RunRecord) -> dict[str, Any]:
    """A run as `nile runs --json` has it (docs/reference/json.md)."""
    return {
        "run": run.run,
        "command": run.command,
        "settings": dict(run.settings),
        "routes": run.routes,
        "user": run.context.user,
        "directory": run.context.directory,
        "argv": list(run.context.argv),
        "state": str(run.state),
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "wall_s": run.wall_s,
        "hosts": run.hosts,
        "relays": run.relays,
        **{str(verdict): run.counts.get(verdict, 0) for verdict in Verdict},
        "without_verdict": run.without_verdict,
    }
