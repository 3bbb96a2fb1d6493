"""`nile ctl`: a run under way, from another terminal."""

from __future__ import annotations

import json

import click

from nile.cli import recorded, underway
from nile.cli.completing import run_ids


@click.command("ctl", short_help="See where a run under way stands, from another terminal.")
@click.argument("run", shell_complete=run_ids)
@click.argument("what", type=click.Choice(["status"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object (docs/reference/json.md).")
def command(run: str, what: str, as_json: bool) -> None:
    """See where a run under way stands: who is done, who is still out, and for how long.

    RUN is a run's id, a unique beginning of one, or `last`. Only the user who began the run can ask,
    on the machine where it was begun. `nile stop` ends it.

    \b
    Examples:
      nile ctl last status
      nile ctl 3b7e status --json
    """
    screen = recorded.screen()
    with underway.root_of(run) as remote:
        status = remote.status()
    if as_json:
        screen.out.write(json.dumps(status) + "\n")
    else:
        for text in underway.describe(status):
            screen.out.write(f"{text}\n")
    screen.flush()
