"""`nile runs`."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from nile.cli.recorded import short_ids
from nile.cli.runs import command
from nile.events import RunStarted
from tests.cli.conftest import Record
from tests.cli.documented import fields
from tests.store import sample


def test_no_store_is_no_runs_and_makes_none(state: Path) -> None:
    result = CliRunner().invoke(command)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "nile: no run is recorded yet\n"
    assert not state.parent.exists()
    assert CliRunner().invoke(command, ["--json"]).stdout == ""


def test_runs_are_listed_newest_first(record: Record) -> None:
    record(sample.whole_run("5eed0001aaaa"))
    record(sample.whole_run("5eed0002aaaa")[:6])
    result = CliRunner().invoke(command)
    assert result.exit_code == 0
    heading, newest, oldest = result.stdout.splitlines()
    assert heading.split("  ")[0] == "RUN"
    assert newest.split() == ["5eed0002", "1970-01-01", "00:16:40", "unfinished", "3", "0", "3", "uptime"]
    assert oldest.split() == [
        "5eed0001",
        "1970-01-01",
        "00:16:40",
        "ended",
        "3",
        "1",
        "2",
        "1.50",
        "s",
        "uptime",
    ]
    assert heading.index("COMMAND") == newest.index("uptime") == oldest.index("uptime")


def test_a_limit_bounds_the_list(record: Record) -> None:
    for number in range(25):
        record([sample.started(f"{number:08d}")])
    lines = {args: CliRunner().invoke(command, args).stdout.splitlines() for args in ("", "-n 3", "-a")}
    assert [len(found) - 1 for found in lines.values()] == [20, 3, 25]
    assert lines["-n 3"][1].startswith("00000024")


def test_a_command_cannot_play_tricks_on_the_terminal(record: Record) -> None:
    record([RunStarted("5eed0001", "echo \x1b[2J\n\r", None, ("n1",), (), 0.0)])
    lines = CliRunner().invoke(command).stdout.splitlines()
    assert lines[1].endswith("echo \\x1b[2J\\x0a\\x0d")


def test_json_has_the_documented_fields(record: Record) -> None:
    record(sample.whole_run())
    (line,) = CliRunner().invoke(command, ["--json"]).stdout.splitlines()
    value = json.loads(line)
    assert set(value) == fields("nile runs --json")
    assert (value["run"], value["state"], value["hosts"], value["ok"], value["without_verdict"]) == (
        "5eed0001",
        "ended",
        3,
        1,
        0,
    )
    assert (value["started_at"], value["ended_at"], value["wall_s"]) == (1000.0, 1002.0, 1.5)


def test_short_ids_are_as_long_as_they_must_be() -> None:
    assert short_ids(["0123456789", "abcdefghij"]) == {"0123456789": "01234567", "abcdefghij": "abcdefgh"}
    assert short_ids(["0123456789", "0123456780"])["0123456789"] == "0123456789"
    assert short_ids(["ab", "abc"]) == {"ab": "ab", "abc": "abc"}
    assert short_ids([]) == {}
