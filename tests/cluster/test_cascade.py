"""Copies from host to host by rsync: whoever is lost, slow or full at any time costs nobody else its copy.

Each of the five is met at a tenth, half and nine tenths of what comes to a host, at gateways and below them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nile.lab import Lab
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.faults import crash, cut, freeze
from tests.cluster.hosts import patiently
from tests.cluster.running import Nile
from tests.cluster.test_stream import HOSTS, TREE, arrived, crawl
from tests.cluster.test_sync import Started, copied, on

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SIZE = 8_000_000
LIMIT = ("--bwlimit", "2500")
"""Three seconds a stage: at nine tenths there is time for something to happen yet."""
SPARE = 1_000_000
BEHIND = {"h010", "h011", "h012"}
"""Those below a gateway that is slow in one of them: they wait for it."""
Strikes = dict[str, tuple[str, float]]
STRIKES: list[Strikes] = [
    {
        "h001": ("freeze", 0.1),
        "h002": ("crash", 0.1),
        "h003": ("cut", 0.5),
        "h005": ("crash", 0.9),
        "h006": ("full", 0.1),
        "h007": ("freeze", 0.9),
        "h008": ("full", 0.9),
        "h009": ("slow", 0.5),
    },
    {
        "h001": ("crash", 0.5),
        "h003": ("full", 0.5),
        "h005": ("cut", 0.1),
        "h006": ("cut", 0.9),
        "h010": ("slow", 0.1),
        "h011": ("freeze", 0.5),
        "h012": ("slow", 0.9),
    },
]


def fill(lab: Lab, host: str, rest: int) -> None:
    """Leave half of that on its disk, which has room for all of it and a little more."""
    with contextlib.suppress(OSError):  # it may be full by now
        (lab.home(host).parent / "srv/copy/another's").write_bytes(bytes(rest // 2 + SPARE))


def of(strikes: Strikes, *deeds: str) -> set[str]:
    return {host for host, (deed, _) in strikes.items() if deed in deeds}


@pytest.fixture
def nile(wires: Lab, tmp_path: Path) -> Iterator[Nile]:
    """On all of them, in two stages; all up again afterwards, and nothing left on them."""
    made = Nile(wires, tmp_path).with_routes(tree=TREE, timeouts={"lease": "20s", "connect": "10s"})
    yield made
    check_nothing_is_left(made)
    for host in HOSTS:
        subprocess.run(["find", on(made, host, "/srv"), "-mindepth", "1", "-delete"], check=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two large files among small ones."""
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    for number in range(2):
        (top / f"big{number}").write_bytes(os.urandom(SIZE // 2))
        (top / f"deep/f{number}").write_text("x" * number)
    return top


@contextlib.contextmanager
def small_disks(lab: Lab, hosts: set[str]) -> Iterator[None]:
    """Where the copy goes there is room for it, and for little else."""
    for host in hosts:
        (lab.home(host).parent / "srv/copy").mkdir()
        lab.run_on(host, ["mount", "-t", "tmpfs", "-o", f"size={SIZE + SPARE}", "full", "/srv/copy"])
    try:
        yield
    finally:
        for host in hosts:
            lab.run_on(host, ["umount", "/srv/copy"])


def strike(nile: Nile, strikes: Strikes, started: Started, within_s: float = 100.0) -> None:
    """Do to each host what is to befall it, as soon as so much has come to it."""
    deeds: dict[str, Callable[[Lab, str], None]] = {
        "crash": crash,
        "cut": cut,
        "freeze": freeze,
        "slow": crawl,
    }
    left, end = dict(strikes), time.monotonic() + within_s
    while left:
        assert started.process.poll() is None, f"it ended before {left}"
        assert time.monotonic() < end, f"still to come: {left}"
        for host, (deed, part) in list(left.items()):
            if arrived(nile, host) >= part * SIZE:
                del left[host]
                if deed == "full":
                    fill(nile.lab, host, int(SIZE * (1 - part)))
                else:
                    deeds[deed](nile.lab, host)
        time.sleep(0.03)  # of which less than a hundredth of it comes


@pytest.mark.parametrize("method", ["rsync", "rsync-tcp"])
@pytest.mark.parametrize("strikes", STRIKES)
def test_whatever_befalls_whomever_costs_nobody_else(
    nile: Nile, source: Path, method: str, strikes: Strikes
) -> None:
    lost, full, slow = of(strikes, "crash", "cut", "freeze"), of(strikes, "full"), of(strikes, "slow")
    through = set(HOSTS) - lost - full - slow - BEHIND
    words = ("--all", "--method", method, *LIMIT, f"{source}/", "/srv/copy")
    with small_disks(nile.lab, full), Started(nile, *words) as started:
        strike(nile, strikes, started)
        patiently(lambda: all(arrived(nile, host) >= SIZE for host in through), "all others have it", 60.0)
        for host in slow:
            nile.lab.mend(host)
        done = started.wait()
    bad = {host: result["code"] for host, result in done.results.items() if result["verdict"] != "ok"}
    assert bad.keys() <= lost | full, bad
    assert {host: bad.get(host) for host in full} == dict.fromkeys(full, "disk-full")
    assert {host for host in lost if strikes[host][1] < 0.9} <= bad.keys()
    copied(nile, source, "/srv/copy", [host for host in HOSTS if host not in bad])
    for host in lost:
        nile.lab.crash(host)  # else what was cut off there would wait for its lease to end
    nile.lab.heal()
