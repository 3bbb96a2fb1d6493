"""`nile sync --catch-up RUN`: the copy of an earlier run once more, for the hosts that weren't ok then.

Everything is taken from that run's command line, in the directory where it was
given: sources, destination, options. Only hosts are others, and how it is
shown. A source that changed since is refused where hosts were ok: they have
what it was, and the others would get what it is.

A release becomes current on whoever gets it now, where it already is on others:
these have had their quorum. Where another one is current since, it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from nile.cli.again import check_over, choice, enter
from nile.cli.common import Selection, SelectionOptions, select
from nile.cli.copying import places
from nile.cli.passwording import PASSWORD_OPTIONS
from nile.cli.releasing import ANY
from nile.cli.superseded import refuse_superseded
from nile.errors import UsageError
from nile.events import Verdict

if TYPE_CHECKING:
    from nile.store import RunRecord, Store

    Tree = tuple[tuple[bytes, ...], tuple[bytes, ...]]
    """Sources, and what of them is left out."""

OWN = frozenset(
    {"catch_up", "changed_too", "gather", "quiet", "as_json", "dry_run", "wait_s", "rate", *PASSWORD_OPTIONS}
)
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
        if hosts and again.params["release"]:
            refuse_superseded(store, runs[-1], again.params["paths"][-1], again.params["release"])
    if not hosts:
        screen = recorded.screen()
        screen.err.write(f"nile: all hosts of run {record.run} are ok: there is nothing to catch up with\n")
        screen.flush()
        return 0
    params = again.params
    params.update(choice(params, record, hosts))
    _check_source(params, runs, changed_too)
    if params["release"] and _some_are_ok(runs):
        params["quorum"] = ANY
    taken = {name: asked.params[name] for name in ("gather", "quiet", "as_json", "dry_run")}
    taken |= {name: asked.params[name] for name in ("wait_s", "rate") if _is_given(asked, name)}
    taken |= {name: asked.params[name] for name in PASSWORD_OPTIONS}  # never that run's
    argv = recorded.argv_naming("--catch-up", record.run)
    params.update(taken, argv=argv, seeders=())
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


def _some_are_ok(runs: list[RunRecord]) -> bool:
    return any(run.counts.get(Verdict.OK) for run in runs)


def _check_source(params: dict[str, Any], runs: list[RunRecord], changed_too: bool) -> None:
    """Refuse one that is gone; and one that changed, if hosts have what it was."""
    original = runs[-1]
    if changed_too and params["release"]:
        remedy = "bring what the source is now under another name, to all hosts"
        raise UsageError("a release is the same on all hosts", where="--changed-too", remedy=remedy)
    names = SelectionOptions.__dataclass_fields__
    chosen = select(SelectionOptions(**{name: params[name] for name in names})) if params["repos"] else None
    try:
        trees = _trees(params, chosen)
    except UsageError as error:
        remedy = f"it is looked for as in run {original.run}, from {original.context.directory}"
        raise UsageError(
            f"its source can't be had any more: {error.message}", where="--catch-up", remedy=remedy
        ) from error
    if changed_too or not _some_are_ok(runs):
        return
    since = original.started_at
    changed = _rewritten(params["repos"], since) or next(_changed_of(trees, since), None)
    if changed is not None:
        remedy = "copy to all hosts anew, or add --changed-too to give the others what it is now"
        if params["release"]:
            remedy = "bring it under another name, to all hosts"
        raise UsageError(
            f"the source changed since run {original.run} ({os.fsdecode(changed)}, for one), and hosts that "
            "were ok then have what it was",
            where="--catch-up",
            remedy=remedy,
        )


def _trees(params: dict[str, Any], chosen: Selection | None) -> list[Tree]:
    """What is to be copied; of repositories, to these hosts. Raises UsageError where it isn't there."""
    excludes = tuple(map(os.fsencode, params["excludes"]))
    if chosen is None:
        return [(places(params["paths"])[0], excludes)]
    from nile.cli.repositories import repositories
    from nile.sync import SyncOptions

    shares = repositories(Path(params["repos"]), chosen, SyncOptions(excludes=excludes))
    return [(options.sources, options.excludes) for options, _ in shares]


def _rewritten(repos: str | None, since: float) -> bytes | None:
    """The file of the repositories, if it isn't as it was: it says what is copied, and where."""
    return os.fsencode(repos) if repos and Path(repos).stat().st_ctime > since else None


def _changed_of(trees: list[Tree], since: float) -> Iterator[bytes]:
    for sources, excludes in trees:
        yield from _changed(sources, excludes, since)


def _changed(sources: tuple[bytes, ...], excludes: tuple[bytes, ...], since: float) -> Iterator[bytes]:
    """Places in the source that were written to, or had something added or taken away, since then.

    By ctime, which nobody can set back; what can't be looked at is left to the run itself.
    """
    from nile.agent.worker.patterns import Patterns
    from nile.agent.worker.trees import Source
    from nile.agent.worker.walking import Walker

    patterns = Patterns(list(excludes))
    for _, place, seen in Walker(Source(sources, patterns).roots, patterns):
        if seen.st_ctime > since:
            yield place
