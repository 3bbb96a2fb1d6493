"""Runs made of chance, with faults: every invariant holds, whatever the seed.

These are more than it takes to find each of the bugs that `test_planted` plants; `make soak` tries others,
and thousands of them. A failure names its seed, number of hosts and number of faults, and replays exactly:

    python -m tests.simulation.soak --first SEED --seeds 1 --hosts HOSTS --faults FAULTS
"""

from __future__ import annotations

import pytest

from tests.simulation.scenario import any_run
from tests.simulation.soak import failures

FEW_HOSTS, MANY_FAULTS = 16, 10


def broken(first: int, count: int, hosts: int, faults: int) -> list[str]:
    """Seeds that break a rule, how to run them again, and what they break."""
    found = failures(range(first, first + count), hosts, faults)
    return [f"any_run({seed}, {hosts}, {faults}): {rules}" for seed, rules in found]


# The longest first: whoever runs tests side by side then has short ones left to fill the end with.
@pytest.mark.timeout(400)
def test_five_thousand_hosts() -> None:
    assert broken(1, 1, 5000, 60) == []


@pytest.mark.parametrize("first", range(0, 100, 5))
def test_two_hundred_hosts(first: int) -> None:
    assert broken(first, 5, 200, 14) == []


@pytest.mark.parametrize("first", range(0, 600, 60))
def test_a_few_hosts_and_many_faults(first: int) -> None:
    assert broken(first, 60, FEW_HOSTS, MANY_FAULTS) == []


def test_a_seed_replays_exactly() -> None:
    runs = [any_run(7, 40, 5) for _ in range(2)]
    for run in runs:
        run.run()
    assert runs[0].root.events == runs[1].root.events
