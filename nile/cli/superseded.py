"""Whether what a run made current is what its hosts are to have still, as far as this store knows.

Runs that turn `current` are looked at from the newest back: the first of them that did so on any of these
hosts says where it leads.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import click

from nile.errors import UsageError
from nile.events import Verdict

if TYPE_CHECKING:
    from nile.store import RunRecord, Store

ELSEWHERE = ""
"""A flip leads to what only hosts know."""
FINISHED = "(finished)"
"""It leads where the one led that was interrupted."""


def refuse_superseded(store: Store, original: RunRecord, dest: str, name: str) -> None:
    """Raises UsageError where another release than `name` was made current since on hosts of that run."""
    asked = {host.host for host in store.hosts(original) if host.asked}
    begun = False
    for run in store.runs_since(original):
        to = _leads_to(store, run, _normal(dest))
        flipped = {
            host.host
            for host in (store.hosts(run) if to is not None else ())
            if host.asked and (begun or (host.result and host.result.verdict is Verdict.OK))
        }
        if not (there := sorted(asked & flipped)):
            continue
        if to == FINISHED:
            begun = True  # whoever began it need not have had a verdict for any host
            continue
        if to != name:
            what = f"{to} current" if to else "another release current"
            raise UsageError(
                f"run {run.run} made {what} since (on {there[0]}, for one)",
                where="--catch-up",
                remedy=f"bring that to the others; or, if {name} is meant, give it again as it was",
            )
        return


def _leads_to(store: Store, run: RunRecord, dest: str) -> str | None:
    """The release that this run was to make current in DEST; None where it was for nothing of the kind."""
    words = _first(store, run)
    read = _COMMANDS.get(words[0]) if words else None
    if read is None:
        return None
    given = read(words[1:])
    return given[1] if given is not None and _normal(given[0]) == dest else None


def _first(store: Store, run: RunRecord) -> tuple[str, ...]:
    """The words of its command line; of one that caught up, those of the run that was given a source."""
    words = run.context.argv[1:]
    while words[:1] == ("sync",) and (reference := _params("sync", words[1:])["catch_up"]):
        try:
            words = store.run(reference).context.argv[1:]
        except UsageError:  # it isn't recorded any more
            return ()
    return words


def _params(name: str, words: tuple[str, ...]) -> dict[str, Any]:
    """What was given to a command, of a line that was understood when it was given."""
    from nile.cli import commands

    context = click.Context(commands)
    command = commands.get_command(context, name)
    assert command is not None
    return command.make_context(name, list(words), resilient_parsing=True).params


def _of_sync(words: tuple[str, ...]) -> tuple[str, str] | None:
    given = _params("sync", words)
    paths, name = given["paths"], given["release"]
    return (paths[-1], name) if name and paths and not given["dry_run"] else None


def _of_rollback(words: tuple[str, ...]) -> tuple[str, str] | None:
    given = _params("rollback", words)
    return given["dest"], given["to"] or ELSEWHERE


def _of_releases(words: tuple[str, ...]) -> tuple[str, str] | None:
    given = _params("releases", words)
    if not (given["finish"] or given["rollback"]):
        return None
    return given["dest"], FINISHED if given["finish"] else ELSEWHERE


_COMMANDS = {"sync": _of_sync, "rollback": _of_rollback, "releases": _of_releases}


def _normal(dest: str) -> str:
    return posixpath.normpath(dest)
