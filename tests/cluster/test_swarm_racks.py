"""A swarm in racks: what its real peers send over the uplinks, counted by the ports of the switches."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nile.lab import BackendName, Lab, LabSpec
from nile.sync.racks import GATEWAYS
from tests.bench.wires import Counts
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.peers import python_with_libtorrent
from tests.cluster.running import Nile
from tests.cluster.test_sync import copied

pytestmark = pytest.mark.cluster

HOSTS = [f"h{number:03}" for number in range(1, 11)]
RATE = "80mbit"
SIZE = 8_000_000
BESIDE = 1.2
"""What else goes over an uplink: headers, and what Nile says."""


def test_an_uplink_carries_as_many_copies_as_there_are_gateways(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "image").write_bytes(os.urandom(SIZE))
    python = {f"h[001-{len(HOSTS):03}]": sys.executable}
    spec = LabSpec(
        hosts=len(HOSTS), backend=BackendName.NETNS, switches=2, rate=RATE, uplink=RATE, python=python
    )
    with python_with_libtorrent() as peers, Lab.up(spec, tmp_path / "lab", tied=True) as lab:
        nile = Nile(lab, tmp_path).with_routes()
        before = Counts.of(lab).uplinks(lab)
        words = ("--all", "--json", "--peer-python", str(peers), f"{source}/", "/srv/copy")
        done = nile.command("swarm", "run", "--routes", str(nile.routes), *words).all_ok()
        after = Counts.of(lab).uplinks(lab)
        copied(nile, source, "/srv/copy", HOSTS)
        check_nothing_is_left(nile)
    assert f"the swarm served {len(HOSTS)} of {len(HOSTS)} hosts" in " ".join(done.notices)
    into = {switch: after[switch][0] - before[switch][0] for switch in after}
    assert all(SIZE < count < GATEWAYS * SIZE * BESIDE for count in into.values()), into
