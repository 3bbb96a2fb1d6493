"""`nile runs`: the runs in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nile.cli import recorded

if TYPE_CHECKING:
    from nile.store import RunRecord

HEADINGS = ("RUN", "STARTED", "STATE", "HOSTS", "OK", "NOT OK", "WALL", "COMMAND")
NUMBERS = ("HOSTS", "OK", "NOT OK", "WALL")


@click.command("runs")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many runs.")
@click.option("-a", "--all", "everything", is_flag=True, help="All runs.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines, one a run.")
def command(limit: int, everything: bool, as_json: bool) -> None:
    """List recorded runs, the newest first.

    STATE is `running`, `ended`, `interrupted` (by Ctrl-C or a signal), or `unfinished`: its root
    died, or runs on another machine. NOT OK counts hosts without a verdict too.
    """
    from nile.report.jsonlines import line

    screen = recorded.screen()
    runs = _latest(None if everything else limit)
    for text in [line(recorded.run_object(run)) for run in runs] if as_json else _table(runs):
        screen.out.write(text)
    if not runs:
        screen.err.write("nile: no run is recorded yet\n")
    screen.flush()


def _latest(limit: int | None) -> list[RunRecord]:
    """The latest runs; looking for them makes no store where there is none."""
    from nile.store import store_path

    if not store_path().exists():
        return []
    with recorded.open_store() as store:
        return store.runs(limit)


def _table(runs: list[RunRecord]) -> list[str]:
    from nile.report.table import table

    if not runs:
        return []
    names = recorded.short_ids([run.run for run in runs])
    return [f"{text}\n" for text in table(HEADINGS, [_row(run, names[run.run]) for run in runs], NUMBERS)]


def _row(run: RunRecord, name: str) -> tuple[str, ...]:
    from nile.events import Verdict
    from nile.report.text import visible
    from nile.report.wording import duration

    good = run.counts.get(Verdict.OK, 0)
    return (
        visible(name),
        recorded.local_time(run.started_at),
        str(run.state),
        str(run.hosts),
        str(good),
        str(run.hosts - good),
        "" if run.wall_s is None else duration(run.wall_s),
        visible(run.command),
    )
