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
from pathlib import Path

from nile.api import kinds
from nile.api.fitting import check_together, count, grace, one_of, outfit, scratch, seconds
from nile.api.handing import RunEvent
from nile.api.request import Request, What
from nile.api.runs import AskPassword, Run
from nile.options import (
    DEFAULT_SCRATCH,
    ExecOptions,
    Leftover,
    OnOrphan,
    Sandbox,
    Script,
    SshOptions,
    Task,
)

__all__ = ["AskPassword", "Run", "RunEvent", "Script", "run"]


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
    env: Mapping[str, str] | None = None,
    clean_env: bool = False,
    cwd: str | None = None,
    rlimits: Mapping[str, int] | None = None,
    subst: bool = False,
    sudo: bool | str = False,
    sudo_password: str | AskPassword | None = None,
    sandbox: Sandbox | str | None = None,
    fanout: int | None = None,
    batch: int | None = None,
    canary: int | None = None,
    max_failures: int | None = None,
    fail_fast: bool = False,
    grace_s: float = 5.0,
    leftover: Leftover | str = Leftover.KEEP,
    on_orphan: OnOrphan | str | None = None,
    idempotent: bool = False,
    disruptive: bool = False,
    wait_back_s: float | None = None,
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

    `env` goes over the login's variables; `clean_env` leaves few of these. `cwd` is a directory of the hosts,
    seen from the login's. `rlimits` has "cpu" in seconds, "mem" (address space) in bytes, "nofile" in files.
    With `subst`, %h and the like in what runs stand for the host. A command that puts more than
    `scratch_bytes` into its $NILE_SCRATCH is ended.

    `sudo` is True for root, or a user. Where a host's sudo wants a password, `sudo_password` is that, or is
    called with the host's name: once in a run, in the thread that iterates (with `async for` in one of the
    run's own). None, or "", is no password, nor is what has several lines. The text stays in this process and
    goes to such hosts alone.

    `fanout`, `batch`, `canary` (that many first, then the others if all are ok), `max_failures` (no further
    host starts once more than that aren't ok) and `fail_fast` hold a run back as those of `nile exec`.
    `on_orphan` is adopt; with `disruptive` or `wait_back_s` finish.

    With `store` False nothing is recorded. What has another type, or is no word or number that an argument
    takes, is raised here, whatever else is wrong by the first step of the iteration: as `nile.UsageError`.
    """
    disruptive = kinds.switch(disruptive, "disruptive") or wait_back_s is not None
    request = Request(
        kinds.host_sets(hosts, "hosts"),
        What(
            None if command is None else kinds.text(command, "command"),
            kinds.script(script),
            kinds.texts(args, "args"),
            kinds.per_host(per_host),
        ),
        kinds.host_sets(exclude, "exclude"),
        None if routes is None else kinds.path(routes, "routes"),
        kinds.paths(inventories, "inventories"),
        SshOptions(user=None if user is None else kinds.text(user, "user"), port=kinds.port(port)),
        kinds.texts(ssh_options, "ssh_options"),
        seconds(connect_timeout_s, "connect_timeout_s"),
        seconds(timeout_s, "timeout_s"),
        kinds.switch(store, "store"),
    )
    options = ExecOptions(
        command="",
        outfit=outfit(env, cwd, rlimits, sudo, sandbox, clean_env=clean_env, subst=subst),
        fanout=count(fanout, "fanout"),
        leftover=one_of(Leftover, leftover, "leftover"),
        grace_s=grace(grace_s),
        on_orphan=one_of(OnOrphan, on_orphan or ("finish" if disruptive else "adopt"), "on_orphan"),
        idempotent=kinds.switch(idempotent, "idempotent"),
        disruptive=disruptive,
        wait_back_s=seconds(wait_back_s, "wait_back_s"),
        batch=count(batch, "batch"),
        canary=count(canary, "canary"),
        yes=True,  # nobody is asked
        max_failures=count(max_failures, "max_failures", least=0),
        fail_fast=kinds.switch(fail_fast, "fail_fast"),
        scratch_bytes=scratch(scratch_bytes),
    )
    check_together(options)
    return Run(request, options, sudo_password)
