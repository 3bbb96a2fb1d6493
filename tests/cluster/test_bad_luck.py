"""Hosts that can't be reached, and keys that can't be used: a clear error for each, in time."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from nile.lab import Lab, procs
from nile.lab.netns import listens
from tests.cluster.hosts import login_shell, root_of, sshd_with
from tests.cluster.running import Nile
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster

BELOW = {"below": {"hosts": "h[004-006],nowhere2", "via": "h001"}}
STAGES = {1: "h003", 2: "h004"}
GOOD = {1: "h002", 2: "h005"}
LISTENER = """
import socket, sys
with socket.create_server(("", 2023)) as server:
    kept = []
    while True:
        kept.append(server.accept()[0])
        if sys.argv[1] == "close":
            kept.pop().close()
        elif sys.argv[1] == "rubbish":
            kept[-1].sendall(b"220 mail.example.org ESMTP\\r\\n" * 10000)
"""


@pytest.fixture(params=STAGES, ids="stage {}".format)
def stage(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def check(nile: Nile, stage: int, host: str, code: str, *options: str) -> str:
    """The host is unreachable with that code, and another one of its stage is well; what is said of it."""
    words = (*options, "-w", f"{host},{GOOD[stage]}", "--", "hostname")
    done = nile.json(*words)
    assert done.code == 4
    assert done.verdicts == {host: "unreachable", GOOD[stage]: "ok"}
    result = done.results[host]
    assert (result["code"], result["rc"], result["signal"]) == (code, None, None)
    assert result["reason"]
    assert_way(result["path"], stage, host)
    assert "Traceback" not in done.err
    return str(result["reason"])


def assert_way(path: list[str], stage: int, host: str) -> None:
    """The last way that was tried: the gateway's own, or by another host behind it, which may help out."""
    assert path[:stage] == ["root", "h001"][:stage]
    assert path[-1] == host
    between = path[stage:-1]
    assert between in ([], [GOOD[stage]])


def with_host(nile: Nile, **content: object) -> Nile:
    """Route files in which the hosts of STAGES have other settings."""
    hosts = {host: {"address": nile.lab.addresses[host], **content} for host in STAGES.values()}
    return nile.with_routes("other", groups=BELOW, hosts=hosts)


def test_an_unknown_name(nile: Nile, stage: int) -> None:
    host = {1: "nowhere1", 2: "nowhere2"}[stage]
    which = nile.with_routes("names", groups=BELOW, hosts={host: {"host_key_alias": "h002"}})
    check(which, stage, host, "name")
    shown = which.exec("-w", host, "--", "hostname")
    assert "address" in shown.err


def test_a_refused_port(nile: Nile, stage: int) -> None:
    which = with_host(nile, port=2999, host_key_alias=STAGES[stage])
    assert "refuse" in check(which, stage, STAGES[stage], "refused").lower()


def test_a_host_that_is_cut_off(nile: Nile, fleet: Lab, stage: int) -> None:
    fleet.cut(STAGES[stage])
    began = time.monotonic()
    check(with_host(nile), stage, STAGES[stage], "connect-timeout", "-t", "2")
    assert 2 <= time.monotonic() - began < 8


def test_a_host_that_is_frozen(nile: Nile, fleet: Lab, stage: int) -> None:
    """The kernel takes the connection, and nobody speaks."""
    fleet.freeze(STAGES[stage])
    check(with_host(nile), stage, STAGES[stage], "connect-timeout", "-t", "2")


@contextlib.contextmanager
def listening(lab: Lab, host: str, how: str) -> Iterator[None]:
    listener = subprocess.Popen(lab.host_argv(host, ["python3", "-c", LISTENER, how]))
    try:
        eventually(lambda: listens(lab.pid(host), 2023), "it listens")
        yield
    finally:
        procs.kill_tree(listener.pid)
        listener.wait()


@pytest.mark.parametrize(("how", "code"), [("close", "startups"), ("silence", "connect-timeout")])
def test_a_port_that_is_no_sshd(nile: Nile, fleet: Lab, stage: int, how: str, code: str) -> None:
    which = with_host(nile, port=2023, host_key_alias=STAGES[stage])
    with listening(fleet, STAGES[stage], how):
        check(which, stage, STAGES[stage], code, "-t", "2")


def test_a_port_that_speaks_something_else(nile: Nile, fleet: Lab, stage: int) -> None:
    which = with_host(nile, port=2023, host_key_alias=STAGES[stage])
    with listening(fleet, STAGES[stage], "rubbish"):
        done = which.json("-t", "3", "-w", f"{STAGES[stage]},{GOOD[stage]}", "--", "hostname")
    assert done.verdicts == {STAGES[stage]: "unreachable", GOOD[stage]: "ok"}


