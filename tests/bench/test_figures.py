"""What the bench says of Nile by itself: how figures are made of runs, and that it runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nile.events import Verdict
from nile.store import Store
from nile.topology.plan import plan
from nile.topology.reach import can_log_in
from nile.topology.routes import load_routes
from tests.bench import document, exec_figures, flood
from tests.bench.exec_figures import Figure, growth
from tests.bench.site import Sample


def test_what_hosts_cost_is_told_of_those_that_there_are_more_of() -> None:
    samples = {
        "few": [Sample(3.0, 9.0), Sample(2.0, 9.0), Sample(2.5, 9.0)],
        "many": [Sample(11.0, 9.0)],
        "few below": [Sample(9.0, 0.5)],
        "many below": [Sample(9.0, 0.65)],
    }
    wall, cpu = growth(samples, 100, 400)
    assert (round(wall.reached, 3), wall.met) == (1.1, True)
    assert (round(cpu.reached, 3), cpu.met) == (0.5, True)
    assert "(11.00 s), by that of 100 (2.50 s)" in wall.row()


def test_only_gateways_are_logged_in_to_where_the_roots_cpu_is_told(tmp_path: Path) -> None:
    """Else the root may log in to others, too, and what these logins cost counts as the relays'."""
    hosts = [f"h{number:03}" for number in range(1, 41)]
    file = tmp_path / "routes.yaml"
    file.write_text(exec_figures._with_gateways("version: 1\nlimits: {stages: 2}\n", hosts))
    tree = plan(load_routes(file), hosts)
    direct = [node.host for node in tree.nodes if can_log_in(None, tree.specs[node.host])]
    assert direct == hosts[: exec_figures.GATEWAYS]
    assert len(tree.nodes) == len(hosts)


def test_an_aim_that_is_missed_is_told() -> None:
    assert (
        Figure("memory", 150.0, 149.9, " MB", " (fast)").row()
        == "| memory | 150 MB | 149.90 MB (fast) | met |"
    )
    assert Figure("memory", 150.0, 150.1, " MB").row().endswith("| missed |")


def test_the_section_has_its_place_before_faults_and_machine() -> None:
    machine = "## Machine and versions\n\n- one\n"
    section = exec_figures.section({"flood": [Figure("memory", 150.0, 10.0)]}, 3)
    page = document.with_section(f"# Benchmarks\n\n## Cold\n\n{machine}", section)
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## Cold",
        document.FIGURES_TITLE,
        "## Machine and versions",
    ]
    anew = exec_figures.section({"flood": [Figure("memory", 150.0, 99.0)]}, 3)
    assert document.section_of(document.with_section(page, anew), document.FIGURES_TITLE) == anew


def test_parts_that_are_not_measured_stay_as_they_were() -> None:
    """A whole run takes a quarter of an hour."""
    first = {"hosts": [Figure("wall", 1.2, 1.0)], "runs": [Figure("list", 0.5, 0.1)]}
    page = document.with_section("## Machine\n", exec_figures.section(first, 3))
    kept = document.section_of(page, document.FIGURES_TITLE)
    whole = exec_figures.section({"flood": [Figure("memory", 150.0, 99.0)]}, 3, kept)
    assert re.findall(r"^### (\w+)$", whole, re.MULTILINE) == ["hosts", "flood", "runs"]
    assert exec_figures.section(first, 3, whole) == whole
    assert document.section_of(document.with_section(page, whole), document.FIGURES_TITLE) == whole
    other = exec_figures.section({"runs": [Figure("list", 0.5, 0.2)]}, 3, whole)
    assert [line for line in other.splitlines() if line.startswith("| list")] == [
        "| list | 0.5 | 0.20 | met |"
    ]


def test_a_store_of_many_runs_is_one_of_whole_runs(tmp_path: Path) -> None:
    exec_figures.fill(tmp_path / "runs.db", 50)
    with Store(tmp_path / "runs.db") as store:
        runs = store.runs()
        assert len({run.run for run in runs}) == len(runs) == 50
        assert {run.counts[Verdict.OK] for run in runs} == {exec_figures.HOSTS_OF_A_RUN}
        assert len(store.hosts(runs[0])) == exec_figures.HOSTS_OF_A_RUN
        asked: list[str] = []
        store._db.set_trace_callback(asked.append)
        store.runs()
        assert len(asked) == 2  # however many runs there are
        plans = {run.context.plan for run in (store.run("last"), store.run(runs[0].run))}
        assert [len(json.loads(plan)) for plan in plans] == [exec_figures.HOSTS_OF_A_RUN]
        assert {run.context.plan for run in [*runs, *store.runs_since(runs[-1])]} == {"[]"}


def test_what_a_flood_prints_is_known_to_the_byte() -> None:
    command = flood.printing(3)
    env = {"NILE_HOST": "h001", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, check=True)
    assert done.stdout.decode() == f"{flood.line_of('h001')}\n" * 3


@pytest.mark.cluster
def test_the_figures_are_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\n## Machine and versions\n")
    few = ["--only", "hosts", "flood", "plan", "--hosts", "8", "--repeat", "1"]
    few += ["--flood-hosts", "4", "--flood-mb", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.exec_figures", *few, "--write", str(page)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = page.read_text().splitlines()
    rows = [line.split("|") for line in lines if line.startswith("|") and "reached" not in line]
    rows = [row for row in rows if "---" not in row[1]]
    assert [row[1].split()[0] for row in rows] == [
        "wall",
        "CPU",
        "memory",
        "memory",
        "memory",
        "`nile",
        "its",
    ]
    reached = [float(row[3].split()[0]) for row in rows]
    root, _, leaf, cpu, plan = reached[2:]  # so few hosts need no relay
    assert min(root, leaf, plan) > 5  # the least that an interpreter takes
    assert cpu > 0.05
