"""Nile for other Python programs: `nile.run` runs a command on hosts, and yields what happens.

    async for event in nile.run("n[1-40]", "uptime"):
        match event:
            case nile.HostOutput(host, stream, _, data): ...
            case nile.HostResult(host, verdict): ...

    for event in nile.run("@web", "uptime", routes="nile.yaml"): ...

The run itself is the very engine of `nile exec`, in threads of its own; what it
tells is handed over here, a few events at a time, so that a program that is
slow makes hosts wait and not its memory grow. Leaving the loop, in whatever
way, ends the run as Ctrl-C does `nile exec`; at the latest the interpreter
waits for that when it ends (a suspended run that it tore down otherwise would
leave hosts to their leases). Nothing here asks, prints, or touches signals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from nile.api.handing import RunEvent
from nile.api.request import Request, What
from nile.api.runs import Run
from nile.errors import UsageError
from nile.options import (
    DEFAULT_SCRATCH,
    LEAST_SCRATCH,
    MOST_SCRATCH,
    ExecOptions,
    Leftover,
    OnOrphan,
    Script,
    SshOptions,
    Task,
)

__all__ = ["Run", "RunEvent", "Script", "run"]

E = TypeVar("E", bound=StrEnum)


def run(
    hosts: str | Iterable[str] = (),
    command: str | None = None,
    *,
    script: Script | str | Path | None = None,
    args: Iterable[str] = (),
    per_host: Mapping[str, Task] | str | Path | None = None,
    routes: str | Path | None = None,
    inventories: Sequence[str | Path] = (),
    exclude: str | Iterable[str] = (),
    user: str | None = None,
    port: int | None = None,
    ssh_options: Sequence[str] = (),
    connect_timeout_s: float | None = None,
    timeout_s: float | None = None,
    fanout: int | None = None,
    grace_s: float = 5.0,
    leftover: Leftover | str = Leftover.KEEP,
    on_orphan: OnOrphan | str = OnOrphan.ADOPT,
    idempotent: bool = False,
    scratch_bytes: int = DEFAULT_SCRATCH,
    store: bool = True,
) -> Run:
    """A run on `hosts`: iterate over it with `async for`, or with `for`; nothing happens before.

    `hosts` is a host set, or several ("n[1-9]", "@web", "@*" for all of the route file). What they run is
    one of three: `command`, a line for their login shells; `script`, the path of a file here (with `args`),
    or a `Script`; `per_host`, a mapping of host sets (and "default") to lines and Scripts, or the path of a
    file as `nile exec --per-host` reads it. Without `hosts`, those that it names.

    `routes` is a route file; None means the one that `nile exec` would find. `ssh_options` are
    "Keyword=value" as in ssh_config(5). Times are in seconds; a `timeout_s` of None is the route file's.
    A command that puts more than `scratch_bytes` into its $NILE_SCRATCH is ended.
    With `store` False nothing is recorded. Whatever is wrong with these is raised by the first step of the
    iteration.
    """
    request = Request(
        _texts(hosts),
        What(
            command,
            str(script) if isinstance(script, Path) else script,
            tuple(args),
            str(per_host) if isinstance(per_host, Path) else per_host,
        ),
        _texts(exclude),
        None if routes is None else str(routes),
        tuple(map(str, inventories)),
        SshOptions(user=user, port=port),
        tuple(ssh_options),
        connect_timeout_s,
        timeout_s,
        store,
    )
    options = ExecOptions(
        command="",
        fanout=fanout,
        leftover=_one_of(Leftover, leftover, "leftover"),
        grace_s=grace_s,
        on_orphan=_one_of(OnOrphan, on_orphan, "on_orphan"),
        idempotent=idempotent,
        scratch_bytes=_scratch(scratch_bytes),
    )
    return Run(request, options)


def _one_of(kind: type[E], word: str, where: str) -> E:
    try:
        return kind(word)
    except ValueError:
        remedy = f"write one of {', '.join(kind)}"
        raise UsageError(f"{word!r} is none of its words", where=where, remedy=remedy) from None


def _scratch(size: int) -> int:
    if not LEAST_SCRATCH <= size <= MOST_SCRATCH:
        remedy = f"give {LEAST_SCRATCH} bytes or more"
        raise UsageError(f"no scratch can have {size} bytes", where="scratch_bytes", remedy=remedy)
    return size


def _texts(hosts: str | Iterable[str]) -> tuple[str, ...]:
    return (hosts,) if isinstance(hosts, str) else tuple(hosts)
