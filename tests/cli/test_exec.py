"""`nile exec` from the outside: options, output, exit codes, on a lab of loopback hosts."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nile.cascade.orders import FIRST
from nile.cli.exec_cmd import _check_length, command, options
from nile.errors import UsageError
from nile.lab import Lab
from nile.options import LONGEST_LINE, ExecOptions, Leftover, OnOrphan
from tests.cluster.running import Nile
from tests.lab.helpers import eventually

pytestmark = pytest.mark.lab

HOSTS = [f"h{number:03}" for number in range(1, 13)]


@pytest.fixture
def nile(loopback_lab: Lab, tmp_path: Path) -> Nile:
    return Nile(loopback_lab, tmp_path)


def test_hosts_are_chosen_by_set_group_and_exclusion(nile: Nile) -> None:
    grouped = nile.with_routes(groups={"web": "h[001-003]", "db": "h[003-004]"})

    def asked(*words: str) -> list[str]:
        done = grouped.exec("-q", *words, "--", "true")
        assert (done.code, done.stdout) == (0, b""), done.err
        shown = json.loads(grouped.command("show", "last", "--json").out)
        return [node["host"] for node in shown["nodes"] if node["asked"]]

    assert asked("-a") == HOSTS
    assert asked("-g", "web", "-x", "h002") == ["h001", "h003"]
    assert asked("-w", "@web,@db!h[002-003]") == ["h001", "h004"]
    assert asked("-w", "h010", "-g", "db", "-w", "h[009-010]") == ["h003", "h004", "h010", "h009"]


def test_hosts_come_from_an_inventory_and_a_file(nile: Nile) -> None:
    """Address, port and user of the inventory are what it takes to reach them."""
    routes = yaml.safe_load(nile.routes.read_text())
    hosts, user = routes.pop("hosts"), routes["ssh"].pop("user", None)
    port = routes["ssh"].pop("port")
    lines = [f"{name} ansible_host={hosts[name]['address']}" for name in HOSTS[:3]]
    said = f"ansible_port={port}\n" + f"ansible_user={user}\n" * bool(user)
    (nile.state / "hosts.ini").write_text("\n".join(["[web]", *lines, "[web:vars]", said]))
    (nile.state / "some").write_text("# of them\n@web!h002\n")
    bare = nile.with_routes()
    bare.routes.write_text(yaml.safe_dump({"version": 1, "ssh": routes["ssh"]}))
    words = ("--inventory", str(nile.state / "hosts.ini"))
    assert sorted(bare.json("-g", "web", *words, "--", "true").all_ok().results) == HOSTS[:3]
    assert sorted(
        bare.json("--hostfile", str(nile.state / "some"), *words, "--", "true").all_ok().results
    ) == [
        "h001",
        "h003",
    ]
    assert sorted(bare.json("--hostfile", "-", *words, "--", "true", stdin=b"h002\n").all_ok().results) == [
        "h002"
    ]
    refused = bare.exec("--hostfile", "-", "--stdin", *words, "--", "true")
    assert (refused.code, "--stdin and --hostfile - can't go together" in refused.err) == (2, True)


def test_output_is_live_and_labelled(nile: Nile) -> None:
    done = nile.exec("-w", "h[001-002]", "--", "echo out; echo err >&2; printf 'no end'")
    assert sorted(done.lines()) == ["h001: no end", "h001: out", "h002: no end", "h002: out"]
    lines = done.err.splitlines()
    assert lines[0] == f"routes: {nile.routes} (12 hosts)"
    assert sorted(lines[1:3]) == ["h001: err", "h002: err"]
    assert lines[3].startswith("nile: 2 of 2 hosts ok, in ")
    assert len(lines) == 4


def given(*words: str) -> ExecOptions:
    """What `nile exec` makes of its options; raises what they raise."""
    context = command.make_context("exec", [*words, "-w", "h001", "--", "reboot"])
    return options("reboot", {name: value for name, value in context.params.items() if name != "words"})


def test_what_cuts_hosts_off_is_not_killed_for_it() -> None:
    assert (given().disruptive, given().on_orphan) == (False, OnOrphan.ADOPT)
    assert (given("--disruptive").disruptive, given("--disruptive").on_orphan) == (True, OnOrphan.FINISH)
    assert given("--disruptive", "--on-orphan", "kill").on_orphan is OnOrphan.KILL
    assert given("--on-orphan", "finish").on_orphan is OnOrphan.FINISH
    waiting = given("--wait-back", "10m")
    assert (waiting.disruptive, waiting.wait_back_s, waiting.on_orphan) == (True, 600.0, OnOrphan.FINISH)


@pytest.mark.parametrize("which", [("--disruptive",), ("--wait-back", "10m")])
@pytest.mark.parametrize("other", ["--stdin", "--idempotent"])
def test_what_can_not_go_with_it_is_refused(which: tuple[str, ...], other: str) -> None:
    with pytest.raises(UsageError) as caught:
        given(*which, other)
    assert f"{other} and {which[0]} can't go together" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("words", "leftover"),
    [
        ((), Leftover.KEEP),
        (("--leftover", "fail"), Leftover.FAIL),
        (("--detach",), Leftover.DETACH),
        (("--detach", "--sandbox", "strict"), Leftover.DETACH),
        (("--leftover", "kill", "--sandbox", "pidns"), Leftover.KILL),
    ],
)
def test_what_becomes_of_what_it_leaves(words: tuple[str, ...], leftover: Leftover) -> None:
    assert given(*words).leftover is leftover


@pytest.mark.parametrize(
    ("words", "which"),
    [
        (("--detach", "--leftover", "keep"), "--detach and --leftover"),
        (("--detach", "--leftover", "kill"), "--detach and --leftover"),
        (("--detach", "--sandbox", "pidns"), "--detach and --sandbox pidns"),
        (("--sudo-user", "ada", "--sandbox", "strict"), "--sudo and --sandbox"),
        (("--leftover", "keep", "--sandbox", "pidns"), "--leftover keep and --sandbox pidns"),
        (("--leftover", "fail", "--sandbox", "pidns"), "--leftover fail and --sandbox pidns"),
    ],
)
def test_what_it_leaves_can_not_be_two_things(words: tuple[str, ...], which: str) -> None:
    with pytest.raises(UsageError, match=f"{which} can't go together") as caught:
        given(*words)
    assert caught.value.remedy


def test_words_are_joined_with_spaces(nile: Nile) -> None:
    done = nile.exec("-w", "h001", "--", "echo", "a  b", "'c  d'", "|", "tr", "a-z", "A-Z")
    assert done.out == "h001: A B C  D\n"
    assert nile.exec("-w", "h001", "echo", "-n", "-w").out == "h001: -w\n"


@pytest.mark.parametrize(
    ("command", "code", "largest"),
    [
        ("true", 0, 0),
        ("exit 7", 1, 7),
        ("[ $NILE_HOST = h001 ] || exit 3", 1, 3),
        ("[ $NILE_HOST = h001 ] && exit 9; exit 2", 1, 9),
        ("kill -KILL $$", 1, 255),
        ("exit 255", 1, 255),
    ],
)
def test_exit_codes(nile: Nile, command: str, code: int, largest: int) -> None:
    assert nile.exec("-q", "-w", "h[001-002]", "--", command).code == code
    assert nile.exec("-q", "-S", "-w", "h[001-002]", "--", command).code == largest


def test_an_unreachable_host_wins_over_a_failed_one(nile: Nile, loopback_lab: Lab) -> None:
    loopback_lab.crash("h003")
    words = ("-w", "h[001-003]", "--tree", "flat", "--", "exit 3")
    done = nile.exec(*words)
    assert done.code == 4
    assert "nile: failed: h[001-002] (2): exit status 3\n" in done.err
    assert "nile: unreachable: h003 (1): " in done.err
    assert "0 of 3 hosts ok, 2 failed, 1 unreachable, in " in done.err
    assert nile.exec("-S", *words).code == 255
    assert nile.json(*words).verdicts == {"h001": "failed", "h002": "failed", "h003": "unreachable"}


def test_a_time_out_counts_as_not_reached(nile: Nile) -> None:
    done = nile.exec("-u", "0.3", "--grace", "0.2", "-w", "h001", "--", "sleep 60")
    assert done.code == 4
    assert "nile: timed out: h001 (1): it ran longer than allowed" in done.err


def test_quiet_shows_only_what_is_not_ok(nile: Nile) -> None:
    assert nile.exec("-q", "-w", "h[001-002]", "--", "true").err == f"routes: {nile.routes} (12 hosts)\n"
    done = nile.exec("-q", "-w", "h[001-002]", "--", "[ $NILE_HOST = h001 ]")
    assert done.err.splitlines()[1:] == ["nile: failed: h002 (1): exit status 1"]


def test_equal_output_is_gathered(nile: Nile) -> None:
    command = "[ $NILE_HOST = h003 ] && echo other || echo same"
    done = nile.exec("-b", "-a", "--", command)
    assert done.lines() == [
        "---------------",
        "h[001-002,004-012] (11)",
        "---------------",
        "same",
        "---------------",
        "h003 (1)",
        "---------------",
        "other",
    ]


def test_json_is_the_contract(nile: Nile) -> None:
    """`events` checks each line against the schema, `results` that each host has one verdict."""
    done = nile.json("-w", "h[001-003]", "--", "printf '\\377'; echo err >&2; exit 4")
    first, last = done.events[0], done.events[-1]
    assert (first["schema"], first["command"], first["routes"]) == (
        1,
        "printf '\\377'; echo err >&2; exit 4",
        str(nile.routes),
    )
    assert first["hosts"] == ["h001", "h002", "h003"]
    assert (last["failed"], last["hosts"]) == (3, 3)
    for result in done.results.values():
        assert (result["stdout"], result["stdout_encoding"], result["stderr"]) == ("/w==", "base64", "err\n")
        assert (result["rc"], result["code"]) == (4, "exit")
    assert done.stdout.isascii()
    assert [line for line in done.err.splitlines() if not line.startswith("routes: ")] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no command given"),
        (("-w", "h001"), "no command given"),
        (("-w", "h001", "--", "  "), "no command given"),
        (("--", "true"), "no hosts given"),
        (("-w", "h001", "-x", "h001", "--", "true"), "no hosts are left"),
        (("-g", "nothing", "--", "true"), "nothing"),
        (("-w", "h[001-", "--", "true"), "h[001-"),
        (("-a", "--stdin", "-f", "2", "--", "true"), "--stdin and -f"),
        (("-a", "--json", "-b", "--", "true"), "--json and -b"),
        (("-a", "-f", "0", "--", "true"), "0"),
        (("-a", "-u", "soon", "--", "true"), "soon"),
        (("-a", "-o", "NoSuchThing=1", "--", "true"), "NoSuchThing"),
        (("-a", "-o", "StrictHostKeyChecking=no", "--", "true"), "StrictHostKeyChecking"),
        (("-a", "--tree", "explicit", "--", "true"), "no explicit tree"),
        (("-r", "/nonexistent.yaml", "-a", "--", "true"), "/nonexistent.yaml"),
    ],
)
def test_what_cant_be_meant_is_refused(nile: Nile, words: tuple[str, ...], says: str) -> None:
    done = nile.exec(*words)
    assert (done.code, done.stdout) == (2, b"")
    assert says in done.err
    assert "Traceback" not in done.err
    assert "no run is recorded" in nile.command("runs").err


def test_long_commands(nile: Nile) -> None:
    """A whole line is one word, and a word may have 128 KiB: execve(2). A script comes by --stdin."""
    done = nile.json("-w", "h001", "--", f"printf {'x' * 100_000} | wc -c")
    assert done.stdout_of("h001") == "100000\n"
    done = nile.exec("-w", "h001", "--", "echo", "x" * 100_000, "x" * 100_000)
    assert (done.code, done.stdout) == (2, b"")
    assert "128 KiB" in done.err
    script = f"printf {'x' * 120_000} | wc -c\n".encode()
    assert nile.exec("--stdin", "-w", "h001", "--", "sh", stdin=script).out == "h001: 120000\n"


@pytest.mark.parametrize("which", [{"disruptive": True}, {"wait_back_s": 5.0}])
def test_long_commands_that_have_something_before_them(which: dict[str, Any]) -> None:
    given = {"disruptive": False, "wait_back_s": None}
    longest = "x" * (LONGEST_LINE - 1)
    _check_length(longest, given)
    _check_length(longest[len(FIRST) :], {**given, **which})
    with pytest.raises(UsageError, match="128 KiB"):
        _check_length(longest[len(FIRST) - 1 :], {**given, **which})


def test_an_interrupted_run(nile: Nile) -> None:
    with nile.started("-w", "h[001-003]", "--grace", "1s", "--", "echo begun; sleep 60") as run:
        assert run.process.stdout is not None
        for _ in range(3):
            run.process.stdout.readline()
        run.signal(signal.SIGINT)
        done = run.wait()
    assert done.code == 130
    assert "ending all commands (1 s to end by themselves; once more kills them)" in done.err
    assert "nile: cancelled: h[001-003] (3): " in done.err
    assert "3 cancelled" in done.err


def test_a_reader_that_goes_away_ends_the_run(nile: Nile, loopback_lab: Lab) -> None:
    command = "while echo line; do sleep 0.01; done"
    with nile.started("-w", "h[001-003]", "--grace", "0.5", "--", command) as run:
        assert run.process.stdout is not None
        run.process.stdout.readline()
        run.process.stdout.close()
        assert run.process.wait(20) == 141
        assert run.process.stderr is not None
        assert b"Traceback" not in run.process.stderr.read()
    eventually(lambda: not any(loopback_lab.processes(host) for host in HOSTS[:3]), "nothing is left")


def test_nohup_is_respected(nile: Nile) -> None:
    """A signal that was ignored when Nile started stays ignored."""
    command = "echo begun; sleep 0.5; echo over"
    argv = [
        "sh",
        "-c",
        'trap "" HUP; exec "$@"',
        "sh",
        *nile.argv(*nile.exec_words("-w", "h001", "--", command)),
    ]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=nile.environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"h001: begun\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == b"h001: over\n"
        process.communicate()
        assert process.returncode == 0


def test_a_state_directory_that_cant_be_written(nile: Nile) -> None:
    (nile.state / "nile").write_text("in the way")
    done = nile.exec("-w", "h001", "--", "true")
    assert done.code == 2
    assert str(nile.state / "nile") in done.err
    assert "Traceback" not in done.err


def test_what_is_written_is_the_users_own(nile: Nile) -> None:
    nile.exec("-w", "h001", "--", "true", stdin=b"")
    modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in (nile.state / "nile").iterdir()}
    assert modes == {0}
    assert os.listdir(nile.state / "nile")  # noqa: PTH208


def test_stdin_is_broadcast(nile: Nile) -> None:
    done = nile.exec("--stdin", "-w", "h[001-004]", "--branches", "2", "--", "wc -c", stdin=b"x" * 300_000)
    assert sorted(done.lines()) == [f"h{n:03}: 300000" for n in range(1, 5)]


def test_another_user(nile: Nile) -> None:
    done = nile.json("-l", "nobody-of-that-name", "-w", "h001", "--", "true")
    assert done.results["h001"]["code"] == "authentication"
