"""Private keys stay at the root: what relays' logins are signed with, and who may ask for it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import agents, names_of, processes, root_of
from tests.cluster.running import Nile, Running
from tests.cluster.terminal import Terminal, on_terminal
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

OLD_SSH = Path(__file__).with_name("oldssh.py")
RELAY = "h001"
TREE = {RELAY: "h[002-004]"}
LEAVES = ("h002", "h003", "h004")
SET = "h[001-004]"


@pytest.fixture
def old_ssh(fleet: Lab) -> Iterator[Path]:
    """The relay's ssh looks like 8.0; the file says what it was asked to do."""
    assert fleet.run_on(RELAY, ["mount", "-t", "tmpfs", "tmpfs", "/usr/local/sbin"]).returncode == 0
    wrapper = root_of(fleet, RELAY) / "usr/local/sbin/ssh"
    wrapper.write_bytes(OLD_SSH.read_bytes())
    wrapper.chmod(0o755)
    log = root_of(fleet, RELAY) / "run/lab/ssh.log"
    log.touch()
    yield log
    fleet.mend(RELAY)  # if it crashed, it is as it was before
    if log.exists():
        log.unlink()
        log.with_name("greedy").unlink(missing_ok=True)
        assert fleet.run_on(RELAY, ["umount", "/usr/local/sbin"]).returncode == 0


def signing(nile: Nile, how: str) -> Nile:
    return nile.with_routes(how, tree=TREE, ssh={"signing": how})


@pytest.mark.parametrize("how", ["auto", "strict", "through-root"])
def test_a_new_ssh_binds_every_signature(nile: Nile, how: str) -> None:
    done = signing(nile, how).json("-w", SET, "--", "hostname").all_ok()
    assert done.notices == []


def test_an_old_ssh_gets_as_many_signatures_as_it_has_logins_planned(nile: Nile, old_ssh: Path) -> None:
    done = signing(nile, "auto").json("-w", SET, "--", "hostname").all_ok()
    assert old_ssh.read_text() == "login\n" * 3
    assert len(done.notices) == 1
    assert "older than OpenSSH 8.9" in done.notices[0]


BELOW = {"below": {"hosts": "h[002-004]", "via": RELAY}}
"""Nobody else may log in there."""


def test_an_old_ssh_gets_no_more(nile: Nile, old_ssh: Path) -> None:
    """It logs in twice for each login: three signatures are there for six."""
    old_ssh.with_name("greedy").touch()
    done = signing(nile, "auto").with_routes(groups=BELOW).json("-w", SET, "--", "hostname")
    refused = {host for host, verdict in done.verdicts.items() if verdict != "ok"}
    assert len(refused) >= 2
    assert refused <= set(LEAVES)
    assert {done.results[host]["code"] for host in refused} == {"signing"}


def test_strict_refuses_an_old_ssh(nile: Nile, old_ssh: Path) -> None:
    """Others log in for the relay that can't, where they may."""
    healed = signing(nile, "strict").json("-w", SET, "--", "hostname").all_ok()
    assert {healed.results[host]["path"][-2] for host in LEAVES} == {"root"}
    done = signing(nile, "strict").with_routes(groups=BELOW).json("-w", SET, "--", "hostname")
    assert done.verdicts == {RELAY: "ok", **dict.fromkeys(LEAVES, "unreachable")}
    for host in LEAVES:
        assert done.results[host]["code"] == "signing"
        assert "8.9" in done.results[host]["reason"] or "bind" in done.results[host]["reason"]
    assert done.code == 4


