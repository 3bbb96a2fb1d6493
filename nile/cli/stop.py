"""`nile stop`: end a run under way, from another terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nile.cli import recorded, underway
from nile.cli.common import Seconds
from nile.cli.completing import run_ids
from nile.errors import NileError

if TYPE_CHECKING:
    from nile.control import Remote
    from nile.report import Screen
    from nile.store import RunRecord

LOOK_S = 0.2
"""How often it is looked whether the run is over."""
TELL_S = 10.0
"""So long after the grace whoever waits is told who is still out,"""
MOST_S = 60.0
"""and so long after it waits no more: the root gives up hosts within some seconds, if it does anything."""


@click.command("stop", short_help="End a run under way, from another terminal.")
@click.argument("run", shell_complete=run_ids)
@click.option(
    "--grace", "grace_s", metavar="S", type=Seconds(), default=5.0, help="From SIGTERM to SIGKILL (5s)."
)
@click.option("--no-wait", is_flag=True, help="Don't wait until it is over.")
def command(run: str, grace_s: float, no_wait: bool) -> int:
    """End a run under way, as Ctrl-C at its own terminal does.

    All its commands get SIGTERM and, after the grace, SIGKILL, their descendants too; every host
    still gets its verdict. RUN is a run's id, a unique beginning of one, or `last`. Given again,
    with a shorter --grace, it hurries.

    Exit code: 0 once the run is over, whatever became of its hosts; 1 if it isn't a minute after the
    grace.
    """
    from nile.report.wording import totals

    screen = recorded.screen()
    with underway.root_of(run) as remote:
        remote.stop(grace_s)
    if not no_wait:
        record = _until_over(screen, remote, grace_s)
        said = totals(record.counts, record.without_verdict)
        screen.out.write(f"run {record.run} is over: {said}\n")
    screen.flush()
    return 0


def _until_over(screen: Screen, remote: Remote, grace_s: float) -> RunRecord:
    """The record of the run once it is over; raises NileError where that takes too long."""
    from nile.store import RunState

    tell_at = time.monotonic() + grace_s + TELL_S
    most_at = tell_at - TELL_S + MOST_S
    with recorded.open_store() as store:
        while (record := store.run(remote.run)).state is RunState.RUNNING:
            now = time.monotonic()
            if now >= most_at:
                raise _still_runs(record)
            if now >= tell_at:
                tell_at = most_at
                _tell(screen, remote)
            time.sleep(LOOK_S)
    underway.check_ended(record)
    return record


def _tell(screen: Screen, remote: Remote) -> None:
    """Who is still out, if its root says so."""
    from nile.control import NoAnswerError, RefusedError

    try:
        lines = underway.describe(remote.status())
    except (NoAnswerError, RefusedError) as error:
        lines = [f"its root doesn't answer: {error}"]
    screen.err.write("nile: it isn't over yet\n" + "".join(f"  {line}\n" for line in lines))
    screen.flush()


def _still_runs(record: RunRecord) -> NileError:
    pid = record.context.process.split()[2]
    return NileError(
        f"it was told to end, and isn't over {MOST_S:g} s after the grace",
        where=f"run {record.run}",
        remedy=f"`nile ctl {record.run} status` says who is still out; "
        f"`kill -9 {pid}` ends its root, and hosts end what they run within their lease",
    )
