"""What `nile exec` gives a command beside its line: refused before any host is touched, and redacted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nile.cli.attach import with_variables
from nile.cli.exec_cmd import command, options
from nile.cli.outfitting import redacted, variables
from nile.cli.show import outfit_words
from nile.errors import UsageError
from nile.lab import Lab
from nile.options import ExecOptions, Leftover, Limits, Outfit, Sandbox, Timeouts
from nile.store import Handover
from nile.topology.model import HostSpec, Plan, PlanNode
from nile.topology.outfits import check_substitution
from tests.cluster.running import Nile

SECRET = "hush-0815"


def given(*words: str) -> Outfit:
    context = command.make_context("exec", [*words, "-w", "h001", "--", "true"])
    return options("true", {name: value for name, value in context.params.items() if name != "words"}).outfit


def plan(host: str = "h001", *groups: str) -> Plan:
    spec = HostSpec(host, host, host, groups=groups)
    return Plan((PlanNode(1, host, 0, 1, True),), {host: spec}, Limits(), Timeouts())


def test_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "x=y")
    got = given("--rlimit", "cpu=2m,mem=1.5G", "--rlimit", "nofile=64", "--env", "A=1", "--env", "FROM_HERE")
    assert got.rlimits == {"cpu": 120, "mem": 3 << 29, "nofile": 64}
    assert got.env == {"A": "1", "FROM_HERE": "x=y"}
    assert given("--rlimit", "cpu=30").rlimits == {"cpu": 30}
    assert given("--scratch", "1M") == Outfit(), "which brings no code of its own"
    assert given("--sandbox", "pidns").sandbox is Sandbox.PIDNS
    assert given() == Outfit()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rlimit", "mem=512"), "--rlimit mem=512: '512' is no amount above 0 with a unit"),
        (("--rlimit", "mem=1K"), "no program could start with 1K"),
        (("--rlimit", "cpu=500ms"), "no whole number of seconds"),
        (("--rlimit", "cpu=0"), "no duration above 0"),
        (("--rlimit", "nofile=3"), "no number from 16 on"),
        (("--rlimit", "nofile=1e6"), "no number from 16 on"),
        (("--rlimit", "procs=5"), "there is no limit 'procs'"),
        (("--rlimit", ""), "there is no limit ''"),
        (("--cwd", ""), "no directory is named"),
        (("--scratch", "500"), "--scratch 500: '500' is no amount above 0 with a unit"),
        (("--scratch", "1K"), "no scratch can have 1K"),
        (("--env", f"A B={SECRET}"), "no name of a variable"),
        (("--env", f"={SECRET}"), "no name of a variable"),
        (("--env", f"NILE_HOST={SECRET}"), "Nile sets those itself"),
        (("--env", "NOT_THERE_AT_ALL"), "there is no such variable here"),
        (("--env", f"A={SECRET * 20000}"), "longer than hosts can take"),
    ],
)
def test_what_can_not_be_meant_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        given(*words)
    assert said in str(caught.value)
    assert caught.value.remedy
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("line", ["date +%F", "echo %", "echo %%%", "%H"])
def test_a_percent_that_stands_for_nothing_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="stands for nothing") as caught:
        check_substitution([line], plan())
    assert "%%" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("line", "where"),
    [("echo %h", plan("a;b")), ("echo %g", plan("h001")), ("echo %g", plan("h001", "two words"))],
)
def test_names_that_a_shell_could_read_as_more_are_refused(line: str, where: Plan) -> None:
    with pytest.raises(UsageError, match="can't stand in a line"):
        check_substitution([line], where)
    check_substitution(["echo %%h %%g %r %u"], where)
    check_substitution([line], plan("h001", "web", "two words"))


def test_no_value_of_a_variable_is_in_the_recorded_command_line() -> None:
    words = ("env", "--env", f"A={SECRET}")  # of the command itself: that is recorded
    argv = (
        "nile",
        "exec",
        "--env",
        f"A={SECRET}",
        f"--env=B={SECRET}",
        "--env",
        "C",
        "-w",
        "h=1",
        "--",
        *words,
    )
    kept = ("nile", "exec", "--env", "A", "--env=B", "--env", "C", "-w", "h=1", "--", *words)
    assert redacted(argv, words) == kept


def handover(outfit: Outfit) -> Handover:
    text = Handover(plan(), ExecOptions("true", outfit=outfit), ("h001",)).dump()
    assert SECRET not in text
    return Handover.load(text, "store")


def test_who_goes_on_with_a_run_gives_the_values_again() -> None:
    whole = Outfit(
        env={"A": SECRET, "B": "2"}, cwd="/srv", rlimits={"cpu": 3}, subst=True, sandbox=Sandbox.STRICT
    )
    kept = handover(whole)
    assert with_variables(kept, {"A": SECRET, "B": "2"}, "r").exec.outfit == whole
    with pytest.raises(UsageError, match="aren't recorded: A, B") as caught:
        with_variables(kept, {}, "r")
    assert "nile attach --env A=... --env B=... r" in str(caught.value.remedy)
    with pytest.raises(UsageError, match="no variable C"):
        with_variables(kept, {"A": "1", "B": "2", "C": "3"}, "r")
    assert with_variables(handover(Outfit()), {}, "r").exec.outfit == Outfit()


def test_the_last_one_of_a_name_wins() -> None:
    assert variables(["A=1", "B=2", "A="]) == {"A": "", "B": "2"}


def test_scratch_and_detach_are_recorded_where_they_were_asked_for() -> None:
    assert ExecOptions("true").told() == {}
    told = ExecOptions("true", leftover=Leftover.DETACH, scratch_bytes=512 << 20).told()
    assert told == {"scratch": 512 << 20, "detach": True}
    assert outfit_words(told) == "--scratch 512.0MiB --detach"


@pytest.mark.lab
def test_on_hosts_and_in_the_record(loopback_lab: Lab, tmp_path: Path) -> None:
    nile = Nile(loopback_lab, tmp_path).with_routes(groups={"web": "h[001-003]", "both": "h[001-012]"})
    settings = ("--env", f"A={SECRET}", "--clean-env", "--cwd", "/", "--rlimit", "nofile=99", "--subst")
    line = 'echo "%h %g $NILE_GROUP $NILE_GROUPS $(pwd) $(ulimit -n) $SSH_CLIENT${#A}"'
    done = nile.json(*settings, "-w", "h[001-002]", "--branches", "2", "--", line).all_ok()
    for host in ("h001", "h002"):
        assert done.stdout_of(host) == f"{host} web web web rack1 both / 99 {len(SECRET)}\n"
    told: dict[str, Any] = {
        "env": ["A"],
        "clean_env": True,
        "cwd": "/",
        "rlimits": {"nofile": 99},
        "subst": True,
    }
    assert done.events[0]["settings"] == told
    assert json.loads(nile.command("show", "last", "--json").out)["settings"] == told
    shown = nile.command("show", "last").out
    assert "with      --env A --clean-env --cwd / --rlimit nofile=99 --subst\n" in shown
    recorded = b"".join(path.read_bytes() for path in tmp_path.rglob("runs.db*"))
    assert b"nofile" in recorded
    assert SECRET.encode() not in recorded
