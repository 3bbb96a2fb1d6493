"""`nile show`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from nile.cli.show import command, planned_ways
from nile.errors import UsageError
from nile.events import HostResult, Notice, Verdict
from nile.store import plan_text
from nile.topology.model import Plan, PlanNode
from tests.cli.conftest import PLAN, Record
from tests.cli.documented import fields
from tests.store import sample


def shown(*args: str) -> str:
    result = CliRunner().invoke(command, args, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_a_run_is_shown_host_by_host(record: Record) -> None:
    record(sample.whole_run())
    head, table, end = shown("last").split("\n\n")
    assert head.splitlines() == [
        "run       5eed0001",
        "command   uptime",
        "state     ended: 1 of 3 hosts ok, 1 failed, 1 unreachable, in 1.50 s",
        "started   1970-01-01 00:16:40 by ada in /home/ada",
        "as        nile exec -w 'n[1-3]' uptime",
        "routes    /etc/nile.yaml",
    ]
    heading, n1, n2, n3, gw = (line.split() for line in table.splitlines())
    assert heading == [
        "HOST",
        "VERDICT",
        "STATUS",
        "VIA",
        "STAGE",
        "LOGIN",
        "READY",
        "START",
        "END",
        "REASON",
    ]
    assert n1 == ["n1", "ok", "0", "root", ">", "gw", "2", "0.25", "0.50", "0.60", "1.25"]
    assert n2 == ["n2", "failed", "SIGKILL", "root", "1", "killed", "by", "SIGKILL"]
    assert n3 == ["n3", "unreachable", "root", ">", "gw", "2", "connection", "refused"]
    assert gw == ["gw", "relay", "root", "1", "0.10", "0.20"]
    assert end.splitlines() == [
        "nile: failed: n2 (1): killed by SIGKILL",
        "  look who did it",
        "nile: unreachable: n3 (1): connection refused, by way of gw",
        "nile: left running: n1 (1): sleep (pid 77)",
        "nile: still there after SIGKILL: n1 (1): sudo (pid 79)",
        "nile: left behind, and killed: n1 (1): cat (pid 78)",
        "1970-01-01 00:16:42  n2: a strange frame was dropped",
    ]


def test_an_unfinished_run_says_who_has_no_verdict(record: Record) -> None:
    record(sample.whole_run()[:8])
    text = shown("5e")
    assert "state     unfinished: 1 of 3 hosts ok, 2 without a verdict\n" in text
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "n2 no verdict (root)" in rows
    assert "n3 no verdict (root > gw)" in rows


def test_what_exec_records_as_plan_has_the_documented_fields() -> None:
    nodes = (PlanNode(1, "gw", 0, 1, asked=False, children=(2,)), PlanNode(2, "n1", 1, 2, asked=True))
    recorded = json.loads(plan_text(Plan(nodes, {})))
    assert [set(node) for node in recorded] == [fields("nile show --json", "plan[].")] * 2
    assert [set(node) for node in PLAN] == [set(node) for node in recorded] * 2
    assert planned_ways(recorded) == {"gw": "root", "n1": "root > gw"}


def test_what_nodes_said_cannot_play_tricks(record: Record) -> None:
    record([sample.started(), HostResult("n1", Verdict.LOST, reason="\x1b[2J"), Notice("\x9b\r")])
    text = shown("last")
    assert "\\x1b[2J" in text
    assert "\\x9b\\x0d" in text
    assert not set(text) & set("\x1b\x9b\r")


def test_json_has_the_documented_fields(record: Record) -> None:
    record(sample.whole_run())
    value = json.loads(shown("last", "--json"))
    outer = fields("nile runs --json") | fields("nile show --json")
    assert set(value) == outer
    for node in value["nodes"]:
        assert set(node) == fields("nile show --json", "nodes[].")
    for notice in value["notices"]:
        assert set(notice) == fields("nile show --json", "notices[].")
    assert value["plan"] == PLAN
    assert value["argv"] == ["nile", "exec", "-w", "n[1-3]", "uptime"]
    by_name = {node["host"]: node for node in value["nodes"]}
    assert by_name["n1"]["verdict"] == "ok"
    assert by_name["n1"]["leftover"][0] == {"pid": 77, "name": "sleep", "killed": False, "survived": False}
    assert by_name["n2"]["remedy"] == "look who did it"
    assert (by_name["gw"]["asked"], by_name["gw"]["verdict"], by_name["gw"]["t_ready_s"]) == (
        False,
        None,
        0.2,
    )
    assert value["notices"] == [{"at": 1002.0, "host": "n2", "text": "a strange frame was dropped"}]


def test_a_run_without_verdicts_has_the_same_fields(record: Record) -> None:
    record([sample.started()])
    value = json.loads(shown("last", "--json"))
    assert {frozenset(node) for node in value["nodes"]} == {frozenset(fields("nile show --json", "nodes[]."))}
    assert value["without_verdict"] == 3


def test_an_unknown_run_is_an_error(record: Record) -> None:
    record(sample.whole_run())
    with pytest.raises(UsageError, match="no recorded run begins with 'x'"):
        CliRunner().invoke(command, ["x"], catch_exceptions=False)


@pytest.mark.usefixtures("state")
def test_no_store_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"runs\.db: no run is recorded yet"):
        CliRunner().invoke(command, ["last"], catch_exceptions=False)