@pytest.mark.parametrize("shell", ["/bin/false", "/usr/sbin/nologin"])
def test_a_user_who_may_not_run_anything(nile: Nile, fleet: Lab, stage: int, shell: str) -> None:
    with login_shell(fleet, STAGES[stage], shell):
        reason = check(with_host(nile), stage, STAGES[stage], "login-shell")
        assert reason == "the login shell ended with status 1 and ran nothing"
        assert "getent passwd root" in with_host(nile).exec("-w", STAGES[stage], "--", "hostname").err


def test_start_up_files_that_end_the_shell(nile: Nile, fleet: Lab, stage: int) -> None:
    """What they say on standard error is told; nothing of the run was begun."""
    home = root_of(fleet, STAGES[stage]) / "root"
    with login_shell(fleet, STAGES[stage], "/bin/bash"):
        (home / ".bashrc").write_text("echo closed for today >&2\nexit 7\n")
        try:
            reason = check(with_host(nile), stage, STAGES[stage], "login-shell")
        finally:
            (home / ".bashrc").unlink()
    assert reason == "the login shell ended with status 7 and ran nothing: closed for today"


def test_a_relay_that_cant_be_reached(nile: Nile, fleet: Lab) -> None:
    """Those below it are named, each with the way that was to lead there."""
    fleet.crash("h001")
    which = nile.with_routes("below", groups=BELOW)
    done = which.json("-t", "2", "-w", "h[002,004-006]", "--", "hostname")
    assert done.verdicts == {
        "h002": "ok",
        "h004": "unreachable",
        "h005": "unreachable",
        "h006": "unreachable",
    }
    for host in ("h004", "h005", "h006"):
        assert done.results[host]["code"] == "parent"
        assert "h001" in done.results[host]["reason"]
        assert done.results[host]["path"] == ["root", "h001", host]


def test_every_gateway_is_dead(nile: Nile, fleet: Lab) -> None:
    """Nothing but verdicts is to be had, and all of them are."""
    hosts = {"address": fleet.addresses["h001"], "port": 2999, "host_key_alias": "h001"}
    below = {"below": {"hosts": "h[004-036]", "via": "h001"}}
    which = nile.with_routes(groups=below, hosts={"h001": hosts}, timeouts={"lease": "3s", "connect": "3s"})
    done = which.json("-w", "h[004-036]", "--grace", "1s", "--", "hostname")
    assert done.code == 4
    assert set(done.verdicts.values()) == {"unreachable"}
    assert len(done.results) == 33


MANY = {f"a{number:02}": "h002" for number in range(1, 41)}


@pytest.mark.parametrize("stage", [1, 2])
def test_logins_that_sshd_drops_are_tried_again(nile: Nile, fleet: Lab, stage: int) -> None:
    """40 logins at once to one sshd with its own MaxStartups: it drops some, and all come through."""
    address = {"address": fleet.addresses["h002"], "port": 2022, "host_key_alias": "h002"}
    group = {"many": {"hosts": "a[01-40]", **({"via": "h001"} if stage == 2 else {})}}
    limits = {"branches": 50, "parallel": 50, "stages": stage}
    hosts = dict.fromkeys(MANY, address)
    which = nile.with_routes("many", groups=group, hosts=hosts, limits=limits, timeouts={"connect": "40s"})
    log = root_of(fleet, "h002") / "run/lab/sshd.2022.log"
    slow = ("AuthorizedKeysCommand /bin/sleep 0.3", "AuthorizedKeysCommandUser root")
    with sshd_with(fleet, "h002", 2022, "MaxStartups 10:30:100", *slow):
        done = which.json("-g", "many", "--", "hostname; echo x >> /srv/ran").all_ok()
        assert "beginning MaxStartups throttling" in log.read_text()
    assert len(done.results) == 40
    ran = root_of(fleet, "h002") / "srv/ran"
    assert ran.read_text() == "x\n" * 40
    ran.unlink()
    log.unlink()


# What is refused before any host is touched.


@pytest.mark.parametrize("content", [None, b"rubbish", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_a_key_that_cant_be_used(nile: Nile, content: bytes | None) -> None:
    key = nile.state / "key"
    if content is not None:
        key.write_bytes(content)
        key.chmod(0o600)
    done = nile.with_routes(ssh={"identity": str(key)}).exec("-a", "--", "hostname")
    assert (done.code, done.stdout) == (2, b"")
    assert str(key) in done.err
    assert "Traceback" not in done.err


def test_known_hosts_that_cant_be_read(nile: Nile) -> None:
    """A file that isn't there knows nobody; every host says so."""
    options = {"options": {"UserKnownHostsFile": "/nonexistent", "GlobalKnownHostsFile": "/dev/null"}}
    done = nile.with_routes(ssh=options).json("-w", "h[001-003]", "--", "hostname")
    assert {result["code"] for result in done.results.values()} == {"host-key-unknown"}
