"""What a shell offers behind an option: runs, groups, hosts. Whatever goes wrong, it offers nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from nile.errors import NileError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from nile.topology.routes import Routes

MOST = 200
"""Offers at a time: more are no help."""
RUNS = 30
ELSEWHERE = "elsewhere.invalid"
"""Stands for the hosts of groups that a program would have to be asked for: a key that is hit runs none."""


def run_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The latest runs, with their commands."""
    from click.shell_completion import CompletionItem

    from nile.cli import recorded
    from nile.report.text import visible
    from nile.store import Store, store_path

    try:
        if not store_path().exists():
            return []
        with Store(store_path()) as store:
            runs = store.runs(RUNS)
    except (NileError, OSError):
        return []
    names = recorded.short_ids([run.run for run in runs])
    offers = [("last", runs[0].command)] if runs else []
    offers += [(names[run.run], run.command) for run in runs]
    return [
        CompletionItem(name, help=visible(command)[:60])
        for name, command in offers
        if name.startswith(incomplete)
    ]


def group_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The groups of the route file and its inventories."""
    return _named(ctx, incomplete, lambda routes: list(routes.groups))


def host_sets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The file's hosts; behind an @ its groups. Of several, with commas, the last one is completed."""
    before, comma, last = incomplete.rpartition(",")
    first = before + comma

    def names(routes: Routes) -> list[str]:
        hosts = (name for name in routes.hosts if name != ELSEWHERE)
        return [first + name for name in (*(f"@{group}" for group in routes.groups), *hosts)]

    return _named(ctx, first + last, names)


def _named(ctx: click.Context, incomplete: str, names: Callable[[Routes], list[str]]) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from nile.topology.finding import read_routes

    try:
        chosen = ctx.params.get("routes"), ctx.params.get("inventories") or ()
        routes = read_routes(*chosen, lambda group, source: (ELSEWHERE,))
    except (NileError, OSError):
        return []
    return [CompletionItem(name) for name in names(routes) if name.startswith(incomplete)][:MOST]
