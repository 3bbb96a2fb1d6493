"""`nile plan`: the tree that a run would take, and how long its logins should take."""

from __future__ import annotations

import json

import click

from nile.cli import foretold_copies
from nile.cli.common import Seconds, SelectionOptions, select, selection_options
from nile.cli.foretold_copies import foreseen
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
    "--sync", "source", metavar="SRC", help="Foretell a copy of SRC (to DEST) too; only SRC is read."
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
    source: str | None,
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
    if source is None:
        if dest is not None or rate is not None:
            what = "--rate" if dest is None else f"a destination, {dest}"
            raise UsageError(f"{what} without --sync", remedy="as in: nile plan -a --sync site/ /srv/site")
        copies = None
    else:
        copies = foreseen(chosen.plan, source, dest, rate or DEFAULT_RATE)
    if as_json:
        more = {} if copies is None else {"sync": foretold_copies.as_dict(copies)}
        click.echo(json.dumps(as_dict(chosen, prediction) | more))
        return 0
    show(chosen, prediction)
    if copies is not None and source is not None:
        click.echo()
        for line in foretold_copies.lines(copies, source, dest, prediction.tree_s):
            click.echo(line)
    return 0
