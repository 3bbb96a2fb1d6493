"""`nile doctor`: try what Nile needs of hosts, and say what to do where something is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from nile.cli import recorded
from nile.cli.common import (
    SelectionOptions,
    allow_descriptors,
    choose_hosts,
    load_selected,
    selection_options,
)
from nile.cli.examining import (
    MOST_SAID,
    Check,
    Finding,
    Findings,
    Look,
    can_relay,
    examine,
    inner,
    probe_line,
    rounds,
    usable,
)
from nile.cli.passwording import login_password, password_options

if TYPE_CHECKING:
    from nile.controller import AskPassword
    from nile.report import Screen
    from nile.topology.model import Plan
    from nile.topology.routes import Routes

EXIT_UNUSABLE = 4
PROBE_S = 20.0
GRACE_S = 2.0
MOST_REMEDIES = 3
WIDTH = max(map(len, Check)) + 2

EXAMPLES = """\b
Examples:
  nile doctor -w 'n[1-40]'
  nile doctor -w 'n[1-40]' -l admin --write routes.yaml    and write a first route file
  nile doctor -r routes.yaml -a --json
"""


@click.command("doctor", epilog=EXAMPLES)
@selection_options
@password_options
@click.option("--json", "as_json", is_flag=True, help="One object a host (docs/reference/json.md).")
@click.option("--write", metavar="FILE", type=click.Path(), help="Write a first route file, never over one.")
def command(selection: SelectionOptions, as_json: bool, write: str | None, **given: Any) -> int:
    """Try what Nile needs of hosts, and say what to do where something is missing.

    Name, port, host key and login, Python, rsync, sudo (by `sudo -n true`), and whether hosts may
    log in to each other. Host keys are checked as strictly as ever, nothing is changed anywhere.
    Exit code 4 if a host can't be used.
    """
    routes = load_selected(selection)
    hosts = choose_hosts(selection, routes)
    if write is not None:
        from nile.cli.firstroutes import check_first

        check_first(write, routes)
    password = login_password(given)
    screen = recorded.screen()
    screen.err.write(f"{routes.describe()}\n")
    screen.flush()
    allow_descriptors()
    first = _look(screen, _flat(routes, hosts), hosts, probe_line(), password)
    found = examine(first)
    findings = {host: found[host] for host in hosts}
    _try_each_other(screen, routes, first, findings, password)
    if as_json:
        _write_json(screen, findings)
    else:
        _write_text(screen, findings)
    if write is not None:
        from nile.cli.firstroutes import write_first

        write_first(write, selection, hosts, first, findings)
        screen.err.write(f"nile: {write} is written: see it with `nile plan -r {write} -a`\n")
    screen.flush()
    return 0 if all(map(usable, findings.values())) else EXIT_UNUSABLE


def _flat(routes: Routes, hosts: Sequence[str]) -> Plan:
    """The root logs in to each host itself, but to those behind gateways."""
    from nile.topology.behind import from_root
    from nile.topology.model import TreeMode
    from nile.topology.plan import plan

    behind = any(routes.spec(name).via for name in hosts)
    planned = from_root(plan(routes, hosts)) if behind else plan(routes.override(tree=TreeMode.FLAT), hosts)
    return replace(planned, timeouts=replace(planned.timeouts, command_s=PROBE_S))


def _look(screen: Screen, plan: Plan, hosts: Sequence[str], line: str, password: AskPassword | None) -> Look:
    """Run a command over a tree, and keep what matters; nothing of it is recorded."""
    from nile.cli.secrets import ask_secret
    from nile.controller import new_run_id, prepare
    from nile.events import HostOutput, HostResult, HostUp, Notice
    from nile.options import ExecOptions
    from nile.report.text import visible

    look, notices = Look(), list[str]()
    options = ExecOptions(line, grace_s=GRACE_S)
    engine = prepare(
        new_run_id(), plan, hosts, options, lambda _: None, ask_secret, notices=notices, password=password
    )
    for notice in notices:
        screen.err.write(f"nile: {visible(notice)}\n")
    for event in engine.events(None, GRACE_S):
        match event:
            case HostUp(host, parent):
                look.parents[host] = parent
            case HostOutput(host, "stdout", _, data):
                look.said[host] = (look.said.get(host, b"") + data)[:MOST_SAID]
            case HostResult():
                look.results[event.host] = event
            case Notice(text, host):
                look.notices.append(f"{host}: {text}" if host else text)
    look.by_password = engine.by_password
    return look


def _try_each_other(
    screen: Screen,
    routes: Routes,
    first: Look,
    findings: dict[str, Findings],
    password: AskPassword | None,
) -> None:
    """Whether hosts may log in to each other: those behind gateways were reached so, others are tried."""
    from nile.topology.model import ROOT_NAME, TreeMode
    from nile.topology.reach import may_relay

    good = [host for host, found in findings.items() if usable(found)]
    behind = {host for host in good if routes.spec(host).via}
    for host in behind:
        findings[host][Check.INNER] = Finding(first.parents.get(host) != ROOT_NAME)
    if routes.tree is TreeMode.FLAT:
        return
    free = [host for host in good if host not in behind]
    relays = [host for host in free if may_relay(routes.spec(host)) and can_relay(first, host)]
    for tree in rounds(free, relays, routes.limits.branches):
        plan = _below(routes, tree)
        look = _look(screen, plan, [node.host for node in plan.nodes], "exec true", password)
        lower = {host for below in tree.values() for host in below}
        for host, finding in inner(look, ROOT_NAME).items():
            if host in lower:
                findings[host][Check.INNER] = finding


def _below(routes: Routes, tree: Mapping[str, Sequence[str]]) -> Plan:
    from nile.topology.model import Plan
    from nile.topology.shape import Tree, number

    trees = [Tree(relay, [Tree(host) for host in below]) for relay, below in tree.items()]
    names = dict.fromkeys(name for each in trees for name in each.hosts())
    specs = {name: routes.spec(name) for name in names}
    timeouts = replace(routes.timeouts, command_s=PROBE_S)
    return Plan(number(trees, names), specs, routes.limits, timeouts, routes.source)


def _write_json(screen: Screen, findings: Mapping[str, Findings]) -> None:
    from nile.report.jsonlines import line

    for host, found in findings.items():
        checks: dict[str, Any] = {
            check.name.lower(): {"ok": one.ok, "said": one.said, "remedy": one.remedy}
            for check, one in found.items()
        }
        screen.out.write(line({"host": host, "usable": usable(found), "checks": checks}))


def _write_text(screen: Screen, findings: Mapping[str, Findings]) -> None:
    from nile.report.text import visible
    from nile.report.wording import plural

    for check in Check:
        for number, text in enumerate(_lines(check, findings)):
            head = check if number == 0 else ""
            screen.out.write(f"{head:<{WIDTH}}{visible(text)}\n")
    good = sum(map(usable, findings.values()))
    screen.out.write(f"\n{good} of {plural(len(findings), 'host')} can be used\n")


def _lines(check: Check, findings: Mapping[str, Findings]) -> Iterator[str]:
    """How a check went: hosts that fared alike on one line, below it what to do."""
    from nile.report import heading

    groups: defaultdict[tuple[bool, str], list[str]] = defaultdict(list)
    for host, found in findings.items():
        if (ok := found[check].ok) is not None:
            groups[ok, found[check].cause or found[check].said].append(host)
    for (ok, _), hosts in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]))):
        yield f"{heading(hosts)}: {_words([findings[host][check] for host in hosts], ok)}"
        for remedy in _remedies(hosts, [findings[host][check].remedy for host in hosts]):
            yield f"  {remedy}"
    if not groups:
        yield "not tried"


def _words(findings: Sequence[Finding], ok: bool) -> str:
    """What was found of hosts that fared alike."""
    told = dict.fromkeys(one.said for one in findings)
    first = next(iter(told)) or ("ok" if ok else "failed")
    return first if len(told) == 1 else f"{findings[0].cause}; one of them: {first}"


def _remedies(hosts: Sequence[str], remedies: Sequence[str]) -> Iterator[str]:
    """Each once; those that only differ in the host's name, for all hosts together."""
    from nile.report import folded

    told = dict.fromkeys(
        remedy.replace(f"-w {host}", f"-w '{folded(hosts)}'") if remedy.endswith(f"-w {host}") else remedy
        for host, remedy in zip(hosts, remedies, strict=True)
    )
    known = [remedy for remedy in told if remedy]
    yield from known[:MOST_REMEDIES]
    if known[MOST_REMEDIES:]:
        yield f"and {len(known) - MOST_REMEDIES} more such (--json has all)"
