"""`nile swarm stop`: the end of a swarm, in order."""

from __future__ import annotations

import click

from nile.cli import recorded, swarming, underway
from nile.cli.common import Seconds
from nile.errors import NotOverError

GRACE_S = 5.0
LAST_S = 60.0
"""For a run that was ended as by Ctrl-C to be over."""


@click.command("stop", short_help="End all peers and then the seed; each host has its verdict.")
@click.argument("run", default="")
@click.option(
    "--within",
    "within_s",
    metavar="S",
    type=Seconds(),
    default=30.0,
    help="For them to end by themselves (30s); then as `nile stop` does it.",
)
def stop(run: str, within_s: float) -> int:
    """End a swarm: first the peers of all hosts, then the seed. Nothing of them is left there.

    Who has its copy is ok, who lacks something is cancelled, and keeps what it had. RUN is a run's id, a
    beginning of one, or `last`; it may be left out where one swarm is under way.

    Exit code: 0 once it is over, whatever became of its hosts; 1 where it isn't, even so.
    """
    from nile.report.wording import totals

    record = swarming.meant(run)
    with underway.root_of(record.run) as remote:
        remote.conclude()
        ended = underway.until_over(remote, within_s)
        if ended is None:
            remote.stop(GRACE_S)
            ended = underway.until_over(remote, GRACE_S + LAST_S)
    if ended is None:
        remedy = f"`nile ctl {record.run} status` says who is still out; its hosts end within their lease"
        raise NotOverError("it isn't over yet", where=f"run {record.run}", remedy=remedy)
    underway.check_ended(ended)
    screen = recorded.screen()
    screen.out.write(f"run {ended.run} is over: {totals(ended.counts, ended.without_verdict)}\n")
    screen.flush()
    return 0
