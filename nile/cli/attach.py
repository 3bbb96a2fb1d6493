"""`nile attach`: go on with a run whose root died."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from nile.cli import recorded
from nile.cli.caution import check_canaries
from nile.cli.common import allow_descriptors
from nile.cli.completing import run_ids
from nile.cli.outfitting import variables
from nile.cli.passwording import login_password, password_options
from nile.cli.showing import check_showing, showing_options
from nile.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nile.cascade import Heritage
    from nile.events import Event
    from nile.report import Screen
    from nile.store import Handover, HostRecord, NoticeRecord, RunRecord, Store


@click.command("attach", short_help="Go on with a run whose root died.")
@showing_options
@click.option(
    "-y", "--yes", is_flag=True, help="Don't ask what to do after the run's canaries: go on if all are ok."
)
@click.option(
    "--env",
    metavar="K=V",
    multiple=True,
    help="A variable of the run's command: no value is recorded. --env K takes it from here.",
)
@password_options
@click.argument("run", shell_complete=run_ids)
def command(run: str, env: tuple[str, ...], **given: Any) -> int:
    """Go on with a run whose root died: by a `kill -9`, or with its machine.

    RUN is a run's id, a unique beginning of one, or `last`. Hosts wait for a root for the run's
    lease (30 s, or what its route file says), and keep what they print meanwhile. This root logs
    in to them again, takes over what runs there, and starts the command where nobody has started
    it. Nothing runs twice, and nothing that was printed is lost; `nile logs` has all of it.
    """
    from nile.controller import check_attachable
    from nile.store.handover import with_scripts

    check_showing(given)
    screen = recorded.screen()
    with recorded.open_store() as store:
        record = store.run(run)
        handover = with_variables(check_attachable(store, record, time.time()), variables(env), record.run)
        handover = replace(handover, exec=with_scripts(handover.exec, store.with_text))
        return _go_on(screen, store, record, handover, given)


def with_variables(handover: Handover, env: Mapping[str, str], run: str) -> Handover:
    """With the values that the store doesn't have; raises UsageError unless just those are given."""
    outfit = handover.exec.outfit
    if missing := outfit.env.keys() - env.keys():
        names = " ".join(f"--env {name}=..." for name in sorted(missing))
        raise UsageError(
            f"its command has variables whose values aren't recorded: {', '.join(sorted(missing))}",
            where=f"run {run}",
            remedy=f"give them again: nile attach {names} {run}",
        )
    if strange := env.keys() - outfit.env.keys():
        remedy = f"leave it out: `nile show {run}` names those that it has"
        raise UsageError(f"its command has no variable {min(strange)}", where=f"run {run}", remedy=remedy)
    return replace(handover, exec=replace(handover.exec, outfit=replace(outfit, env=dict(env))))


def _go_on(screen: Screen, store: Store, record: RunRecord, handover: Handover, given: dict[str, Any]) -> int:
    from nile.cascade.caution import canaries
    from nile.cli.following import Show, finish
    from nile.cli.secrets import ask_secret
    from nile.controller import heritage, prepare
    from nile.report.text import visible
    from nile.store import RunContext

    password = login_password(given)
    allow_descriptors()
    handover = replace(handover, exec=replace(handover.exec, yes=handover.exec.yes or given["yes"]))
    check_canaries(handover.exec, canaries(handover.plan, handover.hosts, handover.exec))
    options, notices = handover.exec, list[str]()
    control = recorded.control_of(record.run, handover.plan, options, paused=handover.paused)
    with store.recorder(RunContext.here(tuple(sys.argv))) as recorder:

        def take_over() -> Heritage:
            recorder.take_over(record)
            return heritage(store, record, time.time(), paused=handover.paused)

        engine = prepare(
            record.run,
            handover.plan,
            handover.hosts,
            options,
            recorder.record,
            ask_secret,
            notices=notices,
            take_over=take_over,
            check_ours=recorder.check_ours,
            observe=control.observe,
            password=password,
        )
        hosts = store.hosts(record)
        control.observe(_recorded(hosts, store.notices(record)))
        known = [host.result for host in hosts if host.result is not None]
        said = f"{options.command}: {len(known)} of {len(handover.hosts)} hosts had their verdict"
        for line in (said, *notices):
            screen.err.write(f"nile: {visible(line)}\n")
        screen.flush()
        if record.interrupted:
            engine.interrupt(options.grace_s)
        show = Show(screen, store, record.run, given, known)
        unrecorded = show.follow(engine, control, options.grace_s)
    return finish(screen, show, unrecorded, given)


def _recorded(hosts: Sequence[HostRecord], notices: Sequence[NoticeRecord]) -> list[Event]:
    """What befell the hosts up to now: their new root tells of what is new alone."""
    from nile.events import HostStarted, HostUp, Notice

    events: list[Event] = [Notice(notice.text, notice.host) for notice in notices]
    for host in hosts:
        if host.parent is not None and host.t_ready_s is not None:
            since_s = host.t_connect_s or host.t_ready_s
            events.append(HostUp(host.host, host.parent, host.stage or 1, since_s, host.t_ready_s))
        if host.t_start_s is not None:
            events.append(HostStarted(host.host, host.t_start_s))
        if host.result is not None:
            events.append(host.result)
    return events
