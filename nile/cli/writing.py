"""What all commands have in common that write to hosts what a source has."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nile.cli.common import Seconds, SelectionOptions
from nile.cli.copying import run_all
from nile.cli.rates import Rate
from nile.cli.swarmoptions import can_seed, swarm_values
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.sync.wheels import Wheel

F = TypeVar("F", bound=Callable[..., Any])


PLAIN = click.option(
    "--plain",
    is_flag=True,
    help="Don't encrypt streams and swarms: faster, for networks that are trusted.",
)


def writing_options(function: F) -> F:
    """What every way to copy takes beside what comparing takes."""
    for option in reversed(
        (
            click.option(
                "-n", "--dry-run", is_flag=True, help="Say what would be copied and deleted, and do nothing."
            ),
            click.option("--delete", is_flag=True, help="Delete on the hosts what the source doesn't have."),
            click.option(
                "--max-delete",
                metavar="N",
                type=click.IntRange(min=0),
                help="Refuse hosts on which more would be deleted. Default: ask above 1,000, or a tenth.",
            ),
            click.option("--chown", metavar="USER:GROUP", default="", help="Who is to own the files there."),
            click.option(
                "--wait",
                "wait_s",
                metavar="S",
                type=Seconds(),
                default=0.0,
                help="For another run that writes there.",
            ),
            click.option(
                "--bwlimit",
                metavar="KIB/S",
                type=click.IntRange(min=1),
                help="For each copy between two hosts; in a swarm for what each sends.",
            ),
            click.option(
                "--rate",
                metavar="R",
                type=Rate(),
                help="What a port moves, as 1gbit: to tell how near it came.",
            ),
            click.option(
                "--peer-python",
                metavar="PATH",
                default="",
                help="For a swarm: a Python on the hosts that has libtorrent, tried before others.",
            ),
        )
    ):
        function = option(function)
    return function


def copy(selection: SelectionOptions, paths: tuple[str, ...], given: dict[str, Any]) -> int:
    """Copy as these values of the options say; the exit code. Raises UsageError."""
    from nile.sync import Ask, Method, Purpose, SyncOptions

    released = _release(given)
    how = SyncOptions(
        purpose=Purpose.DRY_RUN if given["dry_run"] else Purpose.COPY,
        method=Method(given["method"]),
        ask=Ask.USER if sys.stdin.isatty() and not given["as_json"] else Ask.REFUSE,
        excludes=tuple(map(os.fsencode, given["excludes"])),
        checksum=given["checksum"],
        numeric_ids=given["numeric_ids"],
        chown=given["chown"],
        whole=not given["delta"],
        plain=given["plain"],
        chains=given["chains"],
        wait_s=given["wait_s"],
        bwlimit_kib_s=given["bwlimit"],
        rate=given["rate"],
        serve_s=given.get("serve_s", 0.0),
        peer_python=given["peer_python"],
        **swarm_values(given),
        wheels=_wheels(given["method"]),
        can_seed=given["method"] == "auto" and can_seed(),
        **released,
    )
    # What would be otherwise than now, where a release is current.
    below = b"/current" if given["release"] and given["dry_run"] else b""
    return run_all(selection, paths, how, given, below)


def _wheels(method: str) -> tuple[Wheel, ...]:
    """Of libtorrent, where there is, or may be, a swarm; without them who has none is served by rsync."""
    if method not in ("swarm", "auto"):
        return ()
    from nile.controller.peerwheels import PeersError, cached

    try:
        return cached()
    except PeersError as error:
        if method == "swarm":
            click.echo(f"nile: hosts without libtorrent aren't brought any: {error}", err=True)
        return ()


def _release(given: dict[str, Any]) -> dict[str, Any]:
    """What may be deleted, and what is made current then; raises UsageError."""
    from nile.sync import Quorum

    deleting = {"delete": given["delete"], "max_delete": given["max_delete"]}
    if not given["release"]:
        for name in ("quorum", "keep"):
            if given[name] is not None:
                raise UsageError(f"--{name} is for releases", remedy="give --release NAME too")
        return deleting
    if given["delete"] or given["max_delete"] is not None:
        remedy = "a release never has more than SRC, and the others stay as they are: leave it out"
        raise UsageError("--delete and --max-delete can't go with --release", remedy=remedy)
    if given["repos"]:
        raise UsageError("--release is for one SRC and DEST", remedy="leave --repos out")
    if given["dry_run"]:
        return {"delete": True}
    quorum = Quorum() if given["quorum"] is None else Quorum(given["quorum"])
    whole = {"delete": True, "max_delete": sys.maxsize}  # of what an earlier try left, nobody minds how much
    return {"release": given["release"], "quorum": quorum, "keep": given["keep"], **whole}
