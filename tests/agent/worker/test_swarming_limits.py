"""Rates that real peers keep to, and that change while they run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import nearby
from nile.agent.worker.loop import Loop
from tests.agent.worker.test_swarming import SEED, Swarm, loop, nobody_is_known, swarm

__all__ = ["loop", "nobody_is_known", "swarm"]  # fixtures
KIB = 1024
SIZE = 6_000_000
SLOW = 200 * KIB
NEAR, FAR = "::1", "127.0.0.1"
"""All hosts have both addresses: it is by that to which one connects that another one is near."""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """One large file."""
    top = tmp_path / "source"
    top.mkdir()
    (top / "big").write_bytes(os.urandom(SIZE))
    return top


@pytest.fixture
def rate(swarm: Swarm) -> Callable[[int], float]:
    """Bytes a second that come to a host that has just been connected, over two seconds or more."""

    def measured(number: int) -> float:
        began = time.monotonic()
        swarm.until(lambda: swarm.progress(number)["got"] > 0 and time.monotonic() - began > 2.0)
        return float(swarm.progress(number)["got"]) / (time.monotonic() - began)

    return measured


def limit(it: Swarm, number: int, rate: int, **more: Any) -> None:
    """Have one keep to it, and wait until it says that it does."""
    worker = it.root if number == SEED else it.hosts[number - 10]
    asked = 100 + len(it.said)
    worker.limit({"n": asked, "what": number, "limit": rate, **more})
    it.until(lambda: it.said[asked])
    assert it.said.pop(asked) == [{}]


def test_what_the_seed_sends_changes_while_it_sends(swarm: Swarm, rate: Callable[[int], float]) -> None:
    seed = swarm.seed(limit=SLOW)
    swarm.join(1, seed)
    assert rate(11) < 1.5 * SLOW
    limit(swarm, SEED, 0)
    began = time.monotonic()
    assert swarm.trouble(11) == ""
    assert time.monotonic() - began < SIZE / SLOW / 1.5


def test_what_comes_from_outside_is_bounded_apart_from_what_comes_from_the_rack(
    swarm: Swarm, rate: Callable[[int], float]
) -> None:
    seed = swarm.seed()
    swarm.join(1, seed)
    assert swarm.trouble(11) == ""
    swarm.begin(2)
    swarm.port(12)
    limit(swarm, 12, 0, uplink=SLOW, near=[NEAR])
    swarm.connect(12, seed, address=FAR)
    assert rate(12) < 1.5 * SLOW, "what comes from outside isn't bounded"
    swarm.connect(12, swarm.port(11), address=NEAR)
    began = time.monotonic()
    assert swarm.trouble(12) == ""
    assert time.monotonic() - began < SIZE / SLOW / 1.5, "what comes from the rack is bounded, too"


def test_a_rack_may_take_more_from_outside_from_then_on(swarm: Swarm, rate: Callable[[int], float]) -> None:
    seed = swarm.seed()
    swarm.begin(1)
    swarm.port(11)
    limit(swarm, 11, 0, uplink=SLOW, near=[])
    swarm.connect(11, seed)
    assert rate(11) < 1.5 * SLOW
    limit(swarm, 11, 0, uplink=0, near=[])
    began = time.monotonic()
    assert swarm.trouble(11) == ""
    assert time.monotonic() - began < SIZE / SLOW / 1.5


def test_what_is_over_keeps_to_nothing(swarm: Swarm) -> None:
    swarm.seed()
    swarm.root.limit({"n": 100, "what": 77, "limit": 5})
    swarm.root.unpeer({"what": SEED})
    swarm.last(SEED)
    assert not swarm.said[100]


class TestNearby:
    def test_each_name_is_looked_up_once_and_few_at_a_time(
        self, loop: Loop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pending: list[tuple[str, Callable[..., None]]] = []

        class Slow:
            def __init__(self, _: Loop, name: str, port: int, found: Callable[..., None]) -> None:
                pending.append((name, found))

            def close(self) -> None:
                pending.clear()

        monkeypatch.setattr(nearby, "LookUp", Slow)
        found: list[list[str]] = []
        it = nearby.Nearby(loop, found.append)
        it.add([f"n{number}" for number in range(20)])
        it.add(["n0"])
        assert [name for name, _ in pending] == [f"n{number}" for number in range(nearby.AT_ONE_TIME)]
        _, answer = pending[0]
        answer([(2, ("10.0.0.1", 0)), (2, ("10.0.0.1", 0)), (10, ("fe80::1%eth0", 0, 0, 2))], "")
        assert found == [["10.0.0.1", "fe80::1"]]
        assert len(pending) == nearby.AT_ONE_TIME + 1
        it.close()
        assert pending == []

    def test_a_name_that_has_no_address_is_near_nobody(self, loop: Loop) -> None:
        found: list[list[str]] = []

        def heard(addresses: list[str]) -> None:
            found.append(addresses)
            loop.stop()

        it = nearby.Nearby(loop, heard)
        it.add(["no.such.host.invalid", "127.0.0.9"])
        while len(found) < 2:
            loop._stopped = False
            loop.run()
        assert sorted(found) == [[], ["127.0.0.9"]]
        it.close()
