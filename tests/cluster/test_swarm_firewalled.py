"""A swarm behind firewalls: peers keep to open ports, and who can't be reached gets it all the same."""

from __future__ import annotations

import os
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nile.lab import Lab
from nile.lab.links import NETWORK
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.hosts import patiently
from tests.cluster.running import Json, Nile
from tests.cluster.terminal import Terminal, command_on_terminal
from tests.cluster.test_swarm_control import status
from tests.cluster.test_swarm_control import swarm as told
from tests.cluster.test_swarm_losses import root_port
from tests.cluster.test_swarm_racks import HOSTS, peers, wires
from tests.cluster.test_sync import copied
from tests.lab.helpers import eventually

pytestmark = pytest.mark.cluster
__all__ = ["peers", "wires"]  # fixtures

SIZE = 6_000_000
FIRST, LAST = 41000, 41007
"""Ports for peers; all that are open beside that of sshd."""
SHUT, FROZEN = "h004", "h009"
"""Where those aren't open, either; and one that stands still for a while."""
TABLE, NOWHERE, NOBODY = "77", f"{NETWORK}.255.254", "02:00:00:00:00:fe"
"""Of routes; and an address, and a card's, that nobody has."""
EVERY_S = 0.03


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    (top / "image").write_bytes(os.urandom(SIZE))
    return top


class _Machine:
    """The root or a host: `argv` runs a command there, and `port` is what it is plugged in by."""

    def __init__(self, name: str, argv: list[str], port: str = "eth0") -> None:
        self.name = name
        self._ip = [*argv, "ip"]
        self._port = port

    def shut(self, *, peers: bool) -> None:
        """Whatever leaves it but to and from sshd's port, and those of `peers`, goes where nobody is.

        A route that refuses it would be passed over: peers bind their sockets to the device.
        """
        device = ("dev", self._port)
        self._run("neigh", "replace", NOWHERE, "lladdr", NOBODY, "nud", "permanent", *device)
        self._run("route", "replace", "default", "via", NOWHERE, *device, "onlink", "table", TABLE)
        for ports in ("22", f"{FIRST}-{LAST}") if peers else ("22",):
            for end in ("sport", "dport"):
                self._rule("10", end, ports, "lookup", "main")
        self._rule("20", "dport", "1-65534", "lookup", TABLE)

    def open(self) -> None:
        """As it was."""
        for order in ("10", "20"):
            while self._run("rule", "del", "pref", order, check=False) == 0:
                pass
        self._run("route", "flush", "table", TABLE, check=False)
        self._run("neigh", "del", NOWHERE, "dev", self._port, check=False)

    def _rule(self, order: str, *words: str) -> None:
        self._run("rule", "add", "pref", order, "ipproto", "tcp", *words)

    def _run(self, *words: str, check: bool = True) -> int:
        return subprocess.run([*self._ip, *words], check=check, capture_output=True).returncode


@contextmanager
def firewalls(lab: Lab) -> Iterator[None]:
    """At the root and at every host, for as long as this goes on."""
    machines = [_Machine(host, lab.host_argv(host, [])) for host in HOSTS]
    machines.append(_Machine("", lab.root_argv([]), root_port(lab)))
    try:
        for machine in machines:
            machine.shut(peers=machine.name != SHUT)
        yield
    finally:
        for machine in machines:
            machine.open()


class Listening:
    """Who listens on ports for peers, and whether any host does once the root has ended."""

    def __init__(self, lab: Lab, root: int) -> None:
        self._root, self._hosts = root, {host: lab.pid(host) for host in HOSTS}
        self.seen: dict[str, set[int]] = {}
        self.root_seen: set[int] = set()
        self.after_root: set[str] = set()
        self._gone = False

    def look(self) -> None:
        root = listeners(self._root)
        now = {host: listeners(pid) for host, pid in self._hosts.items()}
        for host, ports in now.items():
            self.seen.setdefault(host, set()).update(ports)
        on = {host for host, ports in now.items() if ports}
        self._gone |= bool(self.root_seen and not root)
        self.root_seen |= root
        if self._gone:
            self.after_root |= on


