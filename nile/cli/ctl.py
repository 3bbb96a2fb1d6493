"""`nile ctl`: a run under way, from another terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from nile.cli import recorded, underway
from nile.cli.completing import run_ids
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.options import Pacing

NUMBERED = {
    "parallel": "each node runs {} logins at a time",
    "fanout": "the command runs on {} hosts at one time",
}
SAID = {"pause": "no further login or command begins, and what runs goes on", "resume": "it goes on"}


@click.command("ctl", short_help="See where a run under way stands, or slow it down, from another terminal.")
@click.argument("run", shell_complete=run_ids)
@click.argument("what", type=click.Choice(["status", *NUMBERED, *SAID]))
@click.argument("number", type=click.IntRange(1, 1_000_000), required=False)
@click.option(
    "--watch", is_flag=True, help="status: look on until the run ends; Ctrl-C ends the looking, not the run."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="status: one JSON object (docs/reference/json.md); with --watch one a line.",
)
def command(run: str, what: str, number: int | None, watch: bool, as_json: bool) -> None:
    """See where a run under way stands, slow it down, speed it up, or pause it.

    \b
    status      who is done, who is still out and for how long, and what broke; with --watch in place, by
                stage, on as much of the terminal as there is
    parallel N  each node runs N logins at a time from now on (as --parallel)
    fanout N    the command runs on N hosts at one time from now on (as -f; of a run that has -f,
                --batch, --canary or --max-failures: else hosts start it as soon as they are reached)
    pause       no further login or command begins; what runs goes on, and logins under way are finished
    resume      it goes on

    RUN is a run's id, a unique beginning of one, or `last`. Only the user who began the run can ask,
    on the machine where it was begun. `nile stop` ends it.

    \b
    Examples:
      nile ctl last status
      nile ctl last status --watch
      nile ctl 3b7e status --json
      nile ctl last parallel 5
      nile ctl last pause
    """
    pacing = _pacing(what, number)
    if watch:
        _watch(run, what, as_json)
        return
    screen = recorded.screen()
    with underway.root_of(run) as remote:
        if pacing is not None:
            remote.pace(pacing)
            said = SAID.get(what) or NUMBERED[what].format(number)
            screen.out.write(f"run {remote.run}: {said}\n")
        elif as_json:
            screen.out.write(json.dumps(remote.status()) + "\n")
        else:
            for text in underway.describe(remote.status()):
                screen.out.write(f"{text}\n")
    screen.flush()


def _watch(run: str, what: str, as_json: bool) -> None:
    from nile.cli import looking
    from nile.cli.watching import watch

    if what != "status":
        raise UsageError(
            f"{what} can't be watched", where="--watch", remedy="as in: nile ctl last status --watch"
        )
    with recorded.open_store() as store:
        record = store.run(run)
    watch(looking.states(record), as_json=as_json)


def _pacing(what: str, number: int | None) -> Pacing | None:
    """What is to change, if anything; raises UsageError."""
    from nile.options import Pacing

    if what in NUMBERED:
        if number is None:
            raise UsageError("how many?", where=what, remedy=f"as in: nile ctl last {what} 5")
        return Pacing(parallel=number) if what == "parallel" else Pacing(fanout=number)
    if number is not None:
        raise UsageError(f"{what} takes no number", where=str(number), remedy="leave it out")
    return Pacing(paused=what == "pause") if what in SAID else None
