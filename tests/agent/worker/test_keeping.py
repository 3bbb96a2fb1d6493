"""A host that has it all already and serves that: a real peer, which writes to none of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nile.agent.worker.patterns import Patterns
from nile.agent.worker.scanning import changed_since
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_swarming import SEED, nobody_is_known, same
from tests.agent.worker.test_swarming_private import Private

__all__ = ["nobody_is_known"]  # a fixture
PATHS = [b"big", b"deep/small", b"other"]


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Private]:
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    (top / "big").write_bytes(os.urandom(2_000_001))
    (top / "deep/small").write_bytes(b"small")
    (top / "other").write_bytes(os.urandom(100_000))
    (tmp_path / "hosts").mkdir()
    with a_loop() as loop:
        made = Private(loop, top, tmp_path / "hosts")
        yield made
        made.end()
        assert not list((tmp_path / "hosts").glob("*/.nile-sync-*"))


def has_it(swarm: Private, host: int) -> Path:
    """A host gets a copy before."""
    shutil.copytree(swarm.top, swarm.dest(host))
    return swarm.dest(host)


def test_it_serves_all_but_the_archive_and_nothing_there_is_touched(swarm: Private) -> None:
    has_it(swarm, 1)
    found = swarm.found(1)
    seed = swarm.seed(limit=50_000)  # it would take it most of a minute
    swarm.join(1, seed, tls=swarm.tls(), keep=True)
    swarm.join(2, swarm.port(11), seed, tls=swarm.tls())
    swarm.until(lambda: swarm.has(12, "complete"))
    same(swarm.top, swarm.dest(2), PATHS)
    swarm.until(lambda: swarm.progress(11)["sent"] > 1_500_000)
    swarm.hosts[1].unpeer({"n": 7, "what": 11})
    assert "code" not in swarm.last(11)
    assert swarm.progress(11)["got"] < 100_000, "it needs the archive alone"
    assert changed_since(found, [(os.fsencode(swarm.dest(1)), b"")], Patterns()) == [b"."], "where it was"


def test_one_that_needs_the_seed_no_more_serves_the_archive_too(swarm: Private) -> None:
    has_it(swarm, 1)
    seed = swarm.seed()
    swarm.join(1, seed, tls=swarm.tls(), keep=True)
    swarm.until(lambda: swarm.progress(11).get("at", 0) == swarm.progress(11).get("whole", 1))
    swarm.root.unpeer({"n": 7, "what": SEED})
    swarm.last(SEED)
    swarm.join(2, swarm.port(11), tls=swarm.tls())
    swarm.until(lambda: swarm.has(12, "complete"))
    same(swarm.top, swarm.dest(2), PATHS)


@pytest.mark.parametrize("how", ["other bytes", "gone", "a byte of the last piece"])
def test_one_whose_copy_differs_says_so_and_changes_nothing(swarm: Private, how: str) -> None:
    big = has_it(swarm, 1) / "big"
    if how == "gone":
        big.unlink()
    else:
        data = bytearray(big.read_bytes())
        data[7 if how == "other bytes" else -1] ^= 1
        big.write_bytes(data)
    before = big.read_bytes() if big.exists() else None
    swarm.make()
    swarm.begin(1, tls=swarm.tls(), keep=True)
    last = swarm.last(11)
    assert (last["code"], "isn't as the source" in last["reason"]) == ("differs", True)
    assert not any("port" in each for each in swarm.said[11])
    assert (big.read_bytes() if big.exists() else None) == before
