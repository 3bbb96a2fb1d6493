"""`nile stop`: end a run under way, from another terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nile.cli import recorded, underway
from nile.cli.common import Seconds

if TYPE_CHECKING:
    from nile.control import Remote
    from nile.store import RunRecord

LOOK_S = 0.2
"""How often it is looked whether the run is over."""


@click.command("stop", short_help="End a run under way, from another terminal.")
@click.argument("run")
@click.option(
    "--grace", "grace_s", metavar="S", type=Seconds(), default=5.0, help="From SIGTERM to SIGKILL (5s)."
)
@click.option("--no-wait", is_flag=True, help="Don't wait until it is over.")
def command(run: str, grace_s: float, no_wait: bool) -> int:
    """End a run under way, as Ctrl-C at its own terminal does.

    All its commands get SIGTERM and, after the grace, SIGKILL, their descendants too; every host
    still gets its verdict. RUN is a run's id, a unique beginning of one, or `last`. Given again,
    with a shorter --grace, it hurries.

    Exit code: 0 once the run is over, whatever became of its hosts.
    """
    from nile.report.wording import totals

    screen = recorded.screen()
    with underway.root_of(run) as remote:
        remote.stop(grace_s)
    if not no_wait:
        record = _until_over(remote)
        said = totals(record.counts, record.without_verdict)
        screen.out.write(f"run {record.run} is over: {said}\n")
    screen.flush()
    return 0


def _until_over(remote: Remote) -> RunRecord:
    from nile.store import RunState

    with recorded.open_store() as store:
        while (record := store.run(remote.run)).state is RunState.RUNNING:
            time.sleep(LOOK_S)
    return record
