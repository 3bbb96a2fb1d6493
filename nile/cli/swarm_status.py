"""`nile swarm status`: how each host of a swarm fares, from any terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nile.cli import looking, swarming

if TYPE_CHECKING:
    from rich.console import Group

    from nile.cli.looking import State

STYLES = {"placing": "green", "complete": "green", "ended": "green", "left-out": "dim", "starting": "dim"}
PIPED = 160
"""Columns, where nobody says how many there are."""


@click.command("status", short_help="How far each host is, how fast, of whom it gets it, and why it doesn't.")
@click.argument("run", default="")
@click.option("-f", "--watch", is_flag=True, help="Look on until the swarm ends; Ctrl-C ends the looking.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; with --watch one a line.")
def status(run: str, watch: bool, as_json: bool) -> None:
    """Say how each host of a swarm fares: what part it has, bytes a second, connections, and of whom it
    got that: of the seed, of hosts of its rack (its switch, else its smallest group), or of others.
    Hosts that are alike share a line; their rates are those of each. Who gets nothing, and why, is said.

    RUN is a run's id, a beginning of one, or `last`; it may be left out where one swarm is under way.
    Of one that has ended, it is said how.
    """
    record = swarming.meant(run)
    states = looking.states(record) if watch else iter([looking.state(record)])
    try:
        if as_json:
            for status, _ in states:
                click.echo(json.dumps(status))
        elif watch:
            _watch(states)
        else:
            _print(*next(states))
    except KeyboardInterrupt:
        if not watch:
            raise


def _print(status: dict[str, Any], ended: list[str]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED
    console.print(_drawn(status, ended))


def _watch(states: Iterator[State]) -> None:
    """On a terminal in place; else each as it comes, where it isn't as before."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED
        before: Any = None
        for status, ended in states:
            if (now := {**status, "elapsed_s": 0}) != before:
                console.print(_drawn(status, ended))
                before = now
        return
    with Live(console=console, auto_refresh=False) as live:
        for status, ended in states:
            live.update(_drawn(status, ended), refresh=True)


def _drawn(status: dict[str, Any], ended: list[str]) -> Group:
    from rich.console import Group
    from rich.text import Text

    from nile.report import swarmed

    lines = [Text(text) for text in (ended or swarmed.head(status))]
    swarm = status["swarm"]
    if ended or swarm is None or not swarm["hosts"]:
        return Group(*lines)
    return Group(*lines, Text(), _table(swarmed.rows(swarm)))


def _table(rows: list[Any]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from nile.report.swarmed import HEADINGS, NUMBERS

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in HEADINGS:
        number = title in NUMBERS
        table.add_column(title, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.cells), style="yellow" if row.stuck else STYLES.get(row.state, ""))
    return table
