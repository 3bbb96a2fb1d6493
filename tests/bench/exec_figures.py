"""What Nile is to keep to by itself: many hosts, a flood of output, a large plan, many runs. Needs root.

    python -m tests.bench.exec_figures --write docs/benchmarks.md
    python -m tests.bench.exec_figures --only flood plan

Writes a section into the page that `tests.bench.exec_bench` makes; with `--only`, these parts of it.
Exits 1 where a run went wrong; an aim that is missed is told, and judged by nobody.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import yaml

from nile.events import Event, HostResult, HostUp, RunEnded, RunStarted, Verdict
from nile.store import Recorder, RunContext, Store, plan_text, schema
from nile.topology.hostsets import fold
from nile.topology.plan import plan
from nile.topology.routes import Routes
from tests.bench import document, flood
from tests.bench.site import Sample, Site, site
from tests.bench.tools import NILE, PROGRAM

WINDOW = 64
"""Logins at a time, as in the comparison."""
GATEWAYS = 10
RUNS, HOSTS_OF_A_RUN = 10_000, 20
PLANNED = 10_000
STILL_S = 10.0
"""How long the reader of the flood stands still: longer than the lease there."""
LEASE = "6s"
LINE_SIZE = len(flood.line_of("h001")) + 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, at most what it is to be, and what it was."""

    what: str
    at_most: float
    reached: float
    unit: str = ""
    spread: str = ""

    @property
    def met(self) -> bool:
        """Is it as it is to be?"""
        return self.reached <= self.at_most

    def row(self) -> str:
        """As Markdown."""
        numbers = f"{self.at_most:g}{self.unit} | {self.reached:.2f}{self.unit}{self.spread}"
        return f"| {self.what} | {numbers} | {'met' if self.met else 'missed'} |"


class WentWrongError(Exception):
    """A run of which the figures count nothing."""


def many_hosts(asked: argparse.Namespace) -> Iterator[Figure]:
    """Four times as many hosts on the same lab; both take turns.

    All of them are this machine's: no more log in at a time than it bears, or logins time out, and are
    made anew. For its CPU the root logs in to the same ten gateways in both cases, and to nobody else.
    """
    many, few = asked.hosts, asked.hosts // 4
    with site(many, WINDOW) as where:
        hosts = where.case.hosts
        routes, tree = (where.case.directory / name for name in ("bounded.yaml", "tree.yaml"))
        given = (where.case.directory / "routes.yaml").read_text()
        routes.write_text(_bounded(given))
        tree.write_text(_with_gateways(given, hosts))
        without = ["-x", fold(hosts[few:])]
        plain, below = ["-r", str(routes)], ["-r", str(tree)]
        kinds = {"few": [*plain, *without], "many": plain}
        kinds |= {"few below": [*below, *without], "many below": below}
        samples: dict[str, list[Sample]] = {kind: [] for kind in kinds}
        for turn in range(asked.repeat):
            for kind, words in kinds.items():
                where.case = replace(where.case, hosts=hosts[:few] if kind.startswith("few") else hosts)
                sample = where.run(NILE, *words)
                said = f"{sample.wall_s:.2f} s wall, {sample.cpu_s:.2f} s CPU at the root {sample.problem}"
                print(f"turn {turn + 1}, {kind}: {said}", file=sys.stderr)
                if sample.problem:
                    raise WentWrongError(sample.problem)
                samples[kind].append(sample)
    yield from growth(samples, few, many)


def growth(samples: Mapping[str, Sequence[Sample]], few: int, many: int) -> Iterator[Figure]:
    """What the hosts cost that there are more of."""
    walls = median(run.wall_s for run in samples["few"]), median(run.wall_s for run in samples["many"])
    what = f"wall per host of {many} hosts, cold ({walls[1]:.2f} s), by that of {few} ({walls[0]:.2f} s)"
    yield Figure(what, 1.2, walls[1] / many / (walls[0] / few))
    cpu = [median(run.cpu_s for run in samples[kind]) for kind in ("few below", "many below")]
    spent = f" ({cpu[0]:.2f} s with {few} hosts, {cpu[1]:.2f} s with {many})"
    what = "CPU at the root for each host that others log in to"
    yield Figure(what, 1.0, 1000 * (cpu[1] - cpu[0]) / (many - few), " ms", spent)


