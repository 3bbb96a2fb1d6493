"""`nile swarm limit`: what is refused, what a root is told, and when it is said that all keep to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from nile.cli import commands, recorded, swarm_limit
from nile.control import Control
from nile.errors import NotOverError, UsageError
from nile.events import Event, RunStarted, SwarmLimits, SwarmProgress
from nile.options import MOST_RATE, RateLimits
from tests.cli.test_swarm_status import HOSTS, Recording, nile, recording

__all__ = ["recording"]  # a fixture
RUN = "ab12"
KIB = 1024
BEFORE = SwarmLimits(KIB, 2 * KIB, 0, racks=2, peers=4, keeping=4)
PROGRESS = SwarmProgress((), True, 0, 0, 0, 0, limits=BEFORE)
Keeps = Callable[[RateLimits], list[SwarmLimits]]
"""What a root tells of its swarm after it was told to limit that."""


@contextmanager
def root(keeps: Keeps = lambda _: [], progress: Event | None = PROGRESS) -> Iterator[list[RateLimits]]:
    """One that answers: what it was told."""
    told: list[RateLimits] = []
    control = Control(recorded.control_directory(), RUN)
    control.observe([RunStarted(RUN, "nile swarm start", None, HOSTS, (), at=1000.0)])
    control.observe([progress] if progress else [])

    def limit(limits: RateLimits) -> None:
        told.append(limits)
        control.observe([replace(PROGRESS, limits=each) for each in keeps(limits)])

    with control.serving(lambda _: None, limit=limit):
        yield told


@pytest.fixture(autouse=True)
def run(recording: Recording) -> None:
    recording(RUN)


def refused(*words: str) -> Any:
    return nile("limit", *words).exception


def test_all_keep_to_it() -> None:
    with root(lambda _: [replace(BEFORE, seed=0, rack=5 * KIB)]) as told:
        done = nile("limit", "--seed", "none", "--rack", "5")
    assert (done.exit_code, done.output) == (0, "4 of 4 peers keep to it\n")
    assert told == [RateLimits(0, None, 5)]


def test_it_isnt_taken_for_done_before_all_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm_limit, "WITHIN_S", 0.5)
    with root(lambda _: [replace(BEFORE, host=7 * KIB, keeping=3)]):
        error = refused(RUN, "--host", "7")
    assert isinstance(error, NotOverError)
    assert error.exit_code == 1
    assert "3 of 4 peers keep to it" in str(error)


def test_what_was_said_before_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm_limit, "WITHIN_S", 0.5)
    with root():
        assert "nobody has said that it does" in str(refused(RUN, "--host", "7"))


@pytest.mark.parametrize(
    ("progress", "words", "why"),
    [
        (None, ["--seed", "5"], "its swarm hasn't begun"),
        (replace(PROGRESS, seeding=False, limits=SwarmLimits()), ["--seed", "5"], "and so has its seed"),
        (replace(PROGRESS, limits=replace(BEFORE, racks=0)), ["--rack", "5"], "which racks there are"),
    ],
)
def test_where_nobody_could_keep_to_it_that_is_said(
    progress: Event | None, words: list[str], why: str
) -> None:
    with root(progress=progress) as told:
        error = refused(RUN, *words)
    assert isinstance(error, UsageError)
    assert why in str(error)
    assert told == []


def test_hosts_whose_seed_is_lost_keep_to_it_too() -> None:
    after = replace(BEFORE, host=7 * KIB)
    with root(lambda _: [after], replace(PROGRESS, seeding=False)) as told:
        assert nile("limit", RUN, "--host", "7").exit_code == 0
    assert told == [RateLimits(None, 7, None)]


def test_no_rate_is_no_command() -> None:
    with root() as told:
        assert "no rate is given" in str(refused())
    assert told == []


@pytest.mark.parametrize("rate", ["0", "-1", "1.5", "fast", str(MOST_RATE + 1), ""])
def test_what_is_no_rate(rate: str) -> None:
    done = CliRunner().invoke(commands, ["swarm", "limit", RUN, "--seed", rate])
    assert (done.exit_code, "is no number from 1 to" in done.output) == (2, True)
