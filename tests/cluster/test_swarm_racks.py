"""A swarm in racks and at sites: what real peers send between them, counted by the ports of the switches."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nile.bootstrap.program import worker_program
from nile.lab import BackendName, Lab, LabSpec
from nile.lab.links import host_addresses
from nile.sync.racks import GATEWAYS
from tests.bench.wires import Counts
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.faults import crash
from tests.cluster.hosts import patiently
from tests.cluster.peers import python_with_libtorrent
from tests.cluster.running import Done, Nile
from tests.cluster.test_swarm_control import swarm as told
from tests.cluster.test_sync import copied

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 11)]
HALVES = {"left": "h[001-005]", "right": "h[006-010]"}
"""Those on each switch."""
RATE = "80mbit"
SIZE = 8_000_000
LIMIT = 200
"""KiB/s over an uplink: less than what hosts need to have it within seconds."""
BESIDE = 1.2
"""What else goes over an uplink: headers, and what Nile says."""
FEW = 100_000
"""Bytes: what hosts say to everybody, to find addresses, goes to both switches."""
EVERY_S = 0.05


@pytest.fixture(scope="module")
def peers() -> Iterator[Path]:
    """A Python with libtorrent, for hosts."""
    with python_with_libtorrent() as python:
        yield python


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Ten hosts on two switches, each port and uplink with a rate."""
    python = {f"h[001-{len(HOSTS):03}]": sys.executable}
    spec = LabSpec(
        hosts=len(HOSTS), backend=BackendName.NETNS, switches=2, rate=RATE, uplink=RATE, python=python
    )
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "racks", tied=True) as lab:
        yield lab


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    (top / "image").write_bytes(os.urandom(SIZE))
    return top


def swarm(nile: Nile, source: Path, peers: Path, served: int, *more: str) -> Done:
    """All get it, so many of them by a swarm, and nothing else is left on them."""
    words = ("--all", "--json", "--peer-python", str(peers), *more, f"{source}/", "/srv/copy")
    done = nile.command("swarm", "run", "--routes", str(nile.routes), *words).all_ok()
    copied(nile, source, "/srv/copy", HOSTS)
    check_nothing_is_left(nile)
    assert f"the swarm served {served} of {served} hosts" in " ".join(done.notices)
    return done


def test_an_uplink_carries_as_many_copies_as_there_are_gateways(
    wires: Lab, peers: Path, source: Path, tmp_path: Path
) -> None:
    before = Counts.of(wires).uplinks(wires)
    swarm(Nile(wires, tmp_path).with_routes(), source, peers, len(HOSTS))
    after = Counts.of(wires).uplinks(wires)
    into = {switch: after[switch][0] - before[switch][0] for switch in after}
    assert all(SIZE < count < GATEWAYS * SIZE * BESIDE for count in into.values()), into


# Sites.


