"""`nile exec --per-host`: each host runs its own command, and everything says which; on loopback hosts."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from nile.lab import Lab
from nile.topology.scriptfile import MOST_BYTES
from tests.cluster.running import Nile

pytestmark = pytest.mark.lab

FILE = """
"@web": echo "web $NILE_GROUP"
h004: |
  echo "two lines"
  exit 3
default: echo other
"""


@pytest.fixture
def nile(loopback_lab: Lab, tmp_path: Path) -> Nile:
    return Nile(loopback_lab, tmp_path).with_routes(groups={"web": "h[001-003]"})


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    path = tmp_path / "commands.yaml"
    path.write_text(FILE)
    return path


def test_the_hosts_are_those_that_it_names(nile: Nile, commands: Path) -> None:
    done = nile.json("--per-host", str(commands), "--branches", "2")
    assert done.verdicts == {"h001": "ok", "h002": "ok", "h003": "ok", "h004": "failed"}
    assert {done.stdout_of(f"h00{number}") for number in (1, 2, 3)} == {"web web\n"}
    assert (done.stdout_of("h004"), done.results["h004"]["rc"]) == ("two lines\n", 3)
    assert done.results["h001"]["command"] == 'echo "web $NILE_GROUP"'
    assert done.results["h004"]["command"] == 'echo "two lines"\nexit 3\n'
    assert done.events[0]["command"] == "2 commands (--per-host)"
    shown = nile.command("show", "last").out
    assert 'h[001-003] (3): echo "web $NILE_GROUP"\n' in shown
    assert 'h004 (1): echo "two lines" ...\n' in shown
    nodes = json.loads(nile.command("show", "last", "--json").out)["nodes"]
    assert {node["host"]: node["command"] for node in nodes}["h004"] == 'echo "two lines"\nexit 3\n'


def test_the_summary_counts_by_command(nile: Nile, commands: Path) -> None:
    done = nile.exec("-w", "h[001-005]", "--per-host", str(commands))
    assert 'nile: h[001-003] (3): 3 of 3 hosts ok: echo "web $NILE_GROUP"\n' in done.err
    assert 'nile: h004 (1): 0 of 1 host ok, 1 failed: echo "two lines" ...\n' in done.err
    assert "nile: h005 (1): 1 of 1 host ok: echo other\n" in done.err


def test_what_failed_runs_its_own_command_again(nile: Nile, commands: Path) -> None:
    nile.exec("--per-host", str(commands), "--subst", "-x", "h001")
    commands.write_text("h004: echo changed\n")
    again = nile.command("exec", "--retry-failed", "last", "--json")
    assert (again.verdicts, again.stdout_of("h004")) == ({"h004": "failed"}, "two lines\n")


def test_scripts_beside_commands(nile: Nile, commands: Path) -> None:
    """As they were, when what failed runs again."""
    script = commands.parent / "tell.sh"
    size = script.write_text('echo "$NILE_HOST: $#, $1"; exit 3\n')
    commands.write_text(FILE + "h005: {script: tell.sh, args: ['two words', $HOME]}\n")
    words = ("-w", "h[001-005]", "--per-host", str(commands), "--branches", "2")
    done = nile.json(*words)
    assert (done.results["h005"]["rc"], done.stdout_of("h005")) == (3, "h005: 2, two words\n")
    assert (done.verdicts["h001"], done.stdout_of("h001")) == ("ok", "web web\n")
    assert done.results["h005"]["command"] == "tell.sh 'two words' '$HOME'"
    (told,) = done.events[0]["settings"]["scripts"]
    assert (told["name"], told["args"], told["hosts"]) == ("tell.sh", ["two words", "$HOME"], ["h005"])
    assert f"script    tell.sh, {size} bytes, sha256 {told['sha256']}\n" in nile.command("show", "last").out
    script.write_text("echo another one\n")
    again = nile.command("exec", "--retry-failed", "last", "--json")
    assert again.verdicts == {"h004": "failed", "h005": "failed"}
    assert again.verdicts == {"h004": "failed", "h005": "failed"}
    assert (again.stdout_of("h004"), again.stdout_of("h005")) == ("two lines\n", "h005: 2, two words\n")


def test_what_is_too_long_for_the_plan_reaches_each_by_itself(nile: Nile, commands: Path) -> None:
    """Six of a megabyte that can't be compressed, over relays: they come with the permits for the logins."""
    hosts = [f"h{number:03}" for number in range(1, 7)]
    for host in hosts:
        head = f'echo "{host} $NILE_HOST"; wc -c < "$0"; exit\n'.encode()
        (commands.parent / host).write_bytes(head + os.urandom(MOST_BYTES - len(head)))
    commands.write_text("".join(f"{host}: {{script: {host}}}\n" for host in hosts))
    done = nile.json("--per-host", str(commands), "--branches", "2").all_ok()
    assert {host: done.stdout_of(host) for host in hosts} == {
        host: f"{host} {host}\n{MOST_BYTES}\n" for host in hosts
    }
    assert max(len(result["path"]) for result in done.results.values()) > 2, "some hung below relays"


def test_a_dry_run_shows_what_each_would_run(nile: Nile, commands: Path) -> None:
    (commands.parent / "tell.sh").write_text("true\n")
    commands.write_text(FILE + "h[005-006]: {script: tell.sh, args: [x]}\n")
    words = ("-w", "h[001-007]", "--per-host", str(commands), "--dry-run")
    said = nile.exec(*words).out
    sha256 = hashlib.sha256(b"true\n").hexdigest()
    for block in (
        "4 commands (--per-host):\n",
        'h[001-003] (3): echo "web $NILE_GROUP"\n',
        'h004 (1): echo "two lines"\n    exit 3\n',
        f"h[005-006] (2): tell.sh x (script, 5 bytes, sha256 {sha256})\n",
        "h007 (1): echo other\n",
    ):
        assert block in said
    told = json.loads(nile.exec(*words, "--json").out)["commands"]
    assert told[1] == {"hosts": ["h004"], "command": 'echo "two lines"\nexit 3\n'}
    assert (told[2]["command"], told[2]["script"]["sha256"]) == ("tell.sh x", sha256)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--", "uptime"), "a command and --per-host can't go together"),
        (("--script", "x"), "--script and --per-host can't go together"),
        (("-w", "h001", "--subst", "--dry-run"), ""),
    ],
)
def test_what_can_not_go_with_it(nile: Nile, commands: Path, words: tuple[str, ...], says: str) -> None:
    if not says:
        commands.write_text("h001: date +%F\n")
        says = "%F stands for nothing"
    done = nile.exec("--per-host", str(commands), *words)
    assert (done.code, done.stdout) == (2, b"")
    assert says in done.err


def test_a_mistake_is_told_with_its_place(nile: Nile, commands: Path) -> None:
    commands.write_text('h001: uptime\n"@web": date\n')
    done = nile.exec("--per-host", str(commands))
    assert (done.code, done.stdout) == (2, b"")
    assert f"{commands}:2:1: h001 is in @web and in h001" in done.err