def test_through_the_root_no_relay_logs_in(nile: Nile, fleet: Lab, old_ssh: Path) -> None:
    """The root's ssh goes end to end, with much in both directions; the relay's ssh does nothing."""
    data = os.urandom(3_000_000)
    command = "sha256sum; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo $NILE_PARENT $NILE_STAGE"
    which = signing(nile, "through-root")
    done = which.json("--stdin", "-w", "h[002-004]", "--", command, stdin=data, timeout_s=100).all_ok()
    assert old_ssh.read_text() == ""
    for host in LEAVES:
        assert done.results[host]["path"] == ["root", RELAY, host]
    logged = which.command("logs", "last", "-w", "h003").lines()
    assert logged[0].endswith(f"{hashlib.sha256(data).hexdigest()}  -")
    assert sum(line.count("x") for line in logged[1:-1]) == 3_000_000
    assert logged[-1].endswith(f"{RELAY} 2")


def test_through_the_root_hosts_hear_of_their_end(nile: Nile, fleet: Lab, old_ssh: Path) -> None:
    """They don't wait for their lease to run out: the relay that carries their links ends after them."""
    three = nile.with_routes("three", tree={"h005": {RELAY: list(LEAVES)}}, ssh={"signing": "through-root"})
    three.json("-w", f"h005,{SET}", "--", "true").all_ok()
    assert old_ssh.read_text() == ""
    assert processes(fleet) == []


def test_through_the_root_hosts_outlive_the_relay_that_carried_them(
    nile: Nile, fleet: Lab, old_ssh: Path
) -> None:
    which = signing(nile, "through-root").with_routes("brisk", timeouts={"lease": "20s"})
    words = ("--json", "--grace", "1", "-w", "h[002-004]", "--", "sleep 8; echo still here")
    with which.started(*words) as run:
        eventually(lambda: len(names_of(agents(fleet))) == 4, "agents run")
        eventually(lambda: {p.host for p in processes(fleet) if p.run} == set(LEAVES), "commands run")
        fleet.crash(RELAY)
        done = run.wait()
    assert set(done.verdicts.values()) == {"ok"}
    assert {done.stdout_of(name) for name in LEAVES} == {"still here\n"}
    assert {len(done.results[name]["path"]) for name in LEAVES} == {2}


def test_nobody_else_on_a_relay_may_use_the_signing_socket(nile: Nile, fleet: Lab) -> None:
    """Not the command, which runs as the same user, nor anybody from outside."""
    options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    ask = (
        "until ls -d /dev/shm/nile-*/agent 2> /dev/null; do sleep 0.05; done; stat -c %a /dev/shm/nile-*/; "
        'echo "agent: $SSH_AUTH_SOCK"; exec 2>&1; export SSH_AUTH_SOCK=$(ls -d /dev/shm/nile-*/agent); '
        f"ssh-add -l; echo keys $?; ssh {options} h002 echo in; echo login $?"
    )
    drawn = nile.with_routes(tree=TREE)
    done = drawn.json("-w", SET, "--", f"[ $NILE_HOST != {RELAY} ] || {{ {ask}; true; }}").all_ok()
    lines = done.stdout_of(RELAY).splitlines()
    assert lines[0].endswith("/agent")
    assert "agent: " in lines
    assert "in" not in lines
    assert "login 255" in lines
    assert "keys 0" not in lines
    assert any(line.startswith("keys ") for line in lines)
    assert any("Permission denied" in line for line in lines)


def test_no_private_key_is_on_a_relay(nile: Nile, fleet: Lab) -> None:
    """Neither in a file nor in the memory of an agent."""
    secret = fleet.key_file.read_text().splitlines()[3]
    drawn = nile.with_routes(tree=TREE)
    command = "echo up; while [ ! -e ~/stop ]; do sleep 0.05; done"
    with drawn.started("-w", SET, "--", command) as run:
        eventually(lambda: {p.host for p in processes(fleet) if p.run} == {RELAY, *LEAVES}, "commands run")
        for process in agents(fleet, [RELAY]):
            assert secret.encode()[:40] not in memory(process.pid)
        for host in (RELAY, *LEAVES):
            (root_of(fleet, host) / "root/stop").touch()
        assert run.wait().code == 0
    for host in (RELAY, *LEAVES):
        (root_of(fleet, host) / "root/stop").unlink()


