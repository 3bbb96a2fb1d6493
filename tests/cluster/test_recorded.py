"""The store has every run, also one whose root was killed: what it had received is there."""

from __future__ import annotations

import json
import signal

import pytest

from nile.lab import Lab
from tests.cluster.hosts import commands, names_of, root_of
from tests.cluster.running import Nile
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

TREE = ("--branches", "2", "--stages", "3")


def test_what_a_killed_root_had_received_is_there(brisk: Nile) -> None:
    nile = brisk
    command = 'seq 1000; echo "error of $NILE_HOST" >&2; [ $NILE_HOST != h001 ] || exit 3; sleep 999'
    words = ("--json", "-w", "h[001-006]", *TREE, "--", command)
    with nile.started(*words) as run:
        assert run.process.stdout is not None
        seen = 0
        for line in run.process.stdout:  # what was shown is stored
            event = json.loads(line)
            seen += "error of" in event.get("data", "")
            if seen == 6 and "h001" in shown_results(nile):
                break
        run.signal(signal.SIGKILL)
        run.process.wait()
    (told,) = (json.loads(line) for line in nile.command("runs", "--json").lines())
    assert (told["state"], told["hosts"], told["failed"], told["without_verdict"]) == ("unfinished", 6, 1, 5)
    shown = json.loads(nile.command("show", "last", "--json").out)
    assert {node["host"]: node["verdict"] for node in shown["nodes"]} == {
        "h001": "failed",
        **{f"h{n:03}": None for n in range(2, 7)},
    }
    for host in (f"h{n:03}" for n in range(1, 7)):
        logs = nile.command("logs", "last", "-w", host)
        assert logs.lines() == [f"{host}: {n}" for n in range(1, 1001)]
        assert f"{host}: error of {host}\n" in logs.err
    failed = nile.command("logs", told["run"][:8], "--failed")
    assert {line.split(":")[0] for line in failed.lines()} == {
        f"h{n:03}" for n in range(1, 7)
    } or failed.lines()
    nile.json("-w", "h001", "--", "true").all_ok()  # and the store goes on


def shown_results(nile: Nile) -> set[str]:
    shown = json.loads(nile.command("show", "last", "--json").out)
    return {node["host"] for node in shown["nodes"] if node["verdict"]}


def test_runs_are_listed_and_told(nile: Nile, fleet: Lab) -> None:
    fleet.crash("h003")
    gated = nile.with_routes(groups={"below": {"hosts": "h[004-005]", "via": "h001"}})
    command = "echo out of $NILE_HOST; [ $NILE_HOST != h004 ]"
    gated.exec("-t", "2", "-w", "h[003-005]", "--", command)
    run = json.loads(nile.command("runs", "--json").out)
    assert (run["state"], run["ok"], run["failed"], run["unreachable"], run["relays"]) == (
        "ended",
        1,
        1,
        1,
        1,
    )
    shown = json.loads(nile.command("show", run["run"], "--json").out)
    nodes = {node["host"]: node for node in shown["nodes"]}
    assert {host: (node["asked"], node["verdict"]) for host, node in nodes.items()} == {
        "h001": (False, None),
        "h003": (True, "unreachable"),
        "h004": (True, "failed"),
        "h005": (True, "ok"),
    }
    assert nodes["h005"]["path"] == ["root", "h001", "h005"]
    assert nodes["h005"]["t_ready_s"] <= nodes["h005"]["t_start_s"] <= nodes["h005"]["t_end_s"]
    (line,) = [line for line in nile.command("show", "last").lines() if line.startswith("h001 ")]
    assert "relay" in line
    assert nile.command("logs", "last", "--failed").lines() == ["h004: out of h004"]


def test_the_state_directory_is_private(nile: Nile) -> None:
    nile.json("-w", "h001", "--", "true").all_ok()
    directory = nile.state / "nile"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.iterdir() if path.is_file())


def test_a_run_that_goes_on_is_shown_as_running(nile: Nile, fleet: Lab) -> None:
    command = "echo begun; while [ ! -e ~/stop ]; do sleep 0.05; done"
    with nile.started("-w", "h[001-002]", "--", command) as run:
        eventually(lambda: names_of(commands(fleet)) == {"h001", "h002"}, "it runs")
        told = json.loads(nile.command("runs", "--json").out)
        assert (told["state"], told["without_verdict"]) == ("running", 2)
        for host in ("h001", "h002"):
            (root_of(fleet, host) / "root/stop").touch()
        assert run.wait().code == 0
    for host in ("h001", "h002"):
        (root_of(fleet, host) / "root/stop").unlink()
