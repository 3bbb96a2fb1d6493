"""`nile gather`: bring files back from hosts."""

from __future__ import annotations

import os
import re
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from nile.cli.common import SelectionOptions, long_selection_options, select
from nile.cli.copying import RsyncLetters, run
from nile.cli.elevating import sudo_options
from nile.cli.passwording import password_options
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.controller import MakeJob

EXAMPLES = """\b
Examples:
  nile gather --all /var/log/app /etc/app.conf logs    logs/HOST/app and logs/HOST/app.conf
  nile gather -w 'n[1-40]' /var/log/app/ logs          what is in app/, in logs/HOST
"""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,253}\Z")


@click.command("gather", cls=RsyncLetters, epilog=EXAMPLES, short_help="Bring files back from hosts.")
@long_selection_options
@password_options
@sudo_options
@click.option(
    "--exclude", "excludes", metavar="PATTERN", multiple=True, help="Leave out, as rsync(1) has it."
)
@click.option("--numeric-ids", is_flag=True, help="Owners are numbers, whatever their names.")
@click.option("--bwlimit", metavar="KIB/S", type=click.IntRange(min=1), help="For each host.")
@click.option("--gather", is_flag=True, help="Show hosts that name the same files under one heading.")
@click.option("-q", "--quiet", is_flag=True, help="Of the summary only hosts that aren't ok.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines (docs/reference/json.md).")
@click.argument("paths", metavar="SRC... DIR", nargs=-1, type=click.Path())
def command(selection: SelectionOptions, paths: tuple[str, ...], **given: Any) -> int:
    """Bring SRC from hosts to this machine, into DIR/HOST: what differs, and nothing else.

    SRC are absolute paths on the hosts. With a trailing slash SRC stands for what is in it, as with rsync.
    Nothing is ever deleted in DIR.
    """
    from nile.sync import Gather, GatherOptions

    sources, dest = places(paths)
    what = GatherOptions(
        sources=sources,
        dest=dest,
        excludes=tuple(map(os.fsencode, given["excludes"])),
        numeric_ids=given["numeric_ids"],
        bwlimit_kib_s=given["bwlimit"],
    )
    chosen = select(selection)
    for host in chosen.hosts:
        check_name(host)

    def job(run_id: str) -> MakeJob:
        return lambda _, tree: Gather(what, run_id, tree, partial(secrets.token_bytes, 32))

    return run(chosen, job, given)


def places(paths: tuple[str, ...]) -> tuple[tuple[bytes, ...], bytes]:
    """What to bring, and where to, absolute; raises UsageError where they can't be."""
    if len(paths) < 2:
        raise UsageError(
            "paths on the hosts and a directory here are wanted",
            remedy="as in: nile gather --all /var/log/app logs",
        )
    *given, dest = (os.fsencode(path) for path in paths)
    sources = tuple(map(_plain, given))
    if len(sources) > 1:
        _check_apart(sources)
    if os.path.lexists(dest) and not os.path.isdir(dest):  # noqa: PTH112  (bytes)
        remedy = "name a directory, which gets one for each host"
        raise UsageError(f"{os.fsdecode(dest)} is no directory", where="DIR", remedy=remedy)
    return sources, os.path.abspath(dest)  # noqa: PTH100  (bytes)


def _plain(path: bytes) -> bytes:
    """As it is on the hosts, without `.` and `..`; a trailing slash stays."""
    if not path.startswith(b"/"):
        remedy = "it is the same on all hosts; what comes last is the directory here"
        raise UsageError(f"{os.fsdecode(path)} is no absolute path", where="SRC", remedy=remedy)
    slash = path.endswith((b"/", b"/."))
    return b"/" + os.path.normpath(path).strip(b"/") + b"/" * (slash and path.strip(b"/.") != b"")


def _check_apart(sources: tuple[bytes, ...]) -> None:
    """Of two files with one path only one would come."""
    names: dict[bytes, bytes] = {}
    for source in sources:
        name = os.path.basename(source)  # noqa: PTH119  (bytes)
        if not name:
            reason = f"{os.fsdecode(source)} would be mixed with the other files"
            remedy = "leave its trailing slash out, or gather it alone"
            raise UsageError(reason, where="SRC", remedy=remedy)
        if name in names:
            reason = f"{os.fsdecode(names[name])} and {os.fsdecode(source)} would be one thing in DIR/HOST"
            raise UsageError(reason, where="SRC", remedy="gather them into two directories")
        names[name] = source


def check_name(host: str) -> None:
    """Can a directory be named like it? Raises UsageError if it can't."""
    if not _NAME.match(host):
        remedy = "give it a plain name in the route file, and its own one as `address`"
        raise UsageError(f"{host!r} is no name for a directory", where="DIR/HOST", remedy=remedy)
