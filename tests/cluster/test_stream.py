"""Streams over shaped wires: whoever is lost, frozen, cut off, slow or full costs nobody else anything."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from nile.lab.links import shape, tc
from nile.lab.netns import port_of
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.faults import crash, cut, freeze
from tests.cluster.hosts import patiently
from tests.cluster.running import Nile
from tests.cluster.test_sync import Started, copied, on

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 13)]
TREE = {"h001": "h[002-004]", "h005": "h[006-008]", "h009": "h[010-012]"}
SIZE = 30_000_000
"""Bytes: three seconds at the rate of these wires."""
DEEDS = {"crash": crash, "freeze": freeze, "cut": cut}
# Each way to be lost, early, in the middle and late, at the first, an inner and the last place of a switch.
LOSSES = [
    (("crash", "h002", 0.1), ("freeze", "h006", 0.5), ("cut", "h011", 0.9)),
    (("freeze", "h010", 0.1), ("cut", "h004", 0.5), ("crash", "h005", 0.9)),
    (("cut", "h007", 0.1), ("crash", "h009", 0.5), ("freeze", "h002", 0.9)),
]
CRAWL = 1 / 50
"""What is left of a slow host's rate."""
WHEN = {"h002": 0.1, "h006": 0.5, "h011": 0.9}


@pytest.fixture
def nile(wires: Lab, tmp_path: Path) -> Iterator[Nile]:
    """On all of them, in two stages; all up again afterwards, and nothing left on them."""
    made = Nile(wires, tmp_path).with_routes(tree=TREE, timeouts={"lease": "4s", "connect": "2s"})
    yield made
    check_nothing_is_left(made)
    for host in HOSTS:
        subprocess.run(["find", on(made, host, "/srv"), "-mindepth", "1", "-delete"], check=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Some large files among small ones."""
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    for number in range(5):
        (top / f"big{number}").write_bytes(os.urandom(SIZE // 5))
        (top / f"deep/f{number}").write_text("x" * number)
    return top


def arrived(nile: Nile, host: str) -> int:
    """Bytes of what is being copied to a host, whether it has its name yet or not."""
    place = on(nile, host, "/srv/copy")
    found = (path for path in place.rglob("big*") if path.is_file())
    unfinished = place.glob(".nile-sync-*/.nile-sync-*/.big*")
    return sum(map(_size, {*found, *unfinished}))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it got its name just now
        return 0


def crawl(lab: Lab, host: str) -> None:
    """Give its port, both ways, so little that it is slow beside any chain that a busy machine plays."""
    lab.slow(host)  # so it is brought back with all others
    assert lab.spec.rate
    for port, pid in ((port_of(host), lab.supervisor), ("eth0", lab.pid(host))):
        tc([shape(port, lab.spec.rate, CRAWL, "replace")], inside=pid)


def reaches(nile: Nile, host: str, part: float) -> None:
    """Wait until so much of the copy has come to a host."""
    patiently(lambda: arrived(nile, host) >= part * SIZE, f"{host} has {part:.0%}", 30.0)


@pytest.mark.parametrize("losses", LOSSES)
def test_whoever_is_lost_whenever_costs_nobody_else(
    nile: Nile, source: Path, losses: tuple[tuple[str, str, float], ...]
) -> None:
    with Started(nile, "--all", "--method", "stream", f"{source}/", "/srv/copy") as started:
        for deed, host, part in losses:
            reaches(nile, host, part)
            DEEDS[deed](nile.lab, host)
        done = started.wait()
    lost = {host for _, host, _ in losses}
    assert {host for host, verdict in done.verdicts.items() if verdict != "ok"} <= lost, done.err
    well = [host for host in HOSTS if done.verdicts[host] == "ok"]
    copied(nile, source, "/srv/copy", well)
    nile.lab.heal()


def test_hosts_that_become_slow_early_or_late_are_left_out_and_caught_up(nile: Nile, source: Path) -> None:
    # Where logins time out on a busy machine the tree becomes another one, and so does the chain.
    nile = nile.with_routes("flat", tree="flat", timeouts={"connect": "20s"})
    slow = {"h009": 0.01, **WHEN}
    with Started(nile, "--all", "--method", "stream", f"{source}/", "/srv/copy") as started:
        for host, part in slow.items():
            reaches(nile, host, part)
            crawl(nile.lab, host)
        for host in HOSTS:
            if host not in slow:
                reaches(nile, host, 1.0)  # the slow ones would need more than a minute for that
        behind = {host for host in slow if arrived(nile, host) < SIZE}
        nile.lab.heal()
        done = started.wait().all_ok()
    assert {"h009", "h002", "h006"} <= behind  # the last one may be through before anybody is held up
    assert [text for text in done.notices if "left out of the stream" in text and "(it is slow), and" in text]
    copied(nile, source, "/srv/copy", HOSTS)


def test_disks_that_fill_up_early_or_late_are_their_own_alone(nile: Nile, source: Path) -> None:
    spare = 1_000_000
    for host in WHEN:
        on(nile, host, "/srv/copy").mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE + spare}", "full", "/srv/copy"]
        nile.lab.run_on(host, mount)
    try:
        with Started(nile, "--all", "--method", "stream", f"{source}/", "/srv/copy") as started:
            for host, part in WHEN.items():
                reaches(nile, host, part)
                rest = int(SIZE * (1 - part) / 2) + spare
                with contextlib.suppress(OSError):  # it may be full by now
                    (on(nile, host, "/srv/copy") / "another's").write_bytes(bytes(rest))
            done = started.wait()
    finally:
        for host in WHEN:
            nile.lab.run_on(host, ["umount", "/srv/copy"])
    bad = {host: result["code"] for host, result in done.results.items() if result["verdict"] != "ok"}
    assert bad == dict.fromkeys(WHEN, "disk-full"), [done.results[host]["reason"] for host in WHEN]
    copied(nile, source, "/srv/copy", [host for host in HOSTS if host not in WHEN])
