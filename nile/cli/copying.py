"""What `nile sync` and `nile verify` have in common."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nile.cli.common import Selection, SelectionOptions, select
from nile.cli.elevating import sudo_user
from nile.cli.swarmoptions import among
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.controller import MakeJob
    from nile.sync import SyncOptions

F = TypeVar("F", bound=Callable[..., Any])

ALWAYS = "rsync's -{} is always on here: leave it out"
ELSEWHERE = "write {}"
HINTS = {
    **dict.fromkeys("alptogDvh", ALWAYS),
    "r": ALWAYS + " (a route file is named by --routes)",
    "x": ELSEWHERE.format("--exclude-hosts for hosts; other file systems are never entered"),
    "z": "copies go over a local network, where compressing costs more than it saves: leave it out",
    "c": ELSEWHERE.format("--checksum"),
    "e": "Nile logs in by itself: --ssh-option has ssh options",
    "H": ALWAYS,
    "A": ALWAYS,
    "X": ALWAYS,
    "S": ALWAYS,
    "W": ALWAYS,
    "u": "hosts get what the source has, also where theirs is newer: leave it out",
    "b": "no backups are kept of what is replaced; to show equal output of hosts once, write --gather",
    "P": "partial files are never kept under a real name, and progress is always shown: leave it out",
}


class RsyncLetters(click.Command):
    """A command that knows what habit makes people type, and never takes it for something else."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As any, but that letters of rsync are refused with a hint."""
        for word in args:
            if word == "--":
                break
            if word.startswith("-") and not word.startswith("--"):
                for letter in word[1:]:
                    if letter == "w":
                        break  # hosts follow
                    if letter in HINTS:
                        raise UsageError(f"no option -{letter}", remedy=HINTS[letter].format(letter))
        return super().parse_args(ctx, args)


def comparing_options(function: F) -> F:
    """What both commands take beside hosts: how files are compared, and how it is shown."""
    for option in reversed(
        (
            click.option(
                "--exclude",
                "excludes",
                metavar="PATTERN",
                multiple=True,
                help="Leave out, as rsync(1) has it.",
            ),
            click.option(
                "--repos", metavar="FILE", help="Several of SRC and DEST, in YAML (docs/howto/sync.md)."
            ),
            click.option("--checksum", is_flag=True, help="Compare contents too, not only size and time."),
            click.option("--numeric-ids", is_flag=True, help="Owners are numbers, whatever their names."),
            click.option("--gather", is_flag=True, help="Gather equal differences under their hosts."),
            click.option("-q", "--quiet", is_flag=True, help="Of the summary only hosts that aren't ok."),
            click.option("--json", "as_json", is_flag=True, help="JSON Lines (docs/reference/json.md)."),
            click.argument("paths", metavar="[SRC... DEST]", nargs=-1, type=click.Path()),
        )
    ):
        function = option(function)
    return function


def places(paths: tuple[str, ...]) -> tuple[tuple[bytes, ...], bytes]:
    """Sources, absolute, and the destination; raises UsageError where they can't be."""
    if len(paths) < 2:
        raise UsageError(
            "a source and a destination are wanted", remedy="as in: nile sync --all site/ /srv/site"
        )
    *sources, dest = (os.fsencode(path) for path in paths)
    for source in sources:
        if b":" in source.split(b"/")[0] and not os.path.lexists(source):
            remedy = "hosts are chosen by -w, --group or --all, and the destination is a path on them"
            raise UsageError(
                f"{os.fsdecode(source)}: sources are on this machine", where="SRC", remedy=remedy
            )
        if not os.path.lexists(source):
            raise UsageError(
                f"{os.fsdecode(source)}: there is no such file", where="SRC", remedy="look at its name"
            )
        if not is_directory(source) and not os.path.isfile(source):  # noqa: PTH113  (bytes)
            remedy = "leave it out, or copy the directory that it is in"
            raise UsageError(
                f"{os.fsdecode(source)} is neither a file nor a directory", where="SRC", remedy=remedy
            )
    if not dest.startswith(b"/"):
        raise UsageError(
            f"{os.fsdecode(dest)}: the destination must be an absolute path",
            where="DEST",
            remedy="it is the same on all hosts",
        )
    dest = os.path.normpath(dest)
    for source in sources:
        name = os.path.basename(source)  # noqa: PTH119  (bytes)
        if not is_directory(source) and os.path.basename(dest) == name:  # noqa: PTH119
            reason = f"DEST is the directory that gets {os.fsdecode(name)}, and not its own name there"
            raise UsageError(reason, where="DEST", remedy=f"write {os.fsdecode(os.path.dirname(dest))}")  # noqa: PTH120
    return tuple(map(_absolute, sources)), dest


def refuse_to_delete_for_files(sources: tuple[bytes, ...]) -> None:
    """`--delete` says what becomes of a directory that is copied; raises UsageError where there is none."""
    if not any(map(is_directory, sources)):
        raise UsageError(
            "SRC are files only: there is no directory from which to delete",
            where="--delete",
            remedy="leave it out, or copy their directory",
        )


def is_directory(path: bytes) -> bool:
    """Is it one, or a link to one?"""
    return os.path.isdir(path)  # noqa: PTH112  (bytes)


def _absolute(path: bytes) -> bytes:
    slash = path.endswith((b"/", b"/.")) or path in (b".", b"..")
    return os.path.abspath(path).rstrip(b"/") + b"/" * slash  # noqa: PTH100  (bytes)


def run_all(
    selection: SelectionOptions,
    paths: tuple[str, ...],
    how: SyncOptions,
    given: dict[str, Any],
    below: bytes = b"",
) -> int:
    """Do what `how` says to SRC... DEST, or to what is `below` it, or to repositories; the exit code."""
    if given["repos"]:
        from nile.cli.repositories import run_repositories

        return run_repositories(selection, paths, how, given)
    sources, dest = places(paths)
    if how.delete and how.purpose != "verify" and not (how.release or below):
        refuse_to_delete_for_files(sources)
    return run_one(selection, replace(how, sources=sources, dest=dest + below), given)


def run_one(selection: SelectionOptions, what: SyncOptions, given: dict[str, Any]) -> int:
    """Copy, or compare, one SRC... and DEST; the exit code."""
    from nile.bootstrap.authority import Authority
    from nile.bootstrap.identity import made_ahead, make_identity
    from nile.sync import Paths, Sync

    identity = made_ahead() if what.streams and not what.plain else make_identity
    chosen = select(selection)
    what = replace(what, seeders=among(given.get("seeders", ()), chosen))

    def job(run_id: str) -> MakeJob:
        return lambda neighbours, tree: Sync(
            what,
            run_id,
            tree,
            Paths(neighbours),
            partial(secrets.token_bytes, 32),
            identity,
            authority=Authority,
        )

    return run(chosen, job, given, swarms=what.swarms)


def run(
    chosen: Selection, job: Callable[[str], MakeJob], given: dict[str, Any], *, swarms: bool = False
) -> int:
    """Carry out what `job(run id)` makes, by a swarm where it `swarms`; the exit code."""
    from nile.cli.carrying_out import carry_out
    from nile.options import ExecOptions, Outfit

    options = ExecOptions(
        command=shlex.join(["nile", *(given.get("argv") or sys.argv)[1:]]),
        outfit=Outfit(sudo=sudo_user(given)),
    )
    return carry_out(chosen, options, {**given, "largest_rc": False}, job=job, swarms=swarms)
