"""Channels over real ssh, between nodes that have no other way to each other's loopback."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nile.lab import Lab
from tests.cluster.hosts import root_of
from tests.cluster.running import LONGEST_S, Nile

pytestmark = pytest.mark.cluster

SIZE = 24 << 20


def test_a_relay_and_the_root_reach_a_port_of_a_leaf(nile: Nile, fleet: Lab) -> None:
    """Over the links that are there: no login more than the run's own."""
    drawn = nile.with_routes("reach", tree={"h001": "h002"})
    home = root_of(fleet, "h001") / "root"
    words = [sys.executable, "-m", "tests.cluster.reaching", str(drawn.routes), str(home), str(SIZE)]
    try:
        done = subprocess.run(
            fleet.root_argv(words),
            env=drawn.environment(),
            capture_output=True,
            timeout=LONGEST_S,
            check=False,
        )
    finally:
        (home / "port").unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told.pop("h001").split()[0] == "True"
    assert told == {
        "reached": ["number", "port"],
        "root": True,
        "verdict h001": "ok",
        "verdict h002": "ok",
    }
