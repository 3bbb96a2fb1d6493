"""`nile show`: one run, host by host."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from nile.cli import recorded
from nile.cli.completing import run_ids

if TYPE_CHECKING:
    from nile.report import Screen
    from nile.store import HostRecord, NoticeRecord, RunRecord, Store

HEADINGS = ("HOST", "VERDICT", "STATUS", "VIA", "STAGE", "LOGIN", "READY", "START", "END", "REASON")
NUMBERS = ("STATUS", "STAGE", "LOGIN", "READY", "START", "END")


@click.command("show")
@click.argument("run", shell_complete=run_ids)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with the plan.")
def command(run: str, as_json: bool) -> None:
    """Show a run: its verdicts, paths and times, host by host.

    RUN is a run's id, a unique beginning of one, or `last`. VIA is the way as it was taken, or in
    parentheses as it was planned. Times are seconds from the beginning of the run: the login
    began, the agent was ready, the command started and ended.
    """
    screen = recorded.screen()
    with recorded.open_store() as store:
        record = store.run(run)
        hosts, notices = store.hosts(record), store.notices(record)
        remedy = _remedy(store, record)
    if as_json:
        _write_json(screen, record, hosts, notices)
    else:
        _write_text(screen, record, hosts, notices)
        if remedy:
            screen.out.write(f"{remedy}\n")
    screen.flush()


def _remedy(store: Store, run: RunRecord) -> str:
    """What to do about a run whose root died."""
    from nile.controller import check_attachable
    from nile.errors import NileError
    from nile.store import RunState

    if run.state is not RunState.UNFINISHED:
        return ""
    try:
        check_attachable(store, run, time.time())
    except NileError:
        return ""
    return f"its root died: `nile attach {run.run}` goes on with it, within its lease"


def _write_json(screen: Screen, run: RunRecord, hosts: list[HostRecord], notices: list[NoticeRecord]) -> None:
    from nile.report.jsonlines import line

    value = {
        **recorded.run_object(run),
        "plan": json.loads(run.context.plan),
        "nodes": [_node(host) for host in hosts],
        "notices": [{"at": notice.at, "host": notice.host, "text": notice.text} for notice in notices],
    }
    screen.out.write(line(value))


def _node(host: HostRecord) -> dict[str, Any]:
    from nile.events import HostResult, Verdict
    from nile.report.jsonlines import result_object

    result = host.result
    known = result_object(result or HostResult(host.host, Verdict.LOST))
    del known["event"]
    if result is None:
        known = dict.fromkeys(known) | {
            "host": host.host,
            "command": host.command or None,
            "stage": host.stage,
            "t_connect_s": host.t_connect_s,
            "t_ready_s": host.t_ready_s,
        }
    return known | {
        "asked": host.asked,
        "parent": host.parent,
        "remedy": result and result.remedy,
        "t_start_s": host.t_start_s,
    }


def _write_text(screen: Screen, run: RunRecord, hosts: list[HostRecord], notices: list[NoticeRecord]) -> None:
    from nile.report import Screen, Summary, heading
    from nile.report.table import table
    from nile.report.text import visible
    from nile.report.wording import first_line

    planned = planned_ways(json.loads(run.context.plan))
    for label, text in _head(run):
        screen.out.write(f"{label:<9} {visible(text)}\n")
    for line, names in by_command(hosts).items():
        screen.out.write(f"{visible(heading(names))}: {visible(first_line(line))}\n")
    for text in ["", *table(HEADINGS, [_row(host, planned) for host in hosts], NUMBERS)]:
        screen.out.write(f"{text}\n")
    summary = Summary(Screen(screen.out, screen.out))
    for host in hosts:
        if host.result is not None:
            summary.handle(host.result)
    screen.out.write("\n")
    summary.finish()
    for notice in notices:
        place = f"{notice.host}: " if notice.host else ""
        screen.out.write(f"{recorded.local_time(notice.at)}  {visible(place + notice.text)}\n")


def _head(run: RunRecord) -> Iterator[tuple[str, str]]:
    from nile.report.wording import duration, totals
    from nile.topology.amounts import size

    yield "run", run.run
    yield "command", run.command
    for script in run.scripts():
        yield "script", f"{script['name']}, {size(script['size'])}, sha256 {script['sha256']}"
    if words := outfit_words(run.settings):
        yield "with", words
    wall = "" if run.wall_s is None else f", in {duration(run.wall_s)}"
    yield "state", f"{run.state}: {totals(run.counts, run.without_verdict)}{wall}"
    yield "started", f"{recorded.local_time(run.started_at)} by {run.context.user} in {run.context.directory}"
    yield "as", shlex.join(run.context.argv)
    yield "routes", run.routes or "none"


def by_command(hosts: list[HostRecord]) -> dict[str, list[str]]:
    """Which hosts ran what, where they didn't all run the same."""
    found: dict[str, list[str]] = {}
    for host in hosts:
        if host.command:
            found.setdefault(host.command, []).append(host.host)
    return found


def outfit_words(settings: Mapping[str, Any]) -> str:
    """What the command was given beside its line, as on a command line; of variables the names."""
    from nile.topology.amounts import size

    words = [f"--env {name}" for name in settings.get("env", ())]
    words += ["--clean-env"] if settings.get("clean_env") else []
    words += [f"--cwd {shlex.quote(settings['cwd'])}"] if "cwd" in settings else []
    limits = [f"{name}={value}" for name, value in settings.get("rlimits", {}).items()]
    words += [f"--rlimit {','.join(limits)}"] if limits else []
    words += [f"--sudo-user {settings['sudo']}"] if "sudo" in settings else []
    words += ["--subst"] if settings.get("subst") else []
    words += [f"--sandbox {settings['sandbox']}"] if "sandbox" in settings else []
    words += [f"--scratch {size(settings['scratch']).replace(' ', '')}"] if "scratch" in settings else []
    words += ["--detach"] if settings.get("detach") else []
    return " ".join(words)


def planned_ways(plan: list[dict[str, Any]]) -> dict[str, str]:
    """`root > gw` for every host of a recorded plan: those above it, as they were planned."""
    from nile.topology.model import ROOT_ID, ROOT_NAME

    to = {ROOT_ID: ROOT_NAME}
    ways: dict[str, str] = {}
    for node in plan:  # parents first
        ways[node["host"]] = to[node["parent"]]
        to[node["id"]] = f"{to[node['parent']]} > {node['host']}"
    return ways


def _way(host: HostRecord, planned: Mapping[str, str]) -> str:
    """The way to a host as far as it was taken, or in parentheses as it was planned."""
    taken = [name for name in host.result.path if name != host.host] if host.result else []
    if taken or host.parent:
        return " > ".join(taken) or str(host.parent)
    return f"({planned[host.host]})" if host.host in planned else ""


def _row(host: HostRecord, planned: Mapping[str, str]) -> tuple[str, ...]:
    from nile.report.text import visible
    from nile.report.wording import reason, status

    result = host.result
    verdict = str(result.verdict) if result else "no verdict" if host.asked else "relay"
    times = (host.t_connect_s, host.t_ready_s, host.t_start_s, result.t_end_s if result else None)
    return (
        visible(host.host),
        verdict,
        status(result) if result else "",
        visible(_way(host, planned)),
        str(result.stage if result else host.stage or ""),
        *("" if at is None else f"{at:.2f}" for at in times),
        reason(result) if result and result.verdict != "ok" else "",
    )
