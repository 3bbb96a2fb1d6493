"""Five faults of any kind at any moment, eight times: what was spared is well, and nothing runs twice.

A seed that fails is named; `NILE_FAULT_SEEDS=7` (or `7,20-99`) replays it. `make soak` takes forty others.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.cluster.conftest import check_nothing_is_left
from tests.cluster.faults import (
    Deed,
    crash,
    cut,
    freeze,
    kill_agent,
    kill_both,
    kill_its_ssh,
    kill_warden,
    mend,
    thaw,
)
from tests.cluster.pool import Pool
from tests.cluster.running import Nile
from tests.cluster.striking import RELAYS, TREE, Fault, strike, three_stages

pytestmark = [pytest.mark.cluster, pytest.mark.alone]

RUNS = "0-7"
"""By these all of the deeds below are done."""
SOON_S, LATE_S = 5.0, 17.0
"""From the first half of a deed to its other half: within the lease, and after it."""
DEEDS: tuple[tuple[tuple[Deed, float], ...], ...] = (
    ((kill_agent, 0.0),),
    ((kill_warden, 0.0),),
    ((kill_both, 0.0),),
    ((kill_its_ssh, 0.0),),
    ((crash, 0.0),),
    ((cut, 0.0),),
    ((cut, 0.0), (mend, SOON_S)),
    ((cut, 0.0), (mend, LATE_S)),
    ((freeze, 0.0),),
    ((freeze, 0.0), (thaw, SOON_S)),
    ((freeze, 0.0), (thaw, LATE_S)),
)
LEAVES = ("h003", "h008", "h013", "h023", "h028", "h043", "h058")


def seeds() -> list[int]:
    """Those of `RUNS`, or what the environment says."""
    words = os.environ.get("NILE_FAULT_SEEDS", RUNS).split(",")
    ranges = [[int(number) for number in word.split("-")] for word in words]
    return [seed for one in ranges for seed in range(one[0], one[-1] + 1)]


def any_faults(seed: int, pace: float) -> list[Fault]:
    """Five faults of five hosts, relays mostly; the lease is `pace` times as long as usual."""
    chance = random.Random(seed)
    faults: list[Fault] = []
    for host in [*chance.sample(RELAYS, 4), chance.choice(LEAVES)]:
        at_s = chance.uniform(0.0, 5.0)
        deeds = [
            each for each in DEEDS if host not in TREE or each[0][0] != kill_its_ssh
        ]  # the root has none
        faults += [(at_s + after_s * pace, deed, host) for deed, after_s in chance.choice(deeds)]
    return sorted(faults, key=lambda fault: fault[0])


@pytest.mark.timeout(600)
def test_any_five_faults(pool: Pool) -> None:
    def one(nile: Nile, seed: int) -> None:
        faults = any_faults(seed, pool.pace)
        told = ", ".join(f"{at_s:.1f} {deed.__name__} {host}" for at_s, deed, host in faults)
        run = strike(three_stages(nile, pace=pool.pace), faults, turn=pool.turn, pace=pool.pace)
        print(f"{seed}: {told}\n    {run}", flush=True)
        run.check()
        check_nothing_is_left(nile, struck=run.hit_s)

    print(f"times are {pool.pace:.1f} times as long as usual")
    pool.each(one, seeds())
