"""Cores that all hosts share: nothing gets more than one, and all get as much as the others."""

from __future__ import annotations

import pytest

from nile.simulation.clock import Clock
from nile.simulation.cores import Cores


def finishes(count: int, work: list[tuple[float, float]]) -> list[float]:
    """When each of some pieces (begin, core seconds) is done."""
    clock = Clock()
    cores = Cores(clock, count)
    done: dict[int, float] = {}
    for index, (at, work_s) in enumerate(work):
        clock.after(at, cores.run, work_s, lambda index=index: done.setdefault(index, clock.now))
    clock.pass_until(1000.0)
    return [done[index] for index in range(len(work))]


@pytest.mark.parametrize(
    ("count", "work", "expected"),
    [
        (1, [(0.0, 2.0)], [2.0]),
        (2, [(0.0, 2.0)], [2.0]),
        (2, [(0.0, 2.0), (0.0, 3.0)], [2.0, 3.0]),
        (1, [(0.0, 1.0), (0.0, 1.0)], [2.0, 2.0]),
        (1, [(0.0, 1.0), (0.0, 3.0)], [2.0, 4.0]),
        (2, [(0.0, 1.0)] * 4, [2.0] * 4),
        (1, [(0.0, 2.0), (1.0, 2.0)], [3.0, 4.0]),  # alone, then half each, then alone again
        (1, [(0.0, 1.0), (5.0, 1.0)], [1.0, 6.0]),
    ],
)
def test_all_get_an_even_share(count: int, work: list[tuple[float, float]], expected: list[float]) -> None:
    assert finishes(count, work) == pytest.approx(expected)


def test_no_core_second_is_lost_or_made() -> None:
    work = [(0.01 * index, 0.05 + 0.003 * index) for index in range(200)]
    total_s = sum(work_s for _, work_s in work)
    assert max(finishes(2, work)) == pytest.approx(total_s / 2, rel=0.02)
