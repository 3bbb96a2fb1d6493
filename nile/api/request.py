"""What a program asks for, made a plan, hosts, and what they run. UsageErrors name the argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nile.errors import UsageError
from nile.options import LONGEST_LINE, ExecOptions, Script, SshOptions, Task

if TYPE_CHECKING:
    from nile.topology.model import Plan
    from nile.topology.routes import Routes

TOO_LONG = "the command is longer than hosts can take (128 KiB)"
AS_SCRIPT = "send it as a script: script=Script.of(name, text)"
Own = Callable[[Sequence[str]], dict[str, Task]]
"""What each of these hosts runs; raises UsageError where that isn't said."""


@dataclass(frozen=True, slots=True)
class What:
    """What is to run, as it was given: one of a command, a script, and what each host runs."""

    command: str | None
    script: Script | str | None
    args: tuple[str, ...]
    per_host: Mapping[str, Task] | str | None

    def check(self) -> None:
        """Raise UsageError where it isn't just one of them, or can't be run; files are looked at later."""
        given = {"command": self.command, "script": self.script, "per_host": self.per_host}
        names = [name for name, value in given.items() if value is not None]
        if len(names) > 1:
            remedy = "give one of the two"
            raise UsageError(f"{names[0]} and {names[1]} can't go together", where=names[1], remedy=remedy)
        if not names:
            remedy = "write one, as in uptime; or give script= or per_host="
            raise UsageError("no command given", where="command", remedy=remedy)
        if self.args and not isinstance(self.script, str):
            remedy = "give script= a path; or Script.of(name, text, args)"
            raise UsageError("only a script from a file takes arguments here", where="args", remedy=remedy)
        if self.command is not None:
            check_task(self.command, "command")
        elif isinstance(self.script, Script):
            check_task(self.script, "script")

    def shared(self, options: ExecOptions) -> ExecOptions:
        """The options with what all hosts run; raises UsageError where the script can't be read."""
        if self.command is not None:
            return replace(options, command=self.command)
        if self.script is None:
            return options
        script = self.script if isinstance(self.script, Script) else _read(self.script, self.args)
        return replace(options, command=script.called, outfit=replace(options.outfit, script=script))


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, as it was given."""

    hosts: tuple[str, ...]
    what: What
    exclude: tuple[str, ...]
    routes: str | None
    inventories: tuple[str, ...]
    ssh: SshOptions
    ssh_options: tuple[str, ...]
    connect_timeout_s: float | None
    timeout_s: float | None
    store: bool


def planned(request: Request, options: ExecOptions) -> tuple[Plan, tuple[str, ...], ExecOptions]:
    """The tree for the hosts, these in their order, and the options with what they run. Raises UsageError."""
    from nile.topology.plan import plan

    options = request.what.shared(options)
    routes = _routes(request)
    names, own = _per_host(request.what.per_host, routes)
    hosts = _chosen(request, routes, names)
    found = plan(routes, hosts)
    if request.timeout_s is not None:
        found = replace(found, timeouts=replace(found.timeouts, command_s=request.timeout_s))
    if own is not None:
        options = replace(options, **ExecOptions.by_host(own(hosts)))
    _check(found, hosts, options)
    return found, hosts, options


def _check(found: Plan, hosts: tuple[str, ...], options: ExecOptions) -> None:
    """Raise UsageError where these hosts can't run it so."""
    from nile.cascade.caution import canaries
    from nile.cascade.orders import FIRST
    from nile.topology.outfits import check_words

    check_words(options, found, "subst")
    if options.canary is not None and not canaries(found, hosts, options):
        remedy = "leave it out: what hangs below a host goes before that host anyway"
        why = "the command may cut hosts off, and each of these leads to others: none can go first"
        raise UsageError(why, where="canary", remedy=remedy)
    lines = {options.command, *options.per_host.values()} if options.disruptive else ()
    for line in lines:
        if len(FIRST) + len(line.encode(errors="surrogateescape")) >= LONGEST_LINE:
            raise UsageError(TOO_LONG, where="command", remedy=AS_SCRIPT)


