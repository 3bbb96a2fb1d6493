"""`nile sync --catch-up RUN`: the copy of an earlier run once more, for the hosts that weren't ok then.

Everything is taken from that run's command line, in the directory where it was
given: sources, destination, options. Only hosts are others, and how it is
shown. A source that changed since is refused where hosts were ok: they have
what it was, and the others would get what it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nile.cli.again import check_over, choice, enter
from nile.cli.copying import places
from nile.errors import UsageError
from nile.events import Verdict

if TYPE_CHECKING:
    from nile.store import RunRecord, Store

OWN = frozenset({"catch_up", "changed_too", "gather", "quiet", "as_json", "dry_run", "wait_s", "rate"})
"""What may be given beside it; anything else is as it was in that run."""


def catch_up(reference: str, changed_too: bool) -> int:
    """Do it; the exit code. Raises UsageError where it can't be done."""
    from nile.cli import recorded

    asked = click.get_current_context()
    _refuse_others(asked)
    with recorded.open_store() as store:
        record = store.run(reference)
        runs, again = _original(store, record, asked.command)
        hosts = _behind(store, record)
    if not hosts:
        screen = recorded.screen()
        screen.err.write(f"nile: all hosts of run {record.run} are ok: there is nothing to catch up with\n")
        screen.flush()
        return 0
    params = again.params
    _check_source(params, runs, changed_too)
    taken = {name: asked.params[name] for name in ("gather", "quiet", "as_json", "dry_run")}
    taken |= {name: asked.params[name] for name in ("wait_s", "rate") if _is_given(asked, name)}
    argv = recorded.argv_naming("--catch-up", record.run)
    params.update(taken, **choice(params, record, hosts), argv=argv, seeders=())
    with again:
        return int(asked.command.invoke(again))


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def _refuse_others(asked: click.Context) -> None:
    for parameter in asked.command.params:
        name = parameter.name or ""
        if name not in OWN and asked.params.get(name) and _is_given(asked, name):
            what = "SRC and DEST" if name == "paths" else parameter.opts[-1]
            remedy = "all is as it was in that run, but for the hosts: leave it out"
            raise UsageError(f"{what} can't go with --catch-up", where="--catch-up", remedy=remedy)


def _original(
    store: Store, record: RunRecord, command: click.Command
) -> tuple[list[RunRecord], click.Context]:
    """From this run back to the one that was given a source; and the command line of that one."""
    runs = [record]
    while True:
        run = runs[-1]
        words = run.context.argv[1:]
        if words[:2] in (("swarm", "run"), ("swarm", "start")):
            words = ("sync", "--method", "swarm", *_without_time(words[2:]))
        if words[:1] != ("sync",):
            _refuse(run, "was no copy by `nile sync`", f"`nile show {run.run}` says what it was")
        enter(run, "--catch-up", "copy anew, with `nile sync`")
        again = command.make_context("sync", list(words[1:]))
        if again.params["dry_run"]:
            _refuse(run, "was a dry run: nothing was copied", "leave -n out, and copy")
        if again.params["repos"]:
            remedy = "give it again as it was: what hosts have of them isn't sent again"
            _refuse(run, "copied several repositories", remedy)
        if again.params["release"]:
            remedy = (
                "give it again as it was: what hosts have of it isn't sent again; but it becomes "
                "current then, also where another one is by now"
            )
            _refuse(run, "brought a release, which all hosts get together", remedy)
        if not again.params["catch_up"]:
            return runs, again
        runs.append(store.run(again.params["catch_up"]))


def _without_time(words: Sequence[str]) -> Iterator[str]:
    """What a swarm was begun with, but for how long it was to serve on."""
    left = iter(words)
    for word in left:
        if word == "--for":
            next(left, None)
        elif not word.startswith("--for="):
            yield word


def _refuse(run: RunRecord, why: str, remedy: str) -> None:
    raise UsageError(f"run {run.run} {why}", where="--catch-up", remedy=remedy)


def _behind(store: Store, record: RunRecord) -> list[str]:
    """Hosts that were asked for and aren't ok."""
    check_over(record, "--catch-up")
    return [
        host.host
        for host in store.hosts(record)
        if host.asked and (host.result is None or host.result.verdict is not Verdict.OK)
    ]


def _check_source(params: dict[str, Any], runs: list[RunRecord], changed_too: bool) -> None:
    """Refuse one that is gone; and one that changed, if hosts have what it was."""
    original = runs[-1]
    try:
        sources, _ = places(params["paths"])
    except UsageError as error:
        remedy = f"it is looked for as in run {original.run}, from {original.context.directory}"
        raise UsageError(
            f"its source can't be had any more: {error.message}", where="--catch-up", remedy=remedy
        ) from error
    if changed_too or not any(run.counts.get(Verdict.OK) for run in runs):
        return
    excludes = tuple(map(os.fsencode, params["excludes"]))
    changed = next(_changed(sources, excludes, original.started_at), None)
    if changed is not None:
        raise UsageError(
            f"the source changed since run {original.run} ({os.fsdecode(changed)}, for one), and hosts that "
            "were ok then have what it was",
            where="--catch-up",
            remedy="copy to all hosts anew, or add --changed-too to give the others what it is now",
        )


def _changed(sources: tuple[bytes, ...], excludes: tuple[bytes, ...], since: float) -> Iterator[bytes]:
    """Places in the source that were written to, or had something added or taken away, since then.

    By ctime, which nobody can set back; what can't be looked at is left to the run itself.
    """
    from nile.agent.worker.patterns import Patterns
    from nile.agent.worker.scanning import Walker
    from nile.agent.worker.trees import Source

    patterns = Patterns(list(excludes))
    for _, place, seen in Walker(Source(sources, patterns).roots, patterns):
        if seen.st_ctime > since:
            yield place