class Connections:
    """Pairs of hosts that were seen connected over TCP."""

    def __init__(self, lab: Lab) -> None:
        self.pairs: set[frozenset[str]] = set()
        self._pids = [lab.pid(host) for host in HOSTS]
        self._names = {_as_table(address): host for host, address in host_addresses(lab.spec.names).items()}

        self._before = self._ends()

    def _ends(self) -> set[str]:
        """Both ends of each connection, as the hosts have it; what has ended is there for a while."""
        tables = [Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:] for pid in self._pids]
        return {" ".join(line.split()[1:3]) for lines in tables for line in lines}

    def look(self) -> None:
        for ends in self._ends() - self._before:
            pair = [self._names.get(end.partition(":")[0]) for end in ends.split(" ")]
            if None not in pair and pair[0] != pair[1]:
                self.pairs.add(frozenset(map(str, pair)))

    def across(self) -> list[frozenset[str]]:
        return [pair for pair in self.pairs if len({HOSTS.index(host) // 5 for host in pair}) > 1]


def _as_table(address: str) -> str:
    """An IPv4 address as /proc/net/tcp has it."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


@contextmanager
def looked_at(lab: Lab) -> Iterator[Connections]:
    """Look for connections, again and again."""
    found, over = Connections(lab), threading.Event()

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


def across(lab: Lab, before: Counts) -> int:
    """Bytes that went from one switch to the other: all that came into the two and wasn't from the root."""
    after = Counts.of(lab)
    now, then = (each.uplinks(lab) for each in (after, before))
    return sum(now[each][0] - then[each][0] for each in now) - (after.by_root() - before.by_root())


def routes(lab: Lab, state: Path, *, sites: bool, **more: Any) -> Nile:
    """Nobody logs in from host to host, and nobody says which switches there are."""
    said = {
        f"rack{number}": {"hosts": hosts, **({"site": name} if sites else {})}
        for number, (name, hosts) in enumerate(HALVES.items(), 1)
    }
    return Nile(lab, state).with_routes(groups=said, tree="flat", **more)


@pytest.mark.parametrize("sites", [True, False], ids=["sites", "no-sites"])
def test_no_host_is_connected_to_one_of_another_site_but_where_there_are_none(
    wires: Lab, peers: Path, source: Path, tmp_path: Path, *, sites: bool
) -> None:
    before = Counts.of(wires)
    with looked_at(wires) as seen:
        swarm(routes(wires, tmp_path, sites=sites), source, peers, len(HOSTS))
    moved = across(wires, before)
    assert seen.pairs, "nobody was connected to anybody"
    if sites:
        assert (seen.across(), moved < FEW) == ([], True), moved
    else:
        assert seen.across()
        assert moved > SIZE // 2


def test_hosts_of_sites_that_may_be_connected_are_but_not_all_of_them(
    wires: Lab, peers: Path, source: Path, tmp_path: Path
) -> None:
    with looked_at(wires) as seen:
        nile = routes(wires, tmp_path, sites=True, peering=[list(HALVES)])
        swarm(nile, source, peers, len(HOSTS))
    assert 1 <= len({host for pair in seen.across() for host in pair}) < len(HOSTS)


def test_seeders_that_have_it_serve_their_sites_and_the_root_hardly_anybody(
    wires: Lab, peers: Path, source: Path, tmp_path: Path
) -> None:
    nile = routes(wires, tmp_path, sites=True)
    seeders = "h001,h006"
    first = ("sync", "--routes", str(nile.routes), "--json", "-w", seeders, f"{source}/", "/srv/copy")
    nile.command(*first).all_ok()
    before = Counts.of(wires)
    words = ("--seeders", seeders, "--seed-limit", "50")  # it would take it minutes
    done = swarm(nile, source, peers, len(HOSTS) - 2, *words)
    programs = len(HOSTS) * len(worker_program(swarms=True))
    assert Counts.of(wires).by_root() - before.by_root() - programs < SIZE // 2
    assert across(wires, before) < FEW
    assert "of the seeders h[001,006] (2) had it already, and are to serve that" in done.notices


# Gateways.


def test_a_rack_whose_gateways_die_gets_all_of_it_by_others(
    wires: Lab, peers: Path, source: Path, tmp_path: Path
) -> None:
    nile = Nile(wires, tmp_path).with_routes(tree="flat", timeouts={"lease": "6s"})
    words = ("--all", "--json", "--bwlimit", "600", "--peer-python", str(peers))
    argv = nile.argv("swarm", "run", "--routes", str(nile.routes), *words, f"{source}/", "/srv/copy")
    with subprocess.Popen(argv, env=nile.environment(), stdout=subprocess.PIPE) as process:
        patiently(lambda: len(_leading(nile)) >= GATEWAYS, "some get it from elsewhere", 30.0)
        gateways = _leading(nile)
        for host in gateways:
            crash(wires, host)
        states = {host["host"]: host["state"] for host in told(nile)["hosts"]}
        out, _ = process.communicate(timeout=90)
    done = Done(process.returncode, out, b"")
    assert set(states.values()) <= {"getting", "left-out"}, "it was over too soon"
    others = [host for host in HOSTS if host not in gateways]
    assert len(others) >= len(HOSTS) // 2 + 1, "nobody is left in that rack"
    assert {host for host, verdict in done.verdicts.items() if verdict == "ok"} == set(others)
    copied(nile, source, "/srv/copy", others)
    check_nothing_is_left(nile)
    assert f"the swarm served {len(others)} of {len(HOSTS)} hosts" in " ".join(done.notices)


def _leading(nile: Nile) -> list[str]:
    """Hosts on the second switch that got some of it from without: its gateways."""
    hosts = {host["host"]: host for host in told(nile)["hosts"]}
    right = [host for name, host in hosts.items() if HOSTS.index(name) >= len(HOSTS) // 2]
    return [host["host"] for host in right if host["bytes_from_seed"] + host["bytes_from_others"]]


# Rates.


class Came:
    """What has come over each uplink since then."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._began_s, self._before = time.monotonic(), Counts.of(lab).uplinks(lab)

    def kib(self) -> dict[str, float]:
        """By switch."""
        now = Counts.of(self._lab).uplinks(self._lab)
        return {switch: (now[switch][0] - self._before[switch][0]) / 1024 for switch in now}

    def rates(self) -> dict[str, float]:
        """KiB a second at least: what a limit leaves unused for a second may come in the one after it."""
        kib, took_s = self.kib(), time.monotonic() - self._began_s
        return {switch: each / (took_s + 1.0) for switch, each in kib.items()}


def test_what_comes_over_an_uplink_is_limited_until_it_isnt_any_more(
    wires: Lab, peers: Path, source: Path, tmp_path: Path
) -> None:
    nile = Nile(wires, tmp_path).with_routes()
    words = ("--rack-limit", str(LIMIT), "--seed-limit", "4000", "--peer-python", str(peers))
    begun = nile.command(
        "swarm", "start", "--routes", str(nile.routes), "--all", *words, f"{source}/", "/srv/limited"
    )
    assert begun.code == 0, begun.err
    patiently(lambda: all(host["bytes"] for host in told(nile)["hosts"]), "all get it", 30.0)
    slow = Came(wires)
    patiently(lambda: min(slow.kib().values()) > 5 * LIMIT, "it comes to both", 60.0)
    rates = slow.rates()
    assert not told(nile)["serving_on"], "it was over too soon"
    changed = nile.command("swarm", "limit", "--rack", "none")
    fast = Came(wires)
    patiently(lambda: told(nile)["serving_on"], "they have all", 60.0)
    quick = fast.rates()
    assert nile.command("swarm", "stop").code == 0
    assert changed.out == f"{len(HOSTS) + 1} of {len(HOSTS) + 1} peers keep to it\n", changed.err
    copied(nile, source, "/srv/limited", HOSTS)
    check_nothing_is_left(nile)
    assert max(rates.values()) < LIMIT * BESIDE, rates
    assert max(quick.values()) > LIMIT * BESIDE, quick
