"""One big lab of namespaces for nearly all tests of this directory, and a check that nothing is left on it.

The check after each test is the point: whatever a test does to a run, no
process and no file in memory may be left on any host, but a tombstone where a
host was lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from nile.lab import BackendName, Lab, LabSpec
from tests.cluster.hosts import boot_anew, busy, clear_memory, patiently, processes, tombstone
from tests.cluster.pool import Pool
from tests.cluster.running import Nile
from tests.cluster.terminal import Terminal

HOSTS = 36
SWITCHES = 3
RATE = "80mbit"
QUIET_S = 8.0
"""After a run, agents above all need a moment to notice that they are alone."""


@pytest.fixture(scope="session")
def fleet_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """36 hosts on three switches, for the whole session."""
    spec = LabSpec(hosts=HOSTS, backend=BackendName.NETNS, switches=SWITCHES)
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "fleet", tied=True) as lab:
        yield lab


@pytest.fixture(scope="session")
def sixty_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """60 hosts on three switches, for the whole session."""
    spec = LabSpec(hosts=60, backend=BackendName.NETNS, switches=SWITCHES)
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "sixty", tied=True) as lab:
        yield lab


@pytest.fixture(scope="session")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Twelve hosts on three switches, each port and uplink with a rate, for the whole session."""
    spec = LabSpec(hosts=12, backend=BackendName.NETNS, switches=SWITCHES, rate=RATE, uplink=RATE)
    with Lab.up(spec, tmp_path_factory.mktemp("labs") / "wires", tied=True) as lab:
        yield lab


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Several labs of sixty hosts, for the whole session."""
    with Pool.up(tmp_path_factory.mktemp("labs")) as made:
        yield made


@pytest.fixture
def sixty(sixty_session: Lab, tmp_path: Path) -> Iterator[Nile]:
    """The command line on the root machine of 60 hosts; all up again afterwards, and nothing left on them."""
    made = Nile(sixty_session, tmp_path)
    yield made
    check_nothing_is_left(made)


@pytest.fixture
def fleet(fleet_session: Lab, tmp_path: Path) -> Iterator[Lab]:
    """36 hosts on three switches; all up again after the test, and nothing of a run left on them."""
    yield fleet_session
    check_nothing_is_left(Nile(fleet_session, tmp_path))


def check_nothing_is_left(nile: Nile, struck: Collection[str] = ()) -> None:
    """Bring all hosts back. No process is left; and of files, only tombstones.

    These may be where a host was lost, or where it was `struck` and perhaps never heard that the run is over.
    """
    lab = nile.lab
    lab.heal()
    try:
        patiently(lambda: not busy(lab), "no process is left on any host", QUIET_S)
    except AssertionError:
        assert processes(lab) == []
    finally:  # what this test did must not fail the next one
        files = clear_memory(lab)
        boot_anew(lab, busy(lab))
    files = {
        re.sub(r":nile-\d+-", ":nile-0-", name): inside for name, inside in files.items()
    }  # whoever logged in
    left = {name: inside for name, inside in files.items() if name.partition(":")[0] not in struck}
    lost = {tombstone(host, run) for host, run in nile.lost()} if left else set()
    assert {name: inside for name, inside in left.items() if name not in lost} == {}
    assert {name for inside in files.values() for name in inside} <= {"wake"}


@pytest.fixture
def nile(fleet: Lab, tmp_path: Path) -> Nile:
    """The command line on the fleet's root machine."""
    return Nile(fleet, tmp_path)


@pytest.fixture
def brisk(nile: Nile) -> Nile:
    """The same with a lease of 3 seconds."""
    return nile.with_routes("brisk", timeouts={"lease": "3s"})


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A pseudo-terminal."""
    made = Terminal()
    yield made
    made.close()
