"""`--ask-pass` with real sshds: by the password method and by PAM's questions, right and wrong."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.hosts import clear, root_of, sshd_with
from tests.cluster.running import Done, Nile
from tests.cluster.sudoing import PASSWORD, USER, sudoers
from tests.cluster.terminal import Terminal
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

PORT = 2022
NO_KEYS = "AuthorizedKeysFile none"
BY_PASSWORD = ("PasswordAuthentication yes", "KbdInteractiveAuthentication no", "UsePAM no")
BY_PAM = ("PasswordAuthentication no", "KbdInteractiveAuthentication yes", "UsePAM yes")
BY_BOTH = ("PasswordAuthentication yes", "KbdInteractiveAuthentication yes", "UsePAM yes")
WAYS = {
    "h001": (*BY_PASSWORD, "PubkeyAuthentication no"),
    "h002": (*BY_PAM, NO_KEYS),
    "h003": BY_BOTH,
    "h004": (*BY_BOTH, NO_KEYS),
    "h005": (*BY_PASSWORD, NO_KEYS),
    "h006": (*BY_PASSWORD, NO_KEYS),
    "h007": (*BY_BOTH, NO_KEYS, "AuthenticationMethods password,keyboard-interactive"),
}
BY_KEY = "h003"
BEHIND = "h006"
"""Only `BY_KEY` leads there."""
MORE_WANTED = "h007"
FIRST = "h[001-005]"
ASKING = ("h001", "h002", "h004", "h005")
PAM = "auth required pam_unix.so nodelay\naccount required pam_permit.so\nsession required pam_permit.so\n"
RULES = {**dict.fromkeys(WAYS, ""), "h001": f"{USER} ALL=(ALL) ALL"}
PROMPT = b"nile: password for logins as "


@pytest.fixture(scope="module")
def asking(fleet_session: Lab) -> Iterator[Lab]:
    """Hosts on which an ordinary user has a password, and sshds that take it."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(sudoers(fleet_session, RULES))
        for host, lines in WAYS.items():
            own = root_of(fleet_session, host) / "run/lab"
            (own / "pam").write_text(PAM)
            assert (
                fleet_session.run_on(host, ["mount", "--bind", "/run/lab/pam", "/etc/pam.d/sshd"]).returncode
                == 0
            )
            stack.callback(fleet_session.run_on, host, ["umount", "/etc/pam.d/sshd"])
            stack.enter_context(sshd_with(fleet_session, host, PORT, "LogLevel VERBOSE", *lines))
        yield fleet_session
    clear(fleet_session, WAYS)


@pytest.fixture
def nile(asking: Lab, fleet: Lab, tmp_path: Path) -> Nile:
    for host in WAYS:
        _log(fleet, host).write_text("")
        for file in ("up", "go"):
            (root_of(fleet, host) / "srv/home" / file).unlink(missing_ok=True)
    return _routes(Nile(fleet, tmp_path))


def _routes(nile: Nile) -> Nile:
    hosts = {host: {"address": nile.lab.addresses[host], "port": PORT} for host in WAYS}
    groups = {"inner": {"hosts": BEHIND, "via": BY_KEY}}
    return nile.with_routes(hosts=hosts, groups=groups, ssh={"user": USER})


def _log(lab: Lab, host: str) -> Path:
    return root_of(lab, host) / f"run/lab/sshd.{PORT}.log"


def tries(nile: Nile, words: str) -> list[str]:
    """What sshds wrote down of logins by passwords that went so."""
    return [
        f"{host}: {line}"
        for host in WAYS
        for line in _log(nile.lab, host).read_text().splitlines()
        if f"{words} password" in line or f"{words} keyboard-interactive" in line
    ]