def listeners(pid: int) -> set[int]:
    """Ports but sshd's where somebody listens in the network of a process (/proc/net/tcp, state 0A)."""
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    ports = {int(line[1].partition(":")[2], 16) for line in lines if line[3] == "0A"}
    return {port for port in ports if port > 1024}


@contextmanager
def listening(lab: Lab) -> Iterator[Listening]:
    """Look who listens, again and again."""
    there = subprocess.Popen(lab.root_argv(["sleep", "300"]))
    found, over = Listening(lab, there.pid), threading.Event()

    def run() -> None:
        while not over.wait(EVERY_S):
            found.look()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        there.kill()
        there.wait()


def host_of(nile: Nile, name: str) -> Json:
    return next((host for host in told(nile)["hosts"] if host["host"] == name), {})


def test_peers_keep_to_open_ports_and_who_has_none_is_served_over_the_tree(
    wires: Lab, peers: Path, source: Path, tmp_path: Path
) -> None:
    """Why hosts stand still is said, also to who looks on at a terminal; and the seed is the last to go."""
    nile = Nile(wires, tmp_path).with_routes(timeouts={"lease": "60s"})
    words = ("--all", "--bwlimit", "300", "--peer-ports", f"{FIRST}-{LAST}", "--peer-python", str(peers))
    terminal = Terminal()
    termios.tcsetwinsize(terminal.fd, (50, 160))  # nothing is wrapped
    with firewalls(wires), listening(wires) as seen:
        begun = nile.command(
            "swarm", "start", "--routes", str(nile.routes), *words, f"{source}/", "/srv/copy"
        )
        assert begun.code == 0, begun.err
        watch = command_on_terminal(nile, terminal, "swarm", "status", "--watch")
        patiently(lambda: any(host["bytes"] for host in told(nile)["hosts"]), "one gets something", 30.0)
        early = {host: set(ports) for host, ports in seen.seen.items()}  # of peers alone
        patiently(lambda: host_of(nile, FROZEN).get("bytes"), "it gets something", 30.0)
        nile.lab.freeze(FROZEN)
        eventually(lambda: b"connected to nobody" in terminal.shown, "nobody reaches one", 30.0)
        eventually(lambda: b"nothing is heard of its peer" in terminal.shown, "one says nothing", 30.0)
        nile.lab.thaw(FROZEN)
        patiently(lambda: host_of(nile, SHUT).get("state") == "left-out", "it is served otherwise", 30.0)
        left = host_of(nile, SHUT)
        nile.command("swarm", "limit", "--host", "none")
        patiently(lambda: told(nile)["serving_on"], "all others have all", 60.0)
        patiently(lambda: status(nile)["phases"]["done"] >= 1, "it has all, too", 30.0)
        stopped = nile.command("swarm", "stop")
        assert watch.process.wait(20) == 0
    terminal.close()
    assert (stopped.code, "10 of 10 hosts ok" in stopped.out) == (0, True), stopped.err + stopped.out
    copied(nile, source, "/srv/copy", HOSTS)
    check_nothing_is_left(nile)
    assert left["reason"] == "it got nothing for 10 s: connected to nobody"
    assert (left["bytes_from_seed"], left["bytes_from_rack"], left["bytes_from_others"]) == (0, 0, 0)
    assert b"\x1b[" in terminal.shown
    assert b"10 of 10 hosts ok" in terminal.shown
    assert any(early.values())
    assert all(ports <= set(range(FIRST, LAST + 1)) for ports in early.values()), early
    assert all(seen.seen[host] & set(range(FIRST, LAST + 1)) for host in HOSTS), seen.seen
    assert seen.root_seen
    assert seen.root_seen <= set(range(FIRST, LAST + 1))
    assert seen.after_root == set()
