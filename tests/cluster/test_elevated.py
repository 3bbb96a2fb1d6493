"""`nile exec --sudo` with the real sudo: without a password, with one, with a wrong one; and what is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import clear, patiently, processes, root_of
from tests.cluster.running import Nile
from tests.cluster.sudoing import LOG, PASSWORD, USER, log, pam_of_sudo, sudoers
from tests.cluster.terminal import Terminal, on_terminal, typed
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

FREE = f"{USER} ALL=(ALL) NOPASSWD: ALL"
ASKS = f"{USER} ALL=(ALL) ALL"
RULES = {
    "h001": FREE,
    "h002": f"Defaults use_pty\nDefaults:{USER} requiretty\n{FREE}",
    "h003": ASKS,
    "h004": f"Defaults use_pty\nDefaults:{USER} requiretty\nDefaults passwd_tries=1\n{ASKS}",
    "h005": ASKS,
    "h006": f"{USER} ALL=(ALL) NOPASSWD: /usr/bin/true",
}
TREE = {"h001": ["h003", "h004"], "h002": ["h005", "h006"]}
WILLING = "h[001-002]"
ASKING = ("h003", "h004", "h005")
ALL = "h[001-005]"
LEASE_S = 6
BELOW = "setsid sh -c 'sleep 600 & exec sleep 600' & exec sleep 600"
"""Three processes, two of which daemonise."""


@pytest.fixture(scope="module")
def ruled(fleet_session: Lab) -> Iterator[Lab]:
    with sudoers(fleet_session, RULES):
        yield fleet_session
    clear(fleet_session, RULES)


@pytest.fixture
def nile(ruled: Lab, fleet: Lab, tmp_path: Path) -> Nile:
    for host in RULES:
        (root_of(fleet, host) / LOG).unlink(missing_ok=True)
    times = {"lease": f"{LEASE_S}s"}
    return Nile(fleet, tmp_path).with_routes(tree=TREE, ssh={"user": USER}, timeouts=times)


def sudo(nile: Nile, *words: str) -> tuple[str, ...]:
    return nile.exec_words("--sudo", *words)


def test_with_a_password_that_is_typed_once_and_is_nowhere_afterwards(nile: Nile, terminal: Terminal) -> None:
    """The command looks for it in all arguments and environments of its host, as root."""
    for host in RULES:
        (root_of(nile.lab, host) / "run/lab/wanted").write_text(PASSWORD)
    look = "id -un; grep -lFf /run/lab/wanted /proc/[0-9]*/cmdline /proc/[0-9]*/environ; exit 0"
    done = typed(nile, terminal, sudo(nile, "--json", "-w", ALL, "--", look), PASSWORD).all_ok()
    assert {result["stdout"] for result in done.results.values()} == {"root\n"}
    assert terminal.shown.count(b"sudo's password") == 1
    secret = PASSWORD.encode()
    assert secret not in terminal.shown
    kept = [path for path in nile.state.rglob("*") if path.is_file()]
    assert "runs.db" in {path.name for path in kept}
    assert not [path for path in kept if secret in path.read_bytes()]
    assert not [host for host in RULES if PASSWORD in log(nile.lab, host)]
    assert done.events[0]["settings"] == {"sudo": "root"}


def test_a_wrong_one_is_tried_once_over_all_hosts_and_once_more_when_the_run_is_tried_again(
    nile: Nile, terminal: Terminal
) -> None:
    words = sudo(nile, "--json", "-w", ALL, "--", "id -un >> /srv/ran; id -un")
    done = typed(nile, terminal, words, "wrong")
    assert {host for host, verdict in done.verdicts.items() if verdict == "ok"} == {"h001", "h002"}
    assert {done.results[host]["code"] for host in ASKING} == {"sudo"}
    tries = [
        line for host in RULES for line in log(nile.lab, host).splitlines() if "incorrect password" in line
    ]
    assert len(tries) == 1, tries
    reasons = sorted(done.results[host]["reason"] for host in ASKING)
    assert reasons[0] == reasons[1]
    assert "so it was tried on no other host" in reasons[0]
    assert reasons[2].startswith("the password was refused: ")

    again = typed(nile, terminal, ("exec", "--retry-failed", "last", "--json"), "", PASSWORD)
    assert set(again.verdicts) == set(ASKING)
    again.all_ok()
    for host in ASKING:
        assert (root_of(nile.lab, host) / "srv/ran").read_text() == "root\n"


def test_where_nobody_can_be_asked_only_hosts_that_ask_fail(nile: Nile) -> None:
    done = nile.json("--sudo", "-w", "h[001-006]", "--", "id -un")
    assert {host for host, verdict in done.verdicts.items() if verdict == "ok"} == {"h001", "h002"}
    for host in ASKING:
        assert "there is no terminal to ask for it" in done.results[host]["reason"]
    assert "there is no terminal" in done.results["h006"]["reason"]
    assert not [host for host in RULES if "incorrect password" in log(nile.lab, host)]


def test_everything_else_that_a_command_may_be_given_goes_with_it(nile: Nile, tmp_path: Path) -> None:
    script = tmp_path / "look.py"
    script.write_text(
        "#!/usr/bin/env python3\nimport os, sys, resource\n"
        "print(os.getuid(), os.getcwd(), os.environ['MODE'], sys.argv[1:], sys.stdin.read(),\n"
        "      resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.path.isdir(os.environ['NILE_SCRATCH']))\n"
    )
    given = ("--cwd", "/root", "--rlimit", "nofile=333", "--script", str(script), "--stdin")
    words = ("--sudo", "-w", WILLING, *given, "--env", "MODE=fast", "--", "a b")
    done = nile.json(*words, stdin=b"in").all_ok()
    assert {result["stdout"] for result in done.results.values()} == {"0 /root fast ['a b'] in 333 True\n"}

    lines = tmp_path / "lines.yaml"
    lines.write_text("h001: id -un\nh002: {script: two.sh}\n")
    (tmp_path / "two.sh").write_text("id -un; echo two\n")
    done = nile.json("--sudo-user", "nobody", "--per-host", str(lines), "--canary", "1", "--yes").all_ok()
    assert done.stdout_of("h001") + done.stdout_of("h002") == "nobody\nnobody\ntwo\n"


@pytest.mark.parametrize("ends", ["time-out", "Ctrl-C", "root lost"])
def test_nothing_of_root_survives(nile: Nile, ends: str) -> None:
    words = ("--sudo", "-w", WILLING, "--grace", "1s", *(("-u", "2s") if ends == "time-out" else ()))
    with nile.started("--json", *words, "--", BELOW) as run:

        def all_run() -> bool:
            found = [each for each in processes(nile.lab, ["h001", "h002"]) if each.name == "sleep"]
            return len(found) == 6

        eventually(all_run, "all of it runs", 30.0)
        if ends == "Ctrl-C":
            run.signal(signal.SIGINT)
        elif ends == "root lost":
            run.signal(signal.SIGKILL)
        done = run.wait()
    patiently(lambda: not processes(nile.lab), "nothing runs any more", LEASE_S + 14.0)
    if ends != "root lost":
        wanted = {"time-out": "timeout", "Ctrl-C": "cancelled"}[ends]
        assert set(done.verdicts.values()) == {wanted}
        for result in done.results.values():
            left = result["leftover"]
            assert len([each for each in left if each["name"] == "sleep" and each["killed"]]) == 3, result


def test_what_a_success_leaves_stays_as_root_and_what_a_failure_leaves_doesnt(nile: Nile) -> None:
    line = "setsid sleep 600 >/dev/null 2>&1 </dev/null & sleep 0.3; exit "
    done = nile.json("--sudo", "-w", "h001", "--", line + "3")
    assert [(each["name"], each["killed"]) for each in done.results["h001"]["leftover"]] == [("sleep", True)]
    nile.json("--sudo", "-w", "h001", "--", line + "0").all_ok()
    try:
        assert [each.name for each in processes(nile.lab, ["h001"])] == ["sleep"]
    finally:
        nile.lab.run_on("h001", ["pkill", "-9", "sleep"])


def test_another_root_asks_for_the_password_again(nile: Nile, terminal: Terminal) -> None:
    with on_terminal(nile, terminal, "--sudo", "-w", "h[003,005]", "--", "id -un").process as first:
        eventually(lambda: b"sudo's password" in terminal.shown, "it asks", 30.0)
        first.kill()
    other = Terminal()
    try:
        done = typed(nile, other, ("attach", "--json", "last"), PASSWORD)
    finally:
        other.close()
    assert {host: result["stdout"] for host, result in done.results.items()} == {
        "h003": "root\n",
        "h005": "root\n",
    }


def test_a_second_factor_is_named_and_the_password_goes_to_no_further_host(
    nile: Nile, terminal: Terminal
) -> None:
    """A module of PAM that asks a question of its own, behind the one for passwords."""
    kinds = "auth required pam_unix.so", "auth required pam_userdb.so db=/none"
    with pam_of_sudo(nile.lab, ASKING, *kinds):
        done = typed(nile, terminal, sudo(nile, "--json", "-w", ALL, "--", "id -un"), PASSWORD)
    assert {done.results[host]["code"] for host in ASKING} == {"sudo"}
    reasons = sorted(done.results[host]["reason"] for host in ASKING)
    assert reasons[0] == "sudo asks for more than a password"
    assert reasons[1] == reasons[2]
    assert reasons[1].endswith("so it was tried on no other host")


def test_a_program_gives_it_by_the_api(nile: Nile) -> None:
    """Its function is called once, with the host that asked first; without one these hosts say so."""
    script = f"""
