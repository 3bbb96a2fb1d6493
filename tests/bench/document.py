"""docs/benchmarks.md, written from the results."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.faults import AFTER_S, GOODBYE_S, MOST_S, Aftermath, Contender
from tests.bench.results import Result, Stage
from tests.bench.spent import Spent
from tests.bench.tools import NILE, XARGS, Tool, version

MEASURES = ("wall", "cpu")
Accounts = Mapping[str, Spent]

INTRODUCTION = """# Benchmarks

Written by `make bench`; don't edit. {hosts} hosts on one machine, each in network, mount, PID, UTS and IPC
namespaces of its own with a real sshd; the root is one more. Medians of {repeat} runs (least to most in
brackets), the tools taking turns within each round. A run counts only if every host's answer is there.

Equal for all tools: hosts, key, known_hosts (strict checking), number of logins at a time, cold connections,
key exchange without sntrup761 (which alone costs an older client 150 ms of CPU a login and would drown the
rest). *wall* is from the start of the tool to its end; *CPU* is user and system time of all its processes on
the root machine. All hosts share this machine's {cores} cores, so a cold start's wall time measures the total
work; on hosts of their own, the logins of a tree's later stages would run side by side.
"""

FAULTS_TITLE = "## What is left of a run that something befalls"
FAULTS_TEXT = """{hosts} hosts, logins delayed by half a second. The command appends a line to a file of
its host and sleeps; where the run is to end by the fault (the first four) it also starts a daemonised child.
It and its descendants bear a mark in their environment.

