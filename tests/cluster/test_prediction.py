"""`nile simulate` predicts what `nile exec` takes on a lab, out of what a single login takes there.

All hosts of a lab share the cores of this machine, whatever else these do. So the
prediction gets two figures, both measured on the very lab just before: what one
login takes when it is alone, and what each of many at one time takes of a core. The
latter is measured on a flat run; what is predicted and compared is the whole tree.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nile.lab import BackendName, Lab, LabSpec
from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.running import Nile

pytestmark = [pytest.mark.cluster, pytest.mark.alone]

HOSTS = 60
TOGETHER = 30
"""Logins at one time from which the share of a core is computed."""
DELAY_S = 1.0
NEAR = 0.25
ATTEMPTS = 4
"""What else this machine does may change between the calibration and the run: then both are made anew."""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Nile]:
    """60 hosts on three switches, each of which takes a second to log in to."""
    spec = LabSpec(hosts=HOSTS, backend=BackendName.NETNS, switches=3, delay_login_s=DELAY_S)
    with Lab.up(spec, tmp_path / "slow", tied=True) as lab:
        made = Nile(lab, tmp_path)
        yield made
        check_nothing_is_left(made)


@dataclass(frozen=True)
class Calibration:
    """What a login takes here: alone, and of a core."""

    login_s: float
    cpu_s: float


def wall_s(nile: Nile, *words: str) -> float:
    """How long `nile exec` takes by its own account, every host ok."""
    return float(nile.json(*words, "--", "true").all_ok().events[-1]["wall_s"])


def login_s(nile: Nile, host: str) -> float:
    result = nile.json("-w", host, "--", "true").all_ok().results[host]
    return float(result["t_ready_s"] - result["t_connect_s"])


def calibrated(nile: Nile) -> Calibration:
    """Many logins begin at one time, wait as long as a single one does, and share the cores for the rest.

    They are done by ssh, as those of relays are: one process would get another share of a busy machine.
    """
    nile = nile.with_routes("ssh", ssh={"client": "openssh"})
    flat = ("-w", f"h[001-{TOGETHER:03}]", "--tree", "flat", "--branches", "60", "--parallel", "60")
    together_s = statistics.median(wall_s(nile, *flat) for _ in range(3))
    one_s = statistics.median(login_s(nile, "h001") for _ in range(5))
    cores = min(cores_here(), TOGETHER - 1)
    cpu_s = max(0.001, (together_s - one_s) * cores / (TOGETHER - cores))
    return Calibration(one_s, min(cpu_s, one_s))


def cores_here() -> int:
    return len(os.sched_getaffinity(0))


def predicted_s(nile: Nile, here: Calibration) -> float:
    """What `nile simulate` says; the hosts of a lab are all alike."""
    login = ("--t-ssh", f"{here.login_s:.3f}", "--spread", "0%", "--t-command", "0.005")
    cores = ("--cores", str(cores_here()), "--cpu", f"{here.cpu_s:.4f}")
    done = nile.command("simulate", str(nile.routes), *login, *cores, "--json")
    assert done.code == 0, done.err
    return float(json.loads(done.out)["runs"][0]["undisturbed"]["wall_s"])


@pytest.mark.timeout(300)
def test_the_prediction_for_a_lab_is_near_what_it_takes(slow: Nile) -> None:
    wall_s(slow, "-a")  # files are in memory from now on
    found = []
    for _ in range(ATTEMPTS):
        here = calibrated(slow)
        predicted = predicted_s(slow, here)
        measured = statistics.median(wall_s(slow, "-a") for _ in range(3))
        found.append((here, predicted, measured))
        print(f"predicted {predicted:.2f} s, measured {measured:.2f} s, {here}")
        if abs(predicted - measured) <= NEAR * measured:
            return
    raise AssertionError(found)
