"""What holds a run back, and what is asked before it: from the outside, on a lab of loopback hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from nile.cli.caution import MANY_HOSTS, Failures, begin, exec_values
from nile.cli.exec_cmd import command, options
from nile.errors import UsageError
from nile.lab import Lab
from nile.options import ExecOptions, Outfit
from tests.cluster.running import Nile
from tests.cluster.terminal import Terminal, on_terminal
from tests.lab.helpers import eventually

FOUR = ("-w", "h[001-004]")
SECOND_FAILS = '[ "$NILE_HOST" != h002 ]'


@pytest.fixture
def nile(loopback_lab: Lab, tmp_path: Path) -> Nile:
    return Nile(loopback_lab, tmp_path)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def given(*words: str, hosts: int = 200) -> ExecOptions:
    """What `nile exec` makes of its options; raises what they raise."""
    context = command.make_context("exec", [*words, "-w", "h001", "--", "true"])
    values = {name: value for name, value in context.params.items() if name != "words"}
    return options("true", values, hosts)


@pytest.mark.parametrize(
    ("said", "most"), [("3", 3), ("0", 0), ("5%", 10), ("1%", 2), ("0%", 0), ("100%", 200)]
)
def test_failures_are_a_number_or_a_part_of_all_hosts(said: str, most: int) -> None:
    assert given("--max-failures", said).max_failures == most


@pytest.mark.parametrize("said", ["x", "-1", "5.5%", "101%", "%", "", "٣"])
def test_what_is_neither_is_refused(said: str) -> None:
    with pytest.raises(click.UsageError, match="neither a number nor a percentage"):
        Failures().convert(said, None, None)


@pytest.mark.parametrize("option", ["--batch", "--canary"])
def test_hosts_that_read_one_input_cant_go_one_after_another(option: str) -> None:
    with pytest.raises(UsageError, match=f"--stdin and {option} can't go together"):
        given("--stdin", option, "2")
    assert given("--stdin", "--max-failures", "2").held


def test_what_holds_hosts_until_the_root_says_so() -> None:
    held = {
        word: given(*word.split()).held
        for word in ("-k", "-f 2", "--batch 2", "--canary 2", "--max-failures 0")
    }
    assert held == {
        "-k": False,
        "-f 2": True,
        "--batch 2": True,
        "--canary 2": True,
        "--max-failures 0": True,
    }


class Chosen:
    """Hosts, of a route file's or not."""

    def __init__(self, hosts: int) -> None:
        from nile.topology.plan import plan
        from nile.topology.routes import Routes

        self.routes = Routes()
        self.hosts = tuple(f"n{number}" for number in range(hosts))
        self.plan = plan(self.routes, self.hosts)


NOTHING = {"dry_run": False, "confirm": False, "as_json": False}


def asked(monkeypatch: pytest.MonkeyPatch, hosts: int, *, terminal: bool = True, **values: Any) -> str:
    """How it begins: `on`, `no`, or that it asked and what."""
    shown: list[str] = []
    monkeypatch.setattr("nile.cli.caution.is_at_terminal", lambda **_: terminal)

    def confirmed(*_: object) -> bool:
        shown.append("asked")
        return False

    monkeypatch.setattr("nile.cli.caution._confirmed", confirmed)
    everything = values.pop("everything", True)
    outfit = Outfit(sudo=values.pop("sudo", None))
    how = ExecOptions("true", outfit=outfit, yes=values.pop("yes", False), canary=values.pop("canary", None))
    chosen: Any = Chosen(hosts)
    code = begin(chosen, how, {**NOTHING, **values}, everything=everything)
    return "asked" if shown else "on" if code is None else "no"


