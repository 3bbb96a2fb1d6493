"""Runs made of chance, with faults: every invariant holds, whatever the seed. A failure names its seed."""

from __future__ import annotations

import pytest

from tests.simulation.checks import violations
from tests.simulation.scenario import any_run

BATCH = 10


def failures(seeds: range, hosts: int, faults: int) -> dict[int, list[str]]:
    """Seeds that break a rule, and which: replay one by `any_run(seed, hosts, faults).run()`."""
    found = {}
    for seed in seeds:
        cluster = any_run(seed, hosts, faults)
        cluster.run()
        if broken := violations(cluster):
            found[seed] = broken[:5]
    return found


@pytest.mark.parametrize("first", range(0, 120, BATCH))
def test_sixty_hosts(first: int) -> None:
    assert failures(range(first, first + BATCH), 60, 6) == {}


@pytest.mark.parametrize("first", range(1000, 1100, 50))
def test_a_few_hosts_and_many_faults(first: int) -> None:
    assert failures(range(first, first + 50), 12, 8) == {}


@pytest.mark.parametrize("seed", [1, 2])
def test_two_thousand_hosts(seed: int) -> None:
    assert failures(range(seed, seed + 1), 2000, 40) == {}


def test_a_seed_replays_exactly() -> None:
    runs = [any_run(7, 40, 5) for _ in range(2)]
    for run in runs:
        run.run()
    assert runs[0].root.events == runs[1].root.events
