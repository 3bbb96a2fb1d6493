"""`nile ctl RUN status --watch`: a live run on a terminal of its own, until it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nile.cli import underway

if TYPE_CHECKING:
    from nile.cli.looking import State


def watch(states: Iterator[State], *, as_json: bool) -> None:
    """In place on a terminal; else each state that is another than before. Ctrl-C ends the looking."""
    try:
        if as_json:
            for status, _ in states:
                click.echo(json.dumps(status))
        else:
            _draw(states)
    except KeyboardInterrupt:
        pass


def _draw(states: Iterator[State]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    in_place = console.is_terminal and not console.is_dumb_terminal
    for line in _in_place(console, states) if in_place else _as_lines(states):
        click.echo(line)


def _in_place(console: Any, states: Iterator[State]) -> list[str]:
    """Lines that say how it ended."""
    from rich.live import Live

    from nile.report.board import board

    first, ended = next(states)
    if ended:
        return ended
    with Live(console=console, screen=True, auto_refresh=False) as live:
        live.update(board(first, *console.size), refresh=True)
        for status, ended in states:
            if ended:
                return ended
            live.update(board(status, *console.size), refresh=True)
    return []


def _as_lines(states: Iterator[State]) -> Iterator[str]:
    before: Any = None
    for status, ended in states:
        if ended:
            yield from ended
        elif (now := {**status, "elapsed_s": 0}) != before:
            yield from underway.describe(status)
            yield ""
            before = now
