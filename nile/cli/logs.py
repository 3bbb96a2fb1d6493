"""`nile logs`: what the hosts of a run wrote."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from nile.cli import recorded
from nile.cli.completing import run_ids
from nile.errors import UsageError

if TYPE_CHECKING:
    from nile.report import Renderer, Screen
    from nile.store import HostRecord, RunRecord, Store


LOOK_S = 0.2
"""How often it is looked for more."""


@click.command("logs")
@click.argument("run", shell_complete=run_ids)
@click.option("-w", "--hosts", metavar="HOSTS", help="Only these hosts of the run.")
@click.option("--failed", is_flag=True, help="Only hosts that aren't ok.")
@click.option("-b", "--fold", is_flag=True, help="Fold equal output under a host set.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends, as tail -f does.")
def command(run: str, hosts: str | None, failed: bool, fold: bool, follow: bool) -> None:
    """Print what the hosts of a run wrote, as `nile exec` did, in the order in which it came.

    RUN is a run's id, a unique beginning of one, or `last`. Hosts that aren't ok are named on
    standard error, those that wrote nothing too.
    """
    if follow and (fold or failed):
        remedy = "what is equal, and who failed, is known once the run has ended: leave one of the two out"
        raise UsageError(f"--follow and {'-b' if fold else '--failed'} can't go together", remedy=remedy)
    screen = recorded.screen()
    with recorded.open_store() as store:
        record = store.run(run)
        chosen = _chosen(store, record, hosts, failed=failed)
        if follow:
            record = _follow(_renderer(screen, store, record, fold=False), store, record, chosen)
            chosen = _chosen(store, record, hosts, failed=False)
        else:
            _write_output(_renderer(screen, store, record, fold=fold), store, record, chosen)
    _write_verdicts(screen, record, chosen)


def _chosen(store: Store, run: RunRecord, hosts: str | None, *, failed: bool) -> list[HostRecord]:
    """The hosts to show; UsageError where one is named that had no part in the run."""
    known = {host.host: host for host in store.hosts(run) if host.asked}
    chosen = list(known.values())
    if hosts is not None:
        names = _expanded(hosts, list(known))
        if strange := [name for name in names if name not in known]:
            from nile.report import folded

            raise UsageError(
                f"{folded(strange)} was not asked for in run {run.run}",
                where="-w",
                remedy=f"`nile show {run.run}` lists its hosts",
            )
        chosen = [known[name] for name in names]
    return [host for host in chosen if not failed or _is_bad(host, run)]


def _expanded(hosts: str, known: list[str]) -> tuple[str, ...]:
    from nile.topology.groups_conf import system_groups
    from nile.topology.hostsets import HostSetError, HostSets

    try:
        return HostSets(hosts=known, source=system_groups).expand(hosts)
    except HostSetError as error:
        raise error.usage_error("-w") from error


def _is_bad(host: HostRecord, run: RunRecord) -> bool:
    """Not ok; a host that is still at work is neither."""
    if host.result is None:
        return run.state != "running"
    return host.result.verdict != "ok"


def _renderer(screen: Screen, store: Store, run: RunRecord, *, fold: bool) -> Renderer:
    from nile.report import Fold, Live

    return Fold(screen, store.chunk_reader(run.run)) if fold else Live(screen)


def _write_output(renderer: Renderer, store: Store, run: RunRecord, chosen: list[HostRecord]) -> None:
    for chunk in store.output(run, frozenset(host.host for host in chosen)):
        renderer.handle(chunk)
    renderer.finish()


def _follow(renderer: Renderer, store: Store, run: RunRecord, chosen: list[HostRecord]) -> RunRecord:
    """Write what is there, and what comes until the run is over; the record of the run then."""
    names = frozenset(host.host for host in chosen)
    place, over = -1, False
    while True:
        for at, chunk in store.output_behind(run, place, names):
            renderer.handle(chunk)
            place = at
        if over:
            renderer.finish()
            return run
        run = store.run(run.run)
        if not (over := run.state != "running"):  # what came before that is there by the next look
            time.sleep(LOOK_S)


def _write_verdicts(screen: Screen, run: RunRecord, chosen: list[HostRecord]) -> None:
    from nile.report import Summary, heading

    summary = Summary(screen, quiet=True)
    for host in chosen:
        if host.result is not None:
            summary.handle(host.result)
    summary.finish()
    if waiting := [host.host for host in chosen if host.result is None]:
        why = "the run goes on" if run.state == "running" else "the root died before it had one"
        screen.err.write(f"nile: no verdict: {heading(waiting)}: {why}\n")
    screen.flush()
