"""`nile ctl`: a run under way, from another terminal."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import click

from nile.cli import recorded, underway


@click.command("ctl", short_help="See where a run under way stands, from another terminal.")
@click.argument("run")
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
        for text in describe(status):
            screen.out.write(f"{text}\n")
    screen.flush()


def describe(status: dict[str, Any]) -> list[str]:
    """The lines of a status (see `nile.control.Standing.status`)."""
    from nile.report.text import visible
    from nile.report.wording import duration, plural

    phases, verdicts = status["phases"], status["verdicts"]
    done = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items(), key=_bad_last))
    counts = [f"{phases[phase]} {WORDS[phase]}" for phase in WORDS if phases[phase]]
    counts.append(f"{phases['done']} done" + (f" ({done})" if done else ""))
    since = duration(status["elapsed_s"])
    lines = [
        f"run {status['run']}, {status['state']} for {since}: {visible(status['command'])}",
        f"{plural(status['hosts'], 'host')}: {', '.join(counts)}",
    ]
    if status["copies"]:
        from nile.topology.amounts import size

        copies = status["copies"]
        part = f"{100 * copies['part']:.0f} % of {size(copies['bytes_whole'])}"
        lines.append(f"copied: {part}, {size(copies['bytes_per_s'])}/s")
    return [*lines, *_still_out(status)]


WORDS = {"out": "not reached yet", "up": "up", "running": "running"}


def _bad_last(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != "ok", item[0]


def _still_out(status: dict[str, Any]) -> list[str]:
    """Hosts that have no verdict, by what they are at; how long the one has been that is at it longest."""
    from nile.report.folding import heading
    from nile.report.wording import duration

    by_phase: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for host in status["open"]:
        by_phase[host["phase"]].append(host)
    lines = []
    for phase, words in WORDS.items():
        if hosts := by_phase[phase]:
            longest = max(0.0, status["elapsed_s"] - min(host["since_s"] for host in hosts))
            names = heading(host["host"] for host in hosts)
            lines.append(f"{words}, for up to {duration(longest)}: {names}")
    return lines
