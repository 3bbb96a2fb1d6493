"""`nile doctor`: what it makes of what it saw, and on a lab of loopback hosts."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from nile.cascade.verdicts import BY_A_SHELL
from nile.cli.common import SelectionOptions
from nile.cli.doctor import _flat, _lines
from nile.cli.examining import (
    FAILS_AT,
    NEEDED,
    NO_PYTHON,
    Check,
    Finding,
    Look,
    can_relay,
    examine,
    inner,
    probe_line,
    rounds,
    usable,
)
from nile.cli.firstroutes import check_first, first_text
from nile.errors import UsageError
from nile.events import Code, HostResult, Verdict
from nile.lab import Lab
from nile.topology.routes import Routes, parse_routes
from tests.cluster.running import Nile

ANSWER = b"""\
python Python 3.6.8
rsync rsync  version 3.1.3  protocol version 31
ssh /usr/bin/ssh
uid 7
sudo asks
"""


def unreachable(host: str, code: Code, reason: str = "", remedy: str = "") -> HostResult:
    return HostResult(host, Verdict.UNREACHABLE, code=code, reason=reason, remedy=remedy)


def test_what_a_host_answers() -> None:
    look = Look({"n1": HostResult("n1", Verdict.OK, 0)}, {"n1": ANSWER})
    found = examine(look)["n1"]
    assert [found[check].ok for check in Check] == [True] * 6 + [False, None]
    assert (found[Check.PYTHON].said, found[Check.RSYNC].said) == ("3.6.8", "3.1.3")
    assert found[Check.SUDO].said == "refused, or with a password or a terminal"
    assert usable(found)


def test_a_host_that_says_other_things_than_it_is_asked() -> None:
    """It is hostile, or has a start-up file that prints."""
    said = b"hello\xff\x1b[2J\nrsync \x1b]0;x\x07 version 9;rm\nsudo yes please\npython Python 3.x\n"
    found = examine(Look({"n1": HostResult("n1", Verdict.OK, 0)}, {"n1": said}))["n1"]
    assert found[Check.PYTHON] == Finding(True)
    assert found[Check.RSYNC].said == "there is none"
    assert found[Check.SUDO].said == "refused, or with a password or a terminal"


@pytest.mark.parametrize("code", list(Code))
def test_a_login_that_fails_fails_one_check(code: Code) -> None:
    found = examine(Look({"n1": unreachable("n1", code, "why", "what to do")}))["n1"]
    failed = FAILS_AT.get(code, Check.PYTHON)
    assert found[failed] == Finding(False, "why", "what to do", str(code))
    before, behind = (
        NEEDED[: NEEDED.index(failed)],
        [c for c in Check if c not in NEEDED[: NEEDED.index(failed) + 1]],
    )
    assert all(found[check].ok for check in before)
    assert [found[check].ok for check in behind] == [None] * len(behind)
    assert not usable(found)


def test_hosts_that_fare_alike_are_told_together() -> None:
    hosts = [f"n{number}" for number in range(1, 10)]
    results = {host: unreachable(host, Code.REFUSED, f"{host} refuses", "Check sshd.") for host in hosts[:2]}
    remedy = "Compare and store it with: nile hostkeys -w "
    results |= {
        host: unreachable(host, Code.HOST_KEY_UNKNOWN, "no key", remedy + host) for host in hosts[2:4]
    }
    results |= {host: HostResult(host, Verdict.OK, 0) for host in hosts[4:]}
    findings = examine(Look(results, dict.fromkeys(hosts[4:], ANSWER)))
    assert list(_lines(Check.PORT, findings)) == [
        "n[1-2] (2): refused; one of them: n1 refuses",
        "  Check sshd.",
        "n[3-9] (7): ok",
    ]
    assert list(_lines(Check.HOST_KEY, findings)) == [
        "n[3-4] (2): no key",
        "  Compare and store it with: nile hostkeys -w 'n[3-4]'",
        "n[5-9] (5): ok",
    ]
    assert list(_lines(Check.RSYNC, findings)) == ["n[5-9] (5): 3.1.3"]
    assert list(_lines(Check.INNER, findings)) == ["not tried"]


@pytest.mark.parametrize("number", [2, 3, 4, 7, 40, 700])
@pytest.mark.parametrize("part", [1, 2])
def test_every_host_is_once_below_another(number: int, part: int) -> None:
    """As far as there are two that may have others below them."""
    hosts = [f"n{each}" for each in range(number)]
    relays = hosts[::part] if number > 2 else hosts
    trees = rounds(hosts, relays, 25)
    below = {host for tree in trees for lower in tree.values() for host in lower}
    assert below == set(hosts)
    for tree in trees:
        assert all(relay in relays for relay in tree)
        lower = [host for hosts in tree.values() for host in hosts]
        assert len(lower) == len(set(lower)), "each once in a tree"
        assert not set(lower) & set(tree), "nobody below itself"
        assert max(map(len, tree.values())) <= max(25, -(-number // len(relays)))


def test_no_rounds_where_nobody_can_log_in_to_anybody() -> None:
    assert rounds(["n1"], ["n1"], 25) == []
    assert rounds(["n1", "n2"], [], 25) == []


def test_who_was_logged_in_to_by_the_root_alone() -> None:
    results = {host: HostResult(host, Verdict.OK, 0) for host in ("n1", "n2")}
    notices = [
        "n1: it can't log in to the hosts below it (refused): 1 host is reached by other ways",
        "n9: other",
    ]
    look = Look(results, {}, {"n1": "n2", "n2": "root"}, notices)
    found = inner(look, "root")
    assert found["n1"] == Finding(True)
    assert found["n2"].ok is False
    assert found["n2"].said == f"no other host could log in ({notices[0]})"


def test_a_first_route_file(tmp_path: Path) -> None:
    hosts = ["n1", "n2", "n3"]
    results = {host: HostResult(host, Verdict.OK, 0) for host in hosts}
    look = Look(results, {"n1": ANSWER, "n2": ANSWER, "n3": ANSWER.replace(b"/usr/bin/ssh", b"")})
    findings = examine(look)
    selection = SelectionOptions(user="ada", ssh_options=("Port=2222", "Compression=yes"))
    text = first_text(selection, hosts, look, findings)
    routes = parse_routes(text, "first")
    assert routes.groups == {"hosts": ("n1", "n2", "n3"), "leaves": ("n3",)}
    assert (routes.ssh.user, routes.ssh.port, dict(routes.ssh.options)) == (
        "ada",
        2222,
        {"Compression": "yes"},
    )
    assert [routes.spec(host).relay for host in hosts] == ["yes", "yes", "no"]
    assert routes.tree == "auto"
    for found in findings.values():
        found[Check.INNER] = Finding(False)
    assert parse_routes(first_text(selection, hosts, look, findings), "first").tree == "flat"
    (tmp_path / "there").symlink_to("nowhere")
    for routes, says in (
        (Routes(), "there already"),
        (Routes(source="r.yaml"), "a route file already, r.yaml"),
    ):
        with pytest.raises(UsageError, match=says):
            check_first(str(tmp_path / "there"), routes)


@pytest.mark.parametrize(
    ("given", "identity"),
    [
        ("keys/id", "HERE/keys/id"),
        ("/etc/id", "/etc/id"),
        ("~/.ssh/id", "~/.ssh/id"),
        ("%d/.ssh/id", "~/.ssh/id"),
    ],
)
def test_a_first_route_file_holds_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, identity: str
) -> None:
    monkeypatch.chdir(tmp_path)
    look = Look({"n1": HostResult("n1", Verdict.OK, 0)}, {"n1": ANSWER})
    words = (f"IdentityFile={given}", "ConnectTimeout=3")
    routes = parse_routes(first_text(SelectionOptions(ssh_options=words), ["n1"], look, examine(look)), "x")
    assert routes.ssh.identity == (identity.replace("HERE", str(tmp_path)),)
    assert routes.timeouts.connect_s == 3.0
    own = SelectionOptions(ssh_options=words, connect_timeout_s=2.5)
    assert parse_routes(first_text(own, ["n1"], look, examine(look)), "x").timeouts.connect_s == 2.5


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_the_probe_is_a_line_that_shells_hand_over(shell: str) -> None:
    done = subprocess.run(
        [shell, "-c", probe_line()], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    words = [line.split(" ")[0] for line in done.stdout.splitlines()]
    assert words == ["python", "rsync", "ssh", "uid", "sudo"]
    assert "\n" not in probe_line()
    assert probe_line().count("'") == 2


DRAWN = """
tree:
  - n[1-9]
  - relay1: [{n10: [n11]}, {gw: [inner1, {inner2: [n12, n13]}]}]