@contextlib.contextmanager
def typing(
    nile: Nile, terminal: Terminal, words: tuple[str, ...], *lines: tuple[bytes, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """`nile` at a terminal at which these are typed, each once that prompt is there."""
    argv = ["setsid", "--ctty", *nile.argv(*words)]
    process = subprocess.Popen(
        argv, stdin=terminal.fd, stdout=subprocess.PIPE, stderr=terminal.fd, env=nile.environment()
    )
    try:
        for prompt, text in lines:
            eventually(lambda p=prompt: p in terminal.shown or process.poll() is not None, "it asks", 30.0)  # type: ignore[misc]
            terminal.type(text.encode() + b"\n")
        yield process
    finally:
        process.kill()
        process.wait()


def typed(nile: Nile, terminal: Terminal, words: tuple[str, ...], *lines: tuple[bytes, str]) -> Done:
    with typing(nile, terminal, words, *lines) as process:
        stdout, _ = process.communicate(timeout=60)
    return Done(process.returncode, stdout, terminal.shown)


def handed(nile: Nile, text: str, *words: str) -> Done:
    """`nile` with a password in a pipe, and no terminal."""
    reading, writing = os.pipe()
    os.write(writing, text.encode() + b"\nmore")
    os.close(writing)
    try:
        process = subprocess.Popen(
            nile.argv(words[0], "--pass-fd", str(reading), *words[1:]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=nile.environment(),
            pass_fds=(reading,),
            start_new_session=True,
        )
    finally:
        os.close(reading)
    stdout, stderr = process.communicate(timeout=60)
    return Done(process.returncode, stdout, stderr)


def test_it_is_typed_once_and_is_nowhere_else(nile: Nile, terminal: Terminal) -> None:
    """While the command runs everywhere, all arguments and environments of this machine are looked at."""
    wait = "touch ~/up; while ! [ -e ~/go ]; do sleep 0.05; done; id -un"
    words = nile.exec_words("--ask-pass", "--tree", "flat", "--json", "-w", FIRST, "--", wait)
    homes = [root_of(nile.lab, host) / "srv/home" for host in (BY_KEY, *ASKING)]
    secret = PASSWORD.encode()
    with typing(nile, terminal, words, (PROMPT, PASSWORD)) as process:
        eventually(lambda: all((home / "up").exists() for home in homes), "all run", 30.0)
        told = [path for path in _processes() if secret in _content(path)]
        for home in homes:
            (home / "go").touch()
        stdout, _ = process.communicate(timeout=60)
    done = Done(process.returncode, stdout, terminal.shown).all_ok()
    assert told == []
    assert {result["stdout"] for result in done.results.values()} == {f"{USER}\n"}
    assert terminal.shown.count(PROMPT + USER.encode()) == 1
    kept = [path for path in nile.state.rglob("*") if path.is_file()]
    assert "runs.db" in {path.name for path in kept}
    assert not [path for path in kept if secret in path.read_bytes()]
    assert secret not in terminal.shown + stdout
    assert len(tries(nile, "Accepted")) == len(ASKING)
    assert not [line for line in tries(nile, "Accepted") if line.startswith(BY_KEY)], "it takes keys"
    assert not tries(nile, "Failed")


def _processes() -> Iterator[Path]:
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            yield from (directory / "cmdline", directory / "environ")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it ended just now


def test_a_wrong_one_is_tried_once_over_all_hosts(nile: Nile, terminal: Terminal) -> None:
    words = nile.exec_words("--ask-pass", "--tree", "flat", "--json", "-w", FIRST, "--", "true")
    done = typed(nile, terminal, words, (PROMPT, "wrong"))
    assert {host for host, verdict in done.verdicts.items() if verdict == "ok"} == {BY_KEY}
    assert {(done.results[host]["verdict"], done.results[host]["code"]) for host in ASKING} == {
        ("unreachable", "password")
    }
    reasons = sorted(done.results[host]["reason"] for host in ASKING)
    assert reasons[0] == "the password was refused"
    assert reasons[1] == reasons[2] == reasons[3]
    assert reasons[1].endswith("so it was tried on no other host")
    assert len(tries(nile, "Failed")) == 1, tries(nile, "Failed")

    terminal.shown = b""
    without = nile.command("exec", "--retry-failed", "last", "--json")
    assert {result["code"] for result in without.results.values()} == {"authentication"}, "nobody is asked"
    words = ("exec", "--retry-failed", "last", "--json", "--ask-pass")
    again = typed(nile, terminal, words, (PROMPT, PASSWORD)).all_ok()
    assert set(again.results) == set(ASKING)


def test_a_host_behind_another_gets_none(nile: Nile) -> None:
    words = ("exec", "-r", str(nile.routes), "--json", "-w", f"{BY_KEY},{BEHIND}", "--", "true")
    done = handed(nile, PASSWORD, *words)
    assert done.results[BY_KEY]["verdict"] == "ok"
    behind = done.results[BEHIND]
    assert (behind["verdict"], behind["code"]) == ("unreachable", "authentication")
    assert "(publickey,password)" in behind["reason"]
    assert not tries(nile, "Failed")


def test_a_host_below_a_relay_gets_none_either_once_the_root_logs_in_itself(nile: Nile) -> None:
    """The relay can't log in, so the tree heals by way of the root, which the plan doesn't have do so."""
    hosts = {
        host: {"address": nile.lab.addresses[host], "port": PORT, "relay": "yes" if host == BY_KEY else "no"}
        for host in WAYS
    }
    chained = nile.with_routes("chained", hosts=hosts, limits={"branches": 1})
    words = ("exec", "-r", str(chained.routes), "--json", "-w", f"{BY_KEY},h005", "--", "true")
    done = handed(chained, PASSWORD, *words)
    assert done.results[BY_KEY]["verdict"] == "ok"
    below = done.results["h005"]
    assert (below["verdict"], below["code"]) == ("unreachable", "authentication"), below
    assert f"{USER}@" in below["reason"], "it was the root that tried last"
    assert not [line for line in tries(nile, "Accepted") if line.startswith("h005")]
    assert not tries(nile, "Failed")


def test_doctor_goes_on_where_the_next_hosts_to_try_can_be_given_none(nile: Nile) -> None:
    hosts = {host: {"address": nile.lab.addresses[host], "port": PORT} for host in WAYS}
    hosts[BY_KEY] |= {"ssh": {"client": "openssh"}}
    hosts["h005"] |= {"relay": "no"}
    routes = nile.with_routes("mixed", hosts=hosts, groups={}).routes
    looked = handed(nile, PASSWORD, "doctor", "-r", str(routes), "-w", f"{BY_KEY},h005", "--json")
    found = {each["host"]: each["checks"] for each in map(json.loads, looked.lines())}
    assert set(found) == {BY_KEY, "h005"}, looked.err
    assert found["h005"]["login"]["ok"]
    assert found["h005"]["inner"]["ok"] is False, "it was tried, and takes no key"


def test_without_it_hosts_say_how_they_would_let_one_in_and_doctor_names_the_option(nile: Nile) -> None:
    done = nile.json("-w", "h[001-002]", "--", "true")
    for host, way in (("h001", "password"), ("h002", "publickey,keyboard-interactive")):
        assert done.results[host]["code"] == "authentication"
        assert done.results[host]["reason"].endswith(f"({way})")
    said = nile.exec("-w", "h001", "--", "true").err
    assert "`--ask-pass` gives one to hosts that the root itself logs in to" in said
    looked = nile.command("doctor", "-r", str(nile.routes), "-w", "h001", "--json")
    (found,) = [json.loads(line) for line in looked.lines()]
    assert not found["checks"]["login"]["ok"]
    assert "--ask-pass" in found["checks"]["login"]["remedy"]

    helped = handed(nile, PASSWORD, "doctor", "-r", str(nile.routes), "-w", "h[001,003]", "--json")
    checks = {each["host"]: each["checks"] for each in map(json.loads, helped.lines())}
    assert (checks["h001"]["login"]["ok"], "password" in checks["h001"]["login"]["said"]) == (True, True)
    assert (checks[BY_KEY]["login"]["ok"], checks[BY_KEY]["login"]["said"]) == (True, "")


def test_a_host_that_wants_more_than_the_password_it_took_stops_nobody(nile: Nile) -> None:
    words = nile.exec_words("--tree", "flat", "--json", "-w", f"h001,{MORE_WANTED}", "--", "true")
    done = handed(nile, PASSWORD, *words)
    assert done.results["h001"]["verdict"] == "ok"
    more = done.results[MORE_WANTED]
    assert (more["verdict"], more["code"]) == ("unreachable", "password")
    assert more["reason"] == "the host took the password, and wants more than that: by keyboard-interactive"


def test_nobody_to_ask_is_said_before_any_host_is_touched(nile: Nile) -> None:
    done = nile.command(*nile.exec_words("--ask-pass", "--tree", "flat", "-w", FIRST, "--", "true"))
    assert done.code == 2
    assert "a password is wanted and nobody can be asked" in done.err
    assert "--pass-fd" in done.err
    assert not any(_log(nile.lab, host).read_text() for host in WAYS)


def test_sudos_password_is_another_question(nile: Nile, terminal: Terminal) -> None:
    words = nile.exec_words("--ask-pass", "--tree", "flat", "--sudo", "--json", "-w", "h001", "--", "id -un")
    done = typed(nile, terminal, words, (PROMPT, PASSWORD), (b"sudo's password", PASSWORD)).all_ok()
    assert done.results["h001"]["stdout"] == "root\n"


def test_files_are_copied_to_hosts_that_take_no_key(nile: Nile, tmp_path: Path) -> None:
    source = tmp_path / "app"
    source.mkdir()
    (source / "file").write_text("copied")
    words = (
        "--routes",
        str(nile.routes),
        "--tree",
        "flat",
        "-w",
        "h[001-004]",
        "--json",
        f"{source}/",
        "/srv/home/app",
    )
    done = handed(nile, PASSWORD, "sync", *words)
    assert {result["verdict"] for result in done.results.values()} == {"ok"}, done.err
    assert (root_of(nile.lab, "h002") / "srv/home/app/file").read_text() == "copied"