def test_who_means_many_hosts_by_all_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, MANY_HOSTS + 1) == "asked"
    assert asked(monkeypatch, MANY_HOSTS) == "on"
    assert asked(monkeypatch, MANY_HOSTS + 1, everything=False) == "on"
    assert asked(monkeypatch, MANY_HOSTS + 1, yes=True) == "on"
    assert asked(monkeypatch, MANY_HOSTS + 1, as_json=True) == "on"
    assert asked(monkeypatch, MANY_HOSTS + 1, terminal=False) == "on"
    assert asked(monkeypatch, MANY_HOSTS + 1, everything=False, sudo="root") == "asked"
    assert asked(monkeypatch, MANY_HOSTS, everything=False, sudo="root") == "on"
    assert asked(monkeypatch, 1, confirm=True, everything=False) == "asked"
    assert asked(monkeypatch, 1, confirm=True, yes=True, terminal=False) == "on"


def test_where_nobody_can_be_asked_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nobody can be asked"):
        asked(monkeypatch, 1, confirm=True, terminal=False)
    with pytest.raises(UsageError, match="nobody can be asked whether to go on after the canaries"):
        asked(monkeypatch, 3, canary=1, terminal=False)
    assert asked(monkeypatch, 3, canary=1, yes=True, terminal=False) == "on"


def test_a_number_of_hosts_is_made_of_a_percentage() -> None:
    values = {"stdin": False, "batch": None, "canary": None, "yes": False, "fail_fast": False}
    assert exec_values({**values, "max_failures": (10.0, True)}, 12)["max_failures"] == 1


@pytest.mark.lab
def test_a_dry_run_does_nothing(nile: Nile) -> None:
    shown = nile.exec(
        "-a", "--canary", "2", "--batch", "5", "--max-failures", "10%", "--dry-run", "--", "uname  -r"
    )
    assert shown.code == 0
    assert shown.lines()[-5:] == [
        "first: h[001-002] (2), then you are asked",
        "in waves of 5",
        "no further starts once more than 1 aren't ok",
        "on: h[001-012] (12)",
        "command: uname  -r",
    ]
    assert shown.lines()[0] == "root"
    shown = nile.exec("-w", "h001", "--sudo-user", "ada", "--dry-run", "--", "true")
    assert shown.lines()[-3:] == ["by sudo, as ada", "on: h001 (1)", "command: true"]
    told = json.loads(nile.exec("-a", "--canary", "2", "--dry-run", "--json", "--", "true").out)
    assert (told["dry_run"], told["command"], told["canaries"]) == (True, "true", ["h001", "h002"])
    assert len(told["asked"]) == len(told["nodes"]) == 12
    assert "no run is recorded yet" in nile.command("runs").err


@pytest.mark.lab
def test_too_many_failures_cancel_the_rest(nile: Nile) -> None:
    done = nile.json(*FOUR, "-f", "1", "--max-failures", "0", "--", SECOND_FAILS)
    assert done.code == 1
    started = {host for host, verdict in done.verdicts.items() if verdict != "cancelled"}
    assert "h002" in started
    assert done.verdicts["h002"] == "failed"
    for host in set(done.verdicts) - started:
        assert done.results[host]["reason"] == "1 host isn't ok, and no more than 0 may fail"
        assert done.results[host]["code"] == "cancelled"
    assert "no further starts: 1 host isn't ok, and no more than 0 may fail" in done.notices


@pytest.mark.lab
def test_canaries_that_are_not_ok_keep_the_others_back(nile: Nile) -> None:
    done = nile.json(*FOUR, "--canary", "2", "--yes", "--", SECOND_FAILS)
    assert done.code == 1
    assert done.verdicts == {"h001": "ok", "h002": "failed", "h003": "cancelled", "h004": "cancelled"}
    well = nile.json(*FOUR, "--canary", "2", "--batch", "1", "--yes", "--", "date +%s.%N").all_ok()
    times = {host: float(well.stdout_of(host)) for host in well.results}
    assert max(times["h001"], times["h002"]) < min(times["h003"], times["h004"])


@pytest.mark.lab
def test_without_a_terminal_canaries_are_refused_before_anything_is_done(nile: Nile) -> None:
    done = nile.exec(*FOUR, "--canary", "2", "--", "true")
    assert (done.code, done.out) == (2, "")
    assert "or with --yes: then it goes on only if all canaries are ok" in done.err
    assert "no run is recorded yet" in nile.command("runs").err


