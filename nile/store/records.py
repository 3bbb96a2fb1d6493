"""What the store gives back: frozen values, one for a run, a host in it, a notice."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from nile.events import HostResult, Verdict


@dataclass(frozen=True, slots=True)
class RunContext:
    """What is recorded of a run beside its events: who asked for it, how, and the plan.

    `argv` is the command line, `directory` where it was given, `process` the
    identity of the root process (see `process_identity`), `plan` JSON text
    (docs/reference/json.md, `nile show --json`).
    """

    argv: tuple[str, ...] = ()
    directory: str = ""
    user: str = ""
    process: str = ""
    plan: str = "[]"

    @classmethod
    def here(cls, argv: tuple[str, ...], plan: str = "[]") -> Self:
        """The context of this very process."""
        return cls(argv, _directory(), _user(), process_identity(os.getpid()), plan)


class RunState(StrEnum):
    """How a run stands. `unfinished`: its root died, or runs on a machine that we can't look into."""

    RUNNING = "running"
    ENDED = "ended"
    INTERRUPTED = "interrupted"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as the store has it; `counts` lacks the verdicts that no host has.

    `hosts` is the number of hosts asked for. `started_at` and `ended_at` are seconds since the epoch.
    """

    key: int
    """The store's own number of the run; grows with time."""
    run: str
    command: str
    routes: str | None
    context: RunContext
    started_at: float
    ended_at: float | None
    wall_s: float | None
    state: RunState
    hosts: int
    relays: int
    counts: Mapping[Verdict, int]
    roots: int = 1
    """How many root processes it has had."""
    seen_at: float | None = None
    """When its root was seen last, in seconds since the epoch."""
    interrupted: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the command was given beside its line (see `nile.options.ExecOptions.told`)."""

    def scripts(self) -> list[Mapping[str, Any]]:
        """The scripts that it ran (see `nile.options.Script.told`)."""
        alone = self.settings.get("script")
        return [*([alone] if alone else []), *self.settings.get("scripts", ())]

    @property
    def without_verdict(self) -> int:
        """Hosts asked for that have no verdict."""
        return self.hosts - sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One host in a run, whether it answered or not; `result` is None where there is no verdict.

    `parent`, `stage` and the times are those of its agent's hello; `asked` is
    False for a host that only relayed.
    """

    host: str
    asked: bool
    parent: str | None
    stage: int | None
    t_connect_s: float | None
    t_ready_s: float | None
    t_start_s: float | None
    result: HostResult | None
    command: str = ""
    """What it was to run, where hosts didn't all run the same."""


@dataclass(frozen=True, slots=True)
class NoticeRecord:
    """A notice, with the wall clock at which it was recorded."""

    host: str
    text: str
    at: float


def process_identity(pid: int) -> str:
    """What names a process for good: boot, PID name space, number and start time; "" where it isn't there.

    A number alone comes around again, and the same number is another process
    on another machine or in another container.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = Path("/proc/self/ns/pid").readlink()
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *_ = fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else f"{boot} {space} {pid} {fields[19]}"


def is_alive(process: str) -> bool:
    """Whether a process that `process_identity` named can be seen to be alive."""
    words = process.split()
    return len(words) == 4 and words[2].isdecimal() and process_identity(int(words[2])) == process


def is_elsewhere(process: str) -> bool:
    """Whether it can't be seen from here if a process that `process_identity` named is alive."""
    return process.split()[:2] != process_identity(os.getpid()).split()[:2]


def _user() -> str:
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""