def memory(pid: int) -> bytes:
    """All writable memory of a process."""
    found = b""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:  # noqa: PTH123
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(word, 16) for word in span.split("-"))
                mem.seek(start)
                found += mem.read(end - start)
    return found


@pytest.mark.parametrize("host", ["h005", "h003"], ids=["stage 1", "stage 2"])
def test_a_host_that_takes_none_of_the_keys(nile: Nile, fleet: Lab, host: str) -> None:
    admitted = root_of(fleet, host) / "run/lab/authorized_keys"
    kept = admitted.read_bytes()
    admitted.write_bytes(b"")
    which = nile.with_routes(tree={RELAY: ["h002", "h003"], "h005": [], "h006": []})
    hosts = "h[002-003]" if host == "h003" else "h[005-006]"
    try:
        done = which.json("-w", hosts, "--", "hostname")
        shown = which.exec("-w", host, "--", "hostname")
    finally:
        admitted.write_bytes(kept)
    assert done.verdicts.pop(host) == "unreachable"
    assert set(done.verdicts.values()) <= {"ok", "unreachable"}
    assert done.results[host]["code"] == "authentication"
    assert [v for h, v in done.verdicts.items() if h != host] == ["ok"]
    assert "authorized_keys" in shown.err
    assert (done.code, shown.code) == (4, 4)


# Where the root has its keys from.


def test_keys_of_an_ssh_agent(nile: Nile, fleet: Lab) -> None:
    sock = nile.state / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    try:
        eventually(sock.exists, "the agent listens")
        env = {**os.environ, "SSH_AUTH_SOCK": str(sock)}
        subprocess.run(["ssh-add", "-q", str(fleet.key_file)], env=env, check=True)
        ssh = {"identity": str(fleet.key_file) + ".pub"}
        which = nile.with_routes(tree=TREE, ssh=ssh)
        done = which.json("-w", SET, "--", 'echo "[$SSH_AUTH_SOCK]"', SSH_AUTH_SOCK=str(sock)).all_ok()
        # No host gets a way to it: it isn't forwarded, and the signing socket is for the relay's ssh alone.
        assert {done.stdout_of(host) for host in done.results} == {"[]\n"}
    finally:
        agent.kill()
        agent.wait()


@pytest.fixture
def locked(nile: Nile, fleet: Lab) -> Nile:
    """A route file whose key has a passphrase."""
    key = nile.state / "locked"
    key.write_bytes(fleet.key_file.read_bytes())
    key.chmod(0o600)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(key)],
        check=True,
        capture_output=True,
    )
    return nile.with_routes("locked", tree=TREE, ssh={"identity": str(key)})


def test_a_passphrase_is_asked_once(locked: Nile, terminal: Terminal) -> None:
    run = on_terminal(locked, terminal, "-w", SET, "--", "hostname")
    eventually(lambda: b"Passphrase of " in terminal.shown, "it asks")
    terminal.type(b"open sesame\n")
    assert run.process.wait(30) == 0
    eventually(lambda: b"4 of 4 hosts ok" in terminal.shown, "all is shown")
    assert terminal.shown.count(b"Passphrase of ") == 1
    assert b"sesame" not in terminal.shown


def asked(terminal: Terminal, run: Running, times: int) -> bool:
    return terminal.shown.count(b"Passphrase of ") == times or run.process.poll() is not None


def test_a_wrong_passphrase_and_nobody_to_ask(locked: Nile, terminal: Terminal) -> None:
    run = on_terminal(locked, terminal, "-w", SET, "--", "hostname")
    for times in range(1, 4):
        eventually(lambda times=times: asked(terminal, run, times), "it asks")  # type: ignore[misc]
        if run.process.poll() is None:
            terminal.type(b"abracadabra\n")
    assert run.process.wait(30) == 2
    assert b"locked" in terminal.shown
    assert b"Traceback" not in terminal.shown
    with locked.started("-w", SET, "--", "hostname", start_new_session=True) as unasked:
        done = unasked.wait()
    assert done.code == 2
    assert "passphrase" in done.err