def _bounded(routes: str) -> str:
    """The route file, with as many logins at a time over the whole tree as one node may have."""
    content = yaml.safe_load(routes)
    content["limits"]["logins"] = WINDOW
    return yaml.safe_dump(content, sort_keys=False)


def _with_gateways(routes: str, hosts: Sequence[str]) -> str:
    """The route file, with a tree of its own: the others spread below the first ones.

    They are reachable through these alone, so that the root logs in to none of them itself.
    """
    content = yaml.safe_load(routes)
    gateways, others = hosts[:GATEWAYS], hosts[GATEWAYS:]
    content["tree"] = {gateway: list(others[place::GATEWAYS]) for place, gateway in enumerate(gateways)}
    if others:
        below = {"hosts": fold(others), "via": fold(gateways)}
        content["groups"] = {**content.get("groups", {}), "below": below}
    content["limits"] |= {"branches": len(hosts), "parallel": max(1, WINDOW // GATEWAYS)}
    return yaml.safe_dump(content, sort_keys=False)


def flooded(asked: argparse.Namespace) -> Iterator[Figure]:
    """All hosts print at once, into a pipe whose reader stands still for longer than the lease."""
    lines = asked.flood_mb * 1_000_000 // LINE_SIZE
    peaks = flood.Peaks()
    with site(asked.flood_hosts, WINDOW, timeouts={"lease": LEASE}) as where:
        words = [PROGRAM, "exec", "-r", str(where.case.directory / "routes.yaml"), "-a", "--"]
        began = time.monotonic()
        with subprocess.Popen(
            where.lab.root_argv([*words, flood.printing(lines)], where.case.directory),
            env=where.environment(NILE),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            with peaks.watching(process.pid, where.lab):
                taken = flood.take(process, STILL_S)
            _, said = process.communicate()
        print(f"flood: {time.monotonic() - began:.0f} s, {taken.size / 1e9:.2f} GB", file=sys.stderr)
        _check_flood(where, taken, lines, process.returncode, said.decode())
    each = f"{asked.flood_hosts} hosts that print {asked.flood_mb} MB each at once"
    speed = f" (at {taken.size / 1e6 / taken.wall_s:.0f} MB/s in all)"
    yield Figure(f"memory of the root, with {each}", 150.0, peaks.root * flood.KB / 1e6, " MB", speed)
    clients = f" (its ssh clients: {peaks.client * flood.KB / 1e6:.1f} MB)"
    yield Figure(
        "memory of the largest relay's agent there", 30.0, peaks.relay * flood.KB / 1e6, " MB", clients
    )
    yield Figure("memory of the largest leaf's agent there", 30.0, peaks.leaf * flood.KB / 1e6, " MB")


def _check_flood(where: Site, taken: flood.Taken, lines: int, code: int, said: str) -> None:
    """Every host was ok, and every byte came: they were throttled, and none was killed."""
    hosts = where.case.hosts
    size = sum(lines * (len(flood.line_of(host)) + 1 + len(f"{host}: ")) for host in hosts)
    if code or (taken.lines, taken.size) != (lines * len(hosts), size):
        raise WentWrongError(f"exit {code}; {taken} in place of {size} bytes: {said[-500:]}")


def planned(asked: argparse.Namespace) -> Iterator[Figure]:
    """The plan of many hosts, from the start of the program to its end."""
    hosts = f"n[00001-{PLANNED:05}]"
    cpu, peak = zip(
        *(_cost([PROGRAM, "plan", "--json", "-w", hosts]) for _ in range(asked.repeat)), strict=True
    )
    yield Figure(f"`nile plan` of {PLANNED} hosts, CPU", 1.0, median(cpu), " s")
    yield Figure("its memory", 200.0, max(peak) / 1e6, " MB")


def recorded(asked: argparse.Namespace) -> Iterator[Figure]:
    """`nile runs` where there are many, the last ones and all of them."""
    with tempfile.TemporaryDirectory(prefix="nile-bench-", dir="/var/tmp") as state:
        fill(Path(state) / "nile" / schema.FILE_NAME, RUNS)
        for words in (["runs"], ["runs", "-a"]):
            cpu = [_cost([PROGRAM, *words], XDG_STATE_HOME=state)[0] for _ in range(asked.repeat)]
            what = f"`nile {' '.join(words)}` with {RUNS} runs of {HOSTS_OF_A_RUN} hosts, CPU"
            yield Figure(what, 0.5, median(cpu), " s")


def fill(store: Path, runs: int) -> None:
    """A store of so many runs: one is recorded, the others are made of it."""
    hosts = tuple(f"n{number:03}" for number in range(HOSTS_OF_A_RUN))
    recording: list[Event] = [
        RunStarted("0" * 32, "uptime", None, hosts, (), at=1_700_000_000.0),
        *(HostUp(host, "root", 1, 0.1, 0.5) for host in hosts),
        *(HostResult(host, Verdict.OK, rc=0, path=("root", host), stage=1, t_end_s=1.0) for host in hosts),
        RunEnded("0" * 32, {Verdict.OK: len(hosts)}, wall_s=1.0),
    ]
    context = RunContext.here(("nile", "exec", "uptime"), plan_text(plan(Routes(), hosts)))
    with Recorder(store, context) as recorder:
        recorder.record(recording)
    with closing(schema.connect(store)) as db, schema.transaction(db):
        for table, own in (("run", "name"), ("host", "run")):
            columns = [
                row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in ("id", own)
            ]
            value = "printf('%032x', n.i)" if table == "run" else "n.i + 1"
            db.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                f" INSERT INTO {table} ({own}, {', '.join(columns)})"
                f" SELECT {value}, {', '.join(columns)} FROM n, {table} WHERE {table}.{own} = ?",
                (runs - 1, "0" * 32 if table == "run" else 1),
            )
    with Store(store) as made:
        if len(made.runs()) != runs:
            raise WentWrongError(f"the store has {len(made.runs())} runs")


_COST = """
import json, resource, subprocess, sys
with open(sys.argv[1], "w") as out:
    code = subprocess.call(sys.argv[2:], stdout=out)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""
"""A process of its own, and small: what it starts inherits its peak of memory."""


def _cost(words: Sequence[str], **more: str) -> tuple[float, float]:
    """CPU seconds and bytes of memory of a command."""
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _COST, out.name, *words],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            check=True,
        )
    code, cpu_s, peak_kb = json.loads(done.stdout)
    if code:
        raise WentWrongError(f"{' '.join(words)}: exit {code}: {done.stderr[-300:]}")
    return cpu_s, peak_kb * 1024.0


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Figure]]] = {
    "hosts": many_hosts,
    "flood": flooded,
    "plan": planned,
    "runs": recorded,
}


def section(measured: Mapping[str, Sequence[Figure]], repeat: int, before: str = "") -> str:
    """The section of the page; of parts that weren't measured now it keeps what it had `before`."""
    text = document.FIGURES_TEXT.format(still=STILL_S, lease=LEASE.removesuffix("s"))
    kept = {part.partition("\n")[0]: part.rstrip("\n") for part in before.split("\n### ")[1:]}
    kept |= {part: _part(part, figures, repeat) for part, figures in measured.items()}
    parts = [f"### {kept[part]}\n" for part in PARTS if part in kept]
    return "\n".join([document.FIGURES_TITLE, "", text, *parts])


def _part(part: str, figures: Sequence[Figure], repeat: int) -> str:
    runs = "One run" if part == "flood" or repeat == 1 else f"Medians of {repeat} runs"
    rows = [figure.row() for figure in figures]
    head = [part, "", "| what | at most | reached | |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, "", f"{runs}, measured on {time.strftime('%Y-%m-%d')}."])


def main() -> int:
    """Measure what was asked for, print it, write it down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=400, help="those of the large run")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--flood-hosts", type=int, default=100)
    parser.add_argument("--flood-mb", type=int, default=100, help="that each of them prints")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the section into this page")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can make network namespaces; run it with sudo")
    try:
        measured = {part: list(PARTS[part](asked)) for part in asked.only}
    except WentWrongError as error:
        print(f"a run went wrong: {error}", file=sys.stderr)
        return 1
    page = asked.write.read_text() if asked.write else ""
    print(made := section(measured, asked.repeat, document.section_of(page, document.FIGURES_TITLE)))
    if asked.write:
        asked.write.write_text(document.with_section(page, made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