- *alive*: processes of the run on all hosts, from /proc, {after:g} s after the fault where the run is to end
  by it (Nile's silence of 2.8 s, lease of 6 s, grace of 2 s, and 2 s more), else {goodbye:g} s after the
  tool's end.
- *no verdict*: hosts of which the tool's output says neither that they are done nor how they ended. What
  counts stands below. A tool that was killed says nothing more, whatever it recorded.
- *ran twice*, *never ran*: hosts whose file has more than one line; hosts that were there all the time, and
  whose file has none.
- *ended after*: from the fault to the tool's end; one that runs on for {most:g} s is taken to hang, and is
  killed.

A relay is a host from which others are logged in to; pdsh has none, and its first host is struck instead.
Ctrl-C reaches the whole process group, as in a terminal. All ssh clients but Nile's send keep-alives each
second and give up after three, which their tools don't ask for by themselves.
"""

FIGURES_TITLE = "## What Nile is to keep to by itself"
FIGURES_TEXT = """Beside no other tool. Memory is the most that a process ever had. The flood's
reader stands still for {still:g} s in the middle of it, longer than the lease of {lease} s: every byte of
every host has to come in the end, and no host may have been killed for having to wait.
"""
_PARTS = re.compile(r"^(?=## )", re.MULTILINE)


def page(
    results: Sequence[Result],
    stages: Sequence[Stage],
    accounts: Accounts,
    hosts: int,
    repeat: int,
    tools: Sequence[Tool],
) -> str:
    """The whole page, as Markdown."""
    parts = [INTRODUCTION.format(hosts=hosts, repeat=repeat, cores=os.cpu_count())]
    parts += ["\n".join(_scenario(result, tools)) for result in results]
    if accounts:
        parts.append("\n".join(_spent(accounts, hosts)))
    if stages:
        parts.append("\n".join(_stages(stages)))
    parts.append("\n".join(machine(tools)))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def faults(found: Sequence[Aftermath], contenders: Sequence[Contender], hosts: int) -> str:
    """The section on what is left of a run that something befell."""
    return "\n".join(_faults(found, contenders, hosts)).rstrip("\n") + "\n"


def with_section(text: str, section: str) -> str:
    """The page with this section, in the place of one that has its title, or before the last."""
    title = section.partition("\n")[0]
    parts = _PARTS.split(text)
    for place, part in enumerate(parts):
        if part.startswith(f"{title}\n"):
            return "".join([*parts[:place], section, "\n", *parts[place + 1 :]])
    return "".join([*parts[:-1], section, "\n", parts[-1]])


def section_of(text: str, title: str) -> str:
    """The section of that title of a page, or nothing."""
    parts = [part for part in _PARTS.split(text) if part.startswith(f"{title}\n")]
    return parts[0].rstrip("\n") + "\n" if parts else ""


def _faults(found: Sequence[Aftermath], contenders: Sequence[Contender], hosts: int) -> Iterator[str]:
    tools = {contender.tool.name: contender for contender in contenders}
    text = FAULTS_TEXT.format(hosts=hosts, after=AFTER_S, goodbye=GOODBYE_S, most=MOST_S)
    yield f"{FAULTS_TITLE}\n\n{text}"
    yield "| what befalls the run | tool | alive | no verdict | ran twice | never ran | it ended after, s |"
    yield "|---|---|---|---|---|---|---|"
    for each in found:
        ended = "hung" if each.ended_s is None else f"{each.ended_s:.0f}"
        numbers = f"{each.alive} | {each.unjudged} | {each.twice} | {each.never}"
        yield f"| {each.fault} | {each.tool} | {numbers} | {ended} |"
    yield "\n| tool | with | what counts as a verdict in its output |\n|---|---|---|"
    for contender in tools.values():
        yield f"| {contender.tool.name} | {contender.given} | {contender.counts} |"
    yield f"\nMeasured on {time.strftime('%Y-%m-%d')}, one run each."


def _scenario(result: Result, tools: Sequence[Tool]) -> Iterator[str]:
    scenario = result.scenario
    yield f"## {scenario.title}\n\n{scenario.text} {result.window} logins at a time.\n"
    yield "| tool | wall, s | Nile / tool | CPU at the root, s | Nile / tool | how |"
    yield "|---|---|---|---|---|---|"
    for tool in tools:
        if tool.name in result.samples:
            wall, cpu = (f"{_span(result, tool, what)} | {_ratio(result, tool, what)}" for what in MEASURES)
            yield f"| {tool.name} | {wall} | {cpu} | {tool.note} |"
    if targets := list(_targets(result)):
        yield "\n| aim | reached | |\n|---|---|---|"
        yield from targets
    for failure in result.failures():
        yield f"\nA run went wrong and isn't counted: {' '.join(failure.split())}"


def _span(result: Result, tool: Tool, measure: str) -> str:
    values = result.values(tool.name, measure)
    middle = result.middle(tool.name, measure)
    return "no run went well" if middle is None else f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})"


def _ratio(result: Result, tool: Tool, measure: str) -> str:
    ratio = result.ratio(tool.name, measure)
    return "" if ratio is None or tool is NILE else f"{ratio:.2f}"


def _targets(result: Result) -> Iterator[str]:
    for target in result.scenario.targets:
        ratio = result.ratio(target.tool, target.measure)
        if ratio is not None:
            met = "met" if ratio <= target.at_most else "missed"
            yield f"| {target.measure} at most {target.at_most} times {target.tool} | {ratio:.2f} | {met} |"


def _spent(accounts: Accounts, hosts: int) -> Iterator[str]:
    """CPU of the whole machine, a host: programs in the order of what they cost."""
    names = [name for name in (NILE.name, XARGS.name) if name in accounts]
    programs = {program for name in names for program in accounts[name]}
    cost = {
        (name, program): accounts[name].get(program, (0, 0.0))[1] * 1000 / hosts
        for name in names
        for program in programs
    }
    yield "## What each millisecond is spent on\n"
    yield "CPU milliseconds a host, of root, relays and leaves together, by program; one cold run each."
    yield "`nile` is the root, `python3` the agents, `ssh` the logins, `sshd` the hosts' part in them.\n"
    yield f"| program | {' | '.join(f'{name} | tasks' for name in names)} |"
    yield "|---|" + "---|---|" * len(names)
    shown = [program for program in programs if max(cost[name, program] for name in names) >= 0.1]
    for program in sorted(shown, key=lambda program: -cost[names[0], program]):
        cells = (f"{cost[name, program]:.1f} | {accounts[name].get(program, (0, 0))[0]}" for name in names)
        yield f"| {program} | {' | '.join(cells)} |"
    totals = (f"{sum(cost[name, program] for program in programs):.1f} | " for name in names)
    yield f"| all | {' | '.join(totals)} |"


def _stages(stages: Sequence[Stage]) -> Iterator[str]:
    yield "## When each stage is done\n"
    yield "Seconds since the run began, median of the stage's hosts and the last of them; one cold run.\n"
    yield "| stage | login begun | agent ready | command ended |\n|---|---|---|---|"
    for stage in stages:
        spans = (f"{middle:.2f}, {last:.2f}" for middle, last in (stage.connect, stage.ready, stage.end))
        yield f"| {stage.number} | {' | '.join(spans)} |"


def machine(tools: Sequence[Tool]) -> Iterator[str]:
    """What all this ran on."""
    yield "## Machine and versions\n"
    yield f"- {_cpu()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB; {time.strftime('%Y-%m-%d')}"
    yield f"- {platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release().split('-')[0]}"
    yield f"- {version(XARGS)}"
    yield f"- Python {platform.python_version()} at the root, {_hosts_python()} on the hosts"
    versions = dict.fromkeys(version(tool) for tool in tools if tool is not XARGS)
    if versions:
        yield f"- {'; '.join(versions)}"


def _hosts_python() -> str:
    done = subprocess.run(
        ["python3", "--version"], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    return done.stdout.strip().removeprefix("Python ")


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
