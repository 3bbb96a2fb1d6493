"""`nile prune`: take old runs out of the store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from nile.cli import recorded
from nile.topology.amounts import amount
from nile.topology.refusal import Refusal

if TYPE_CHECKING:
    from nile.report import Screen
    from nile.store import Pruning, RunRecord

    _Text = click.ParamType[Any]
else:
    _Text = click.ParamType

DAYS = {"d": 24 * 3600.0, "w": 7 * 24 * 3600.0}
MOST_S = 100 * 365 * 24 * 3600.0

EXAMPLES = """\b
Examples:
  nile prune --older-than 90d        runs that began more than 90 days ago
  nile prune --keep 1000             all but the newest 1000
  nile prune --max-size 500M         the oldest, until the rest takes no more
  nile prune --cap 5G                let the store grow to 5 GiB from now on
"""


class Converted(_Text):
    """A word of the command line that a function understands; it raises `Refusal`."""

    def __init__(self, name: str, convert: Callable[[str], Any]) -> None:
        self.name = name
        self._convert = convert

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value."""
        if not isinstance(value, str):
            return value
        try:
            return self._convert(value)
        except Refusal as refusal:
            self.fail(f"{refusal.message}; {refusal.remedy}", param, ctx)


def age_s(text: str) -> float:
    """A duration, in days and weeks, too; seconds."""
    from nile.topology.durations import seconds

    if found := re.fullmatch(r"(\d{1,6})([dw])", text):
        return int(found[1]) * DAYS[found[2]]
    try:
        return seconds(text, MOST_S)
    except Refusal as refusal:
        raise Refusal(refusal.message, "write a number and a unit (s, m, h, d, w), as in 90d") from refusal


def _cap(text: str) -> int:
    """Bytes; 0 is `none`."""
    return 0 if text == "none" else max(amount(text), SMALLEST_CAP)


SMALLEST_CAP = 1 << 20


@click.command("prune", epilog=EXAMPLES)
@click.option("--older-than", "older_s", metavar="AGE", type=Converted("age", age_s), help="As 90d, 12h, 4w.")
@click.option("--keep", metavar="N", type=click.IntRange(min=0), help="Keep the N newest runs.")
@click.option(
    "--max-size", metavar="SIZE", type=Converted("size", amount), help="Until the rest takes SIZE, as 500M."
)
@click.option(
    "--cap",
    metavar="SIZE|none",
    type=Converted("size", _cap),
    help="From now on remove the oldest runs when the store passes SIZE. At first: 1G.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
def command(
    older_s: float | None, keep: int | None, max_size: int | None, cap: int | None, dry_run: bool
) -> None:
    """Remove runs from the store, the oldest first: what all of the options given allow.

    A run that is under way stays, and for a day one whose root died. Without an option only what
    the cap demands goes. What a killed `--no-store` run left goes in any case.
    """
    from nile.cli.keeping import sweep
    from nile.store import Pruning, removable, store_path
    from nile.topology.amounts import size

    screen = recorded.screen()
    if not dry_run:
        sweep(store_path().parent)
    with recorded.open_store() as store:
        newest = store.runs()
    with Pruning(store_path()) as pruning:
        if cap is not None and not dry_run:
            pruning.set_cap(cap or None)
        limit = cap if cap is not None else pruning.cap()
        by_cap = older_s is None and keep is None and max_size is None
        max_size = limit or None if by_cap else max_size
        before = pruning.size()
        over = removable(newest, time.time()) if limit or not by_cap else []
        runs = _chosen(over, newest, older_s, keep)
        if not dry_run:
            runs = _remove(pruning, runs, max_size)
            pruning.give_back()
        _say(screen, runs, dry_run, max_size)
        screen.err.write(
            f"nile: the store takes {size(pruning.size())}"
            + (f", before {size(before)}" if runs and not dry_run else "")
            + f"; its cap is {size(limit) if limit else 'none'}\n"
        )
    screen.flush()


def _chosen(
    old: list[RunRecord], newest: list[RunRecord], older_s: float | None, keep: int | None
) -> list[RunRecord]:
    """Of those that are over, the ones that age and number let go."""
    if older_s is not None:
        old = [run for run in old if run.started_at < time.time() - older_s]
    if keep is not None:
        kept = {run.key for run in newest[:keep]}
        old = [run for run in old if run.key not in kept]
    return old


def _remove(pruning: Pruning, runs: list[RunRecord], max_size: int | None) -> list[RunRecord]:
    return pruning.shrink_to(runs, -1 if max_size is None else max_size)


def _say(screen: Screen, runs: list[RunRecord], dry_run: bool, max_size: int | None) -> None:
    from nile.report.wording import plural

    if dry_run and max_size is not None:
        screen.err.write("nile: how many it takes to reach that size is known once they are removed\n")
    number = plural(len(runs), "run")
    if not runs:
        screen.out.write("no run is to be removed\n")
        return
    span = (
        f"begun from {recorded.local_time(runs[0].started_at)} to {recorded.local_time(runs[-1].started_at)}"
    )
    up_to = "up to " if dry_run and max_size is not None else ""
    screen.out.write(f"{'would remove ' + up_to if dry_run else 'removed '}{number}, {span}\n")