"""


@pytest.mark.parametrize("tree", ["", DRAWN])
def test_the_root_tries_each_host_itself_that_it_can_log_in_to(tree: str) -> None:
    """Those alone may have the password of `--ask-pass`. Who is behind a gateway stays below it."""
    text = (
        "version: 1\ngroups: {all: 'n[1-40]', inner: {hosts: 'inner[1-2]', via: gw}}\n"
        f"limits: {{branches: 10, stages: 4}}\n{tree}"
    )
    free = [f"n{number}" for number in range(1, 14 if tree else 41)]
    planned = _flat(parse_routes(text, "x"), [*free, "inner1", "inner2"])
    assert {node.host for node in planned.nodes if node.parent == 0} == {*free, "gw"}
    assert {node.host: node.asked for node in planned.nodes} == {
        **dict.fromkeys([*free, "inner1", "inner2"], True),
        "gw": False,
    }, "relay1 carries nobody any more"
    (gateway,) = [node for node in planned.nodes if node.host == "gw"]
    assert [planned.node(child).host for child in gateway.children] == ["inner1", "inner2"]
    assert {node.host for node in planned.nodes} == set(planned.specs)


@pytest.mark.lab
def test_on_real_hosts(loopback_lab: Lab, tmp_path: Path) -> None:
    """One is down, of one no key is known, and no host can log in to two of them."""
    nile = Nile(loopback_lab, tmp_path)
    content = yaml.safe_load(nile.routes.read_text())
    known = tmp_path / "known_hosts"
    lines = Path(content["ssh"]["options"]["UserKnownHostsFile"]).read_text().splitlines()
    known.write_text("".join(f"{line}\n" for line in lines if "h003" not in line.split()[0].split(",")))
    content["ssh"]["options"]["UserKnownHostsFile"] = str(known)
    for host in ("h004", "h005"):
        address = content["hosts"][host]["address"]
        content["hosts"][host]["address"] = {"root": address, "inside": "127.99.99.99"}
    nile.routes = tmp_path / "r.yaml"
    nile.routes.write_text(yaml.safe_dump(content))
    loopback_lab.crash("h002")
    done = nile.command("doctor", "-r", str(nile.routes), "-w", "h[001-005],gone.invalid", "--json")
    told = {one["host"]: one for one in map(json.loads, done.lines())}
    failed = {
        host: [name for name, check in one["checks"].items() if check["ok"] is False]
        for host, one in told.items()
    }
    assert (done.code, done.err.splitlines()) == (4, [f"routes: {nile.routes} (12 hosts)"])
    assert failed == {
        "h001": [],
        "h002": ["port"],
        "h003": ["host_key"],
        "h004": ["inner"],
        "h005": ["inner"],
        "gone.invalid": ["name"],
    }
    assert [one["usable"] for one in told.values()] == [True, False, False, True, True, False]
    assert "nile hostkeys -w h003" in told["h003"]["checks"]["host_key"]["remedy"]
    text = nile.command("doctor", "-r", str(nile.routes), "-w", "h001,h004")
    assert (text.code, text.out.splitlines()[-1]) == (0, "2 of 2 hosts can be used")
    assert "each other  h004 (1): no other host could log in" in text.out
    runs = nile.command("runs", "--json")
    assert runs.lines() == [], "looks aren't recorded"


@pytest.mark.lab
def test_the_file_that_it_writes_serves_as_it_is(loopback_lab: Lab, tmp_path: Path) -> None:
    """From hosts that nothing is known of but their addresses, and options of ssh."""
    nile = Nile(loopback_lab, tmp_path)
    content = yaml.safe_load(nile.routes.read_text())
    addresses = ",".join(content["hosts"][host]["address"] for host in ("h001", "h002"))
    ssh = {**content["ssh"]["options"], "Port": content["ssh"]["port"]}
    words = [f"-o{name}={value}" for name, value in ssh.items()]
    key = f"-oIdentityFile={content['ssh']['identity']}"
    first = tmp_path / "first.yaml"
    done = nile.command("doctor", "-w", addresses, *words, key, "--write", str(first), NILE_ROUTES="")
    assert (done.code, done.out.splitlines()[-1]) == (0, "2 of 2 hosts can be used"), done.err
    nile.routes = first
    assert sorted(nile.json("-a", "--", "true").all_ok().results) == sorted(addresses.split(","))

    other = tmp_path / "id_other"
    subprocess.run(["ssh-keygen", "-qN", "", "-t", "ed25519", "-f", other], check=True)
    wrong = (
        "-w",
        addresses,
        *words,
        f"-oIdentityFile={other}",
        "--json",
        "-r",
        str(loopback_lab.routes_file),
    )
    told = [json.loads(line) for line in nile.command("doctor", *wrong).lines()]
    assert [one["checks"]["login"]["ok"] for one in told] == [False, False]
    assert all(one["checks"]["login"]["remedy"] for one in told)
    assert all(one["checks"]["host_key"]["ok"] for one in told)


def test_a_host_without_python_runs_commands_and_nothing_more() -> None:
    result = HostResult("n1", Verdict.OK, 0, reason=BY_A_SHELL)
    look = Look({"n1": result}, {"n1": b"python \n" + ANSWER.partition(b"\n")[2]})
    (found,) = examine(look).values()
    assert found[Check.PYTHON] == Finding(True, NO_PYTHON)
    assert usable(found)
    assert not can_relay(look, "n1")  # nobody is tried below it, nor has it anybody in a first route file


def test_a_look_that_breaks_off_says_so() -> None:
    """What it hadn't come to isn't said to be missing there."""
    result = HostResult("n1", Verdict.TIMEOUT, reason="no end in 10 s")
    (found,) = examine(Look({"n1": result}, {"n1": b"python Python 3.11.2\n"})).values()
    assert found[Check.PYTHON] == Finding(True, "3.11.2")
    assert found[Check.RSYNC] == Finding(False, "no end in 10 s")
    assert found[Check.SUDO].ok is None
