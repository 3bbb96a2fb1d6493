"""`nile plan`: the tree that a run would take, and how long its logins should take."""

from __future__ import annotations

import json

import click

from nile.cli import foretold_copies
from nile.cli.common import Seconds, SelectionOptions, select, selection_options
from nile.cli.foretold_copies import Wanted, foreseen
from nile.cli.planned import T_NILE_S, T_SSH_S, as_dict, show
from nile.cli.rates import Rate
from nile.errors import UsageError

DEFAULT_RATE = 125e6
"""1gbit, in bytes a second."""


@click.command()
@selection_options
@click.option(
    "--t-ssh", "t_ssh_s", metavar="S", type=Seconds(), default=T_SSH_S, help="One ssh login. Default: 0.15."
)
@click.option(
    "--t-nile",
    "t_nile_s",
    metavar="S",
    type=Seconds(),
    default=T_NILE_S,
    help="Start of one agent. Default: 0.05.",
)
@click.option(
    "--sync",
    "sources",
    metavar="SRC",
    multiple=True,
    help="Foretell a copy of SRC (to DEST) too; only SRC is read. May be given again.",
)
@click.option(
    "--exclude-files",
    "excludes",
    metavar="PATTERN",
    multiple=True,
    help="With --sync: leave files out, as `nile sync --exclude` does.",
)
@click.option(
    "--since",
    metavar="RUN",
    help="With --sync: a patch, of what changed in SRC since that run began.",
)
@click.option(
    "--rate",
    metavar="R",
    type=Rate(),
    help="With --sync: what every port and uplink moves, as 200mbit. Default: 1gbit.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object.")
@click.argument("dest", required=False)
def command(
    selection: SelectionOptions,
    t_ssh_s: float,
    t_nile_s: float,
    sources: tuple[str, ...],
    excludes: tuple[str, ...],
    since: str | None,
    rate: float | None,
    as_json: bool,
    dest: str | None,
) -> int:
    """Show the tree that a run would take, and its predicted time.

    Nothing is logged in to. Times are those of the logins, supposing that each takes as long:
    flat N/parallel times T_ssh, in a tree T_ssh + T_nile for each stage (and round of logins).
    """
    from nile.topology.predict import predict

    chosen = select(selection)
    click.echo(chosen.routes.describe(), err=True)
    prediction = predict(chosen.plan, t_ssh_s, t_nile_s)
    if sources:
        copies = foreseen(chosen.plan, Wanted(sources, dest, excludes, since), rate or DEFAULT_RATE)
    else:
        copies = None
        _refuse_alone(
            {f"a destination, {dest}": dest, "--rate": rate, "--since": since, "--exclude-files": excludes}
        )
    if as_json:
        more = {} if copies is None else {"sync": foretold_copies.as_dict(copies)}
        click.echo(json.dumps(as_dict(chosen, prediction) | more))
        return 0
    show(chosen, prediction)
    if copies is not None:
        click.echo()
        for line in foretold_copies.lines(copies, prediction.tree_s):
            click.echo(line)
    return 0


def _refuse_alone(given: dict[str, object]) -> None:
    """What says something of a copy, where none is foretold."""
    for what, value in given.items():
        if value:
            raise UsageError(f"{what} without --sync", remedy="as in: nile plan -a --sync site/ /srv/site")