def check_task(task: Task, where: str) -> None:
    """Raise UsageError where hosts can't run that."""
    from nile.topology.scriptfile import check_script

    if isinstance(task, Script):
        check_script(task, where)
        return
    if not task.strip():
        raise UsageError("no command given", where=where, remedy="write one, as in uptime")
    if "\0" in task:
        raise UsageError("no command can have a NUL in it", where=where, remedy="take it out")
    if len(task.encode(errors="surrogateescape")) >= LONGEST_LINE:
        raise UsageError(TOO_LONG, where=where, remedy=AS_SCRIPT)


def _read(path: str, args: tuple[str, ...]) -> Script:
    from nile.topology.scriptfile import STDIN, read_script

    if path == STDIN:  # the program's own
        remedy = "read it yourself, and give Script.of(name, text, args)"
        raise UsageError("standard input is none of Nile's business", where="script", remedy=remedy)
    return read_script(path, args, "script")


def _routes(request: Request) -> Routes:
    from nile.topology.finding import read_routes
    from nile.topology.ssh_words import parse_ssh_options

    ssh, connect_s = parse_ssh_options(request.ssh_options)
    connect_s = request.connect_timeout_s or connect_s
    routes = read_routes(request.routes, request.inventories)
    return routes.override(
        ssh=request.ssh.over(ssh),
        timeouts=replace(routes.timeouts, connect_s=connect_s) if connect_s else None,
    )


def _chosen(request: Request, routes: Routes, otherwise: Sequence[str]) -> tuple[str, ...]:
    """The hosts, in their order, each once; where none are named, the others."""
    from nile.topology.refusal import Refusal

    chosen = dict.fromkeys(() if request.hosts else otherwise)
    try:
        for text in request.hosts:
            chosen.update(dict.fromkeys(routes.host_sets().expand(text)))
        for text in request.exclude:
            for name in routes.host_sets(relays_too=True).expand(text):
                chosen.pop(name, None)
    except Refusal as refusal:
        raise refusal.usage_error("hosts") from refusal
    if not chosen:
        raise UsageError("no hosts given", where="hosts", remedy="name at least one, as in n[1-9]")
    return tuple(chosen)


def _per_host(given: Mapping[str, Task] | str | None, routes: Routes) -> tuple[Sequence[str], Own | None]:
    """The hosts that it names, and what tells what hosts run; none where all run the same."""
    from nile.topology.perhost import read_per_host, read_tasks

    if given is None:
        return (), None
    if isinstance(given, str):
        file = read_per_host(Path(given))
        named = file.named(routes.host_sets().expand)
        return tuple(named), lambda hosts: read_tasks(file.of(hosts, named), Path(given).parent)
    tasks = _named(given, routes)
    return tuple(tasks), lambda hosts: _own(hosts, tasks, given)


def _named(given: Mapping[str, Task], routes: Routes) -> dict[str, Task]:
    from nile.topology.perhost import DEFAULT
    from nile.topology.refusal import Refusal

    found: dict[str, str] = {}
    for words, task in given.items():
        check_task(task, f"per_host[{words!r}]")
        try:
            names = () if words == DEFAULT else routes.host_sets().expand(words)
        except Refusal as refusal:
            raise refusal.usage_error(f"per_host[{words!r}]") from refusal
        for name in names:
            if name in found:
                why = f"{name} is in {words!r} and in {found[name]!r}"
                raise UsageError(why, where="per_host", remedy="take it out of one")
            found[name] = words
    return {name: given[words] for name, words in found.items()}


def _own(hosts: Sequence[str], tasks: Mapping[str, Task], given: Mapping[str, Task]) -> dict[str, Task]:
    from nile.topology.perhost import DEFAULT

    for host in hosts:
        if host not in tasks and DEFAULT not in given:
            remedy = f"name it there, add {DEFAULT!r}, or choose other hosts"
            raise UsageError(f"it has no command for {host}", where="per_host", remedy=remedy)
    return {host: tasks[host] if host in tasks else given[DEFAULT] for host in hosts}
