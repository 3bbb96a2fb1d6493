"""Nile beside pdsh, clush, TakTuk and pssh, on a lab of network namespaces. Needs root.

    python -m tests.bench.exec_bench --hosts 100 --repeat 5
    python -m tests.bench.exec_bench --faults --write docs/benchmarks.md

Runs of all tools take turns, round by round, so that whatever else the machine
does falls on all of them alike; a table has medians. A run in which a host
didn't answer is named, counts nowhere, and makes this exit 1.

Then all that have a tree, and pdsh, meet faults: what is left of their runs is
told, and judged by nobody. `--faults` and `--timings` do one of the two, and
leave the rest of the page as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import document, faults, meter
from tests.bench.results import Result, Scenario, Stage, Target
from tests.bench.site import Sample, Site, site
from tests.bench.spent import Accounting, Spent
from tests.bench.tools import CLUSH_TREE, COLD, NILE, PDSH, SLOW, TAKTUK, XARGS, Tool

COLD_SCENARIO = Scenario(
    "Cold start",
    "`hostname -s` on every host, nothing kept open from before.",
    0.0,
    (
        Target(XARGS.name, "wall", 1.8),
        Target(TAKTUK.name, "wall", 0.6),
        Target(CLUSH_TREE.name, "wall", 0.95),
        Target(PDSH.name, "cpu", 0.5),
    ),
)
SLOW_SCENARIO = Scenario(
    "Slow logins",
    "The same where every login takes a second longer, as with a slow directory service.",
    1.0,
    (Target(PDSH.name, "wall", 0.6), Target(CLUSH_TREE.name, "wall", 0.9)),
)


def compare(where: Site, scenario: Scenario, tools: Sequence[Tool], repeat: int) -> Result:
    """Run every tool `repeat` times, taking turns."""
    samples: dict[str, list[Sample]] = {tool.name: [] for tool in tools}
    for turn in range(1, repeat + 1):
        for tool in tools:
            sample = where.run(tool)
            samples[tool.name].append(sample)
            said = f"{sample.wall_s:7.2f} s wall {sample.cpu_s:7.2f} s CPU  {sample.problem}"
            print(f"{scenario.title}, turn {turn}: {tool.name:12} {said}", file=sys.stderr)
    return Result(scenario, where.case.window, samples)


def stages(where: Site) -> list[Stage]:
    """When logins began, agents spoke and commands ended in each stage, in one run of Nile."""
    output = where.run(NILE, "--json").output
    events = [json.loads(line) for line in output.splitlines()]
    results = [event for event in events if event["event"] == "result"]
    return [
        Stage(number, *(_times(results, number, name) for name in ("t_connect_s", "t_ready_s", "t_end_s")))
        for number in sorted({result["stage"] for result in results})
    ]


def _times(results: list[dict[str, Any]], stage: int, name: str) -> tuple[float, float]:
    values = [result[name] for result in results if result["stage"] == stage]
    return median(values), max(values)


def account(where: Site, tool: Tool) -> Spent:
    """What the root and all hosts spend while a tool runs once."""
    with Accounting([os.getpid(), where.supervisor]) as accounting:
        sample = where.run(tool)
        spent = accounting.stop()
    if sample.problem:
        raise RuntimeError(f"{tool.name}: {sample.problem}")
    return {program: cost for program, cost in spent.items() if program != meter.NAME}


def main() -> int:
    """Run what was asked for, print it, write it down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--window", type=int, default=64, help="logins at a time, cold")
    parser.add_argument("--slow-window", type=int, default=16, help="logins at a time, slow logins")
    parser.add_argument(
        "--only", nargs="+", metavar="TOOL", help=", ".join(f"{tool.name!r}" for tool in COLD)
    )
    parser.add_argument("--fault-hosts", type=int, default=60, help="hosts where faults are met")
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        "--faults", action="store_true", help="only what is left of a run that something befalls"
    )
    part.add_argument("--timings", action="store_true", help="all but that")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can make network namespaces; run it with sudo")
    before = asked.write.read_text() if asked.write and asked.write.exists() else ""
    if asked.faults and not before:
        parser.error("--faults --write FILE puts its section into a page that is there")
    results, page = ([], before) if asked.faults else timings(asked)
    faced = document.section_of(before, document.FAULTS_TITLE) if asked.timings else fault_table(asked)
    for section in (document.section_of(before, document.FIGURES_TITLE), faced):
        page = document.with_section(page, section) if section else page
    print(page)
    if asked.write:
        asked.write.write_text(page)
    return 1 if any(list(result.failures()) for result in results) else 0


def timings(asked: argparse.Namespace) -> tuple[list[Result], str]:
    """Every tool under equal conditions; the page that says so."""
    cold, slow = ([tool for tool in row if not asked.only or tool.name in asked.only] for row in (COLD, SLOW))
    with site(asked.hosts, asked.window) as where:
        results = [compare(where, COLD_SCENARIO, cold, asked.repeat)]
        accounts = {tool.name: account(where, tool) for tool in cold if tool in (NILE, XARGS)}
        found_stages = stages(where) if NILE in cold else []
    with site(asked.hosts, asked.slow_window, delay_login_s=SLOW_SCENARIO.delay_login_s) as where:
        results.append(compare(where, SLOW_SCENARIO, slow, asked.repeat))
    return results, document.page(results, found_stages, accounts, asked.hosts, asked.repeat, cold)


def fault_table(asked: argparse.Namespace) -> str:
    """Every tool that meets faults; the section that says what was left."""
    contenders = [each for each in faults.CONTENDERS if not asked.only or each.tool.name in asked.only]
    with site(
        asked.fault_hosts, faults.WINDOW, faults.DELAY_LOGIN_S, faults.SSH_OPTIONS, faults.TIMEOUTS
    ) as where:
        found = faults.compare(where, contenders, faults.FAULTS)
    return document.faults(found, contenders, asked.fault_hosts)


if __name__ == "__main__":
    sys.exit(main())