import json, sys
import nile

def outcome(password):
    ends = {{}}
    for event in nile.run("{ALL}", "id -un", routes="{nile.routes}", sudo=True, sudo_password=password):
        if isinstance(event, nile.HostResult):
            ends[event.host] = [event.verdict, event.reason]
    return ends

asked, typed = [], sys.stdin.read()
print(json.dumps([outcome(lambda host: asked.append(host) or typed), outcome(typed), outcome(None), asked]))
"""
    argv = [*nile.lab.root_argv([sys.executable]), "-c", script]
    run = subprocess.run(
        argv, input=PASSWORD.encode(), capture_output=True, env=nile.environment(), check=False
    )
    assert (run.returncode, run.stderr) == (0, b"")
    called, given, without, asked = json.loads(run.stdout)
    assert {verdict for verdict, _ in [*called.values(), *given.values()]} == {"ok"}
    assert len(called) == len(given) == 5
    assert len(asked) == 1
    assert asked[0] in ASKING
    assert {host for host, (verdict, _) in without.items() if verdict == "ok"} == {"h001", "h002"}
    assert {without[host][1] for host in ASKING} == {
        "sudo asks for a password, and none was given: the program has none (sudo_password)"
    }
    assert not [
        path for path in nile.state.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]


def test_a_doctor_says_where_sudo_wants_a_password(nile: Nile) -> None:
    words = ("doctor", "-r", str(nile.routes), "-w", "h[001-003,006]", "--json")
    found = {one["host"]: one["checks"]["sudo"] for one in map(json.loads, nile.command(*words).lines())}
    assert [found[host]["ok"] for host in ("h001", "h002", "h003", "h006")] == [True, False, False, False]
    assert found["h001"]["said"] == "without a password"
    assert {found[host]["said"] for host in ("h002", "h003")} == {"refused, or with a password or a terminal"}
    assert "Nile asks you for the password" in found["h003"]["remedy"]
