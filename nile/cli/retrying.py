"""`nile exec --retry-failed RUN`: the command of an earlier run once more, for the hosts that weren't ok.

Everything is taken from that run's command line, in the directory where it was
given: the command, its options, routes. Options that are given beside
`--retry-failed` go over them; the hosts are those of that run whose verdict was
`failed`, `timeout`, `unreachable` or `cancelled`. A host that is `lost` (or has
no verdict, since the root died) may have run the command to its end: it gets
it again with `--idempotent` alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nile.cli.again import check_over, choice, enter
from nile.cli.outfitting import variables
from nile.errors import UsageError
from nile.events import Verdict
from nile.options import Script, Task

if TYPE_CHECKING:
    from nile.report import Screen
    from nile.store import HostRecord, RunRecord, Store

OPTION = "--retry-failed"
CHOICE = (
    "hosts",
    "exclude",
    "groups",
    "everything",
    "hostfiles",
    "routes",
    "inventories",
    "script",
    "per_host",
)
"""Options that choose hosts, say how they are reached, or what they run: they can't be given beside it."""
AGAIN = frozenset({Verdict.FAILED, Verdict.TIMEOUT, Verdict.UNREACHABLE, Verdict.CANCELLED})


def retry(reference: str) -> int:
    """Do it; the exit code. Raises UsageError where it can't be done."""
    from nile.cli import recorded

    asked = click.get_current_context()
    _refuse_choice(asked)
    screen = recorded.screen()
    with recorded.open_store() as store:
        record = store.run(reference)
        params = _params(store, record, asked)
        hosts = _hosts(screen, store, record, idempotent=params["idempotent"])
    if not hosts:
        screen.err.write(f"nile: no host of run {record.run} is to be tried again\n")
        screen.flush()
        return 0
    again = click.Context(asked.command, info_name=asked.info_name, parent=asked.parent)
    argv = recorded.argv_naming(OPTION, record.run)
    again.params = {**params, **choice(params, record, hosts), "argv": argv}
    with again:
        return int(asked.command.invoke(again))


def given(context: click.Context) -> dict[str, Any]:
    """The options that stand on a command line."""
    source = context.get_parameter_source
    return {
        name: value for name, value in context.params.items() if source(name) is ParameterSource.COMMANDLINE
    }


def _refuse_choice(asked: click.Context) -> None:
    for parameter in asked.command.params:
        name = parameter.name or ""
        if name == "words" and asked.params[name]:
            what = "a command"
        elif name in CHOICE and asked.params[name]:
            what = parameter.opts[0]
        else:
            continue
        remedy = "it is that run's, and so are its hosts: leave it out"
        raise UsageError(f"{what} can't go with {OPTION}", where=OPTION, remedy=remedy)


def _params(store: Store, record: RunRecord, asked: click.Context) -> dict[str, Any]:
    """What the first of these runs was given, under the words of those that tried it again, and these."""
    own = {
        name: str(Path.cwd() / value) if name == "outdir" else value for name, value in given(asked).items()
    }
    runs = [_begun(record, asked.command)]
    while reference := runs[-1].params["retry_failed"]:
        runs.append(_begun(store.run(reference), asked.command))
    first = runs[-1]
    params = dict(first.params)
    for words in (*map(given, reversed(runs[:-1])), own):
        params.update(words)
    if params["stdin"] and "stdin" not in own:
        remedy = "what it read isn't recorded: give --stdin, and the input, once more"
        raise UsageError(f"run {record.run} read standard input", where=OPTION, remedy=remedy)
    _check_variables(record, own)
    # Whether a password is given is this command line's alone, and the descriptor of that run is long closed.
    params |= {"pass_fd": own.get("pass_fd"), "ask_pass": own.get("ask_pass", False)}
    if params["outdir"] and "outdir" not in own:
        params["outdir"] = None  # what is there would be overwritten
    if params["script"]:  # as it was, whatever is in the file by now
        params["script"] = _script(store, record, params["words"])
    if params["per_host"]:
        params["per_host"] = _tasks(store, record)
    return params | {"retry_failed": None, "words": first.params["words"]}


def _check_variables(record: RunRecord, own: dict[str, Any]) -> None:
    """Values of variables aren't recorded, and what this root has of the same name may be another one."""
    missing = set(record.settings.get("env", ())) - variables(own.get("env", ())).keys()
    if missing:
        names = " ".join(f"--env {name}=..." for name in sorted(missing))
        raise UsageError(
            f"run {record.run} has variables whose values aren't recorded: {', '.join(sorted(missing))}",
            where=OPTION,
            remedy=f"give them again: {OPTION} {record.run} {names} (--env NAME takes this shell's value)",
        )


def _script(store: Store, record: RunRecord, args: tuple[str, ...]) -> Script:
    told = record.settings["script"]
    return store.with_text(Script(told["name"], b"", args, told["sha256"], told["size"]))


def _tasks(store: Store, record: RunRecord) -> dict[str, Task]:
    """What each host ran, whatever the file says by now."""
    scripts: dict[str, Script] = {}
    for told in record.settings.get("scripts", ()):
        bare = Script(told["name"], b"", tuple(told["args"]), told["sha256"], told["size"])
        scripts |= dict.fromkeys(told["hosts"], store.with_text(bare))
    return {host.host: scripts.get(host.host, host.command) for host in store.hosts(record)}


def _begun(run: RunRecord, command: click.Command) -> click.Context:
    """The command line of a run of `nile exec`, read where it was given: paths mean something only there."""
    words = run.context.argv[1:]
    if words[:1] != ("exec",):
        remedy = f"`nile show {run.run}` says what it was; copies are repeated by `nile sync --catch-up`"
        raise UsageError(f"run {run.run} wasn't begun by `nile exec`", where=OPTION, remedy=remedy)
    enter(run, OPTION, "give the command anew")
    return command.make_context("exec", list(words[1:]))


def _hosts(screen: Screen, store: Store, record: RunRecord, *, idempotent: bool) -> list[str]:
    """Hosts that get it again; those that don't, though they aren't ok, are named."""
    from nile.report import heading

    check_over(record, OPTION)
    asked = [host for host in store.hosts(record) if host.asked]
    doubtful = [host.host for host in asked if _may_have_run(host)]
    if doubtful and not idempotent:
        screen.err.write(
            f"nile: not tried again: {heading(doubtful)}: lost, so the command may have run there;"
            " --idempotent tries it all the same\n"
        )
    return [host.host for host in asked if (_may_have_run(host) and idempotent) or _is_due(host)]


def _may_have_run(host: HostRecord) -> bool:
    """It got the command, or may have, and nobody knows how far it came."""
    return host.result is None or host.result.verdict is Verdict.LOST


def _is_due(host: HostRecord) -> bool:
    return host.result is not None and host.result.verdict in AGAIN