@pytest.mark.lab
def test_the_first_that_fails_ends_all(nile: Nile) -> None:
    done = nile.json(*FOUR, "-k", "--grace", "0.2", "--", f"{SECOND_FAILS} || exit 3; sleep 60")
    assert done.code == 1
    assert done.verdicts == {"h002": "failed", "h001": "cancelled", "h003": "cancelled", "h004": "cancelled"}
    assert "h002 failed (exit status 3): all others are ended (fail fast)" in done.notices


@pytest.mark.lab
@pytest.mark.parametrize(
    ("answer", "code", "said"), [(b"y\n", 0, b"4 of 4 hosts ok"), (b"\n", 1, b"2 cancelled")]
)
def test_whoever_looks_on_is_asked_after_canaries(
    nile: Nile, terminal: Terminal, answer: bytes, code: int, said: bytes
) -> None:
    run = on_terminal(nile, terminal, *FOUR, "--canary", "2", "--", "true")
    question = b"nile: canaries h[001-002] (2) are ok. The other 2 hosts wait; go on? [y/N] "
    eventually(lambda: question in terminal.shown, "it asks")
    terminal.type(answer)
    assert run.process.wait(30) == code
    eventually(lambda: said in terminal.shown, "it ends")


@pytest.mark.lab
@pytest.mark.parametrize(("answer", "code"), [(b"yes\n", 0), (b"n\n", 1)])
def test_whoever_wants_to_be_asked_first_is(nile: Nile, terminal: Terminal, answer: bytes, code: int) -> None:
    run = on_terminal(nile, terminal, *FOUR, "--confirm", "--", "echo done")
    eventually(lambda: b"nile: echo done: on h[001-004] (4); go on? [y/N] " in terminal.shown, "it asks")
    terminal.type(answer)
    assert run.process.wait(30) == code
    said = b"nothing was started" if code else b"4 of 4 hosts ok"
    eventually(lambda: said in terminal.shown, "it ends")


@pytest.mark.lab
def test_what_each_host_is_to_run_is_shown_before_it_is_asked(
    nile: Nile, terminal: Terminal, tmp_path: Path
) -> None:
    """The question itself could only say how many commands there are."""
    (tmp_path / "commands.yaml").write_text('"h[001-002]": echo one\nh003: echo two\n')
    run = on_terminal(nile, terminal, "--per-host", str(tmp_path / "commands.yaml"), "--confirm")
    question = b"nile: 2 commands (--per-host): on h[001-003] (3); go on? [y/N] "
    eventually(lambda: question in terminal.shown, "it asks")
    before = terminal.shown.partition(question)[0].splitlines()
    assert {b"h[001-002] (2): echo one", b"h003 (1): echo two"} <= set(before)
    terminal.type(b"y\n")
    assert run.process.wait(30) == 0
    eventually(lambda: b"3 of 3 hosts ok" in terminal.shown, "it ends")


@pytest.mark.lab
def test_output_in_all_its_forms(nile: Nile) -> None:
    words = (*FOUR, "--", "[ $NILE_HOST = h003 ] && echo other || echo same")
    assert nile.exec("-L", *words).lines() == ["h001: same", "h002: same", "h003: other", "h004: same"]
    assert nile.exec("-bL", *words).lines() == ["h[001-002,004]: same", "h003: other"]
    assert sorted(nile.exec("-N", *words).lines()) == ["other", "same", "same", "same"]
    differs = nile.exec("--diff", *words).lines()
    assert differs == ["--- h[001-002,004] (3)", "+++ h003 (1)", "@@ -1 +1 @@", "-same", "+other"]
    live = nile.exec("-b", "--live", *words).lines()
    assert sorted(live[:4]) == ["h001: same", "h002: same", "h003: other", "h004: same"]
    assert live[4:8] == ["---------------", "h[001-002,004] (3)", "---------------", "same"]


@pytest.mark.parametrize(
    "words", [("--json", "-b"), ("--json", "-L"), ("--json", "--diff"), ("--live",), ("--diff", "-L")]
)
def test_what_can_not_be_shown_together_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"can't go|goes with"):
        given(*words)
