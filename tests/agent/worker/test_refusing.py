"""Addresses that a peer refuses: real ones, over loopback."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import libtorrent
import pytest

from nile.agent.worker.refusing import ranges, refused
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_swarming import SEED, nobody_is_known, same
from tests.agent.worker.test_swarming_private import Private

__all__ = ["nobody_is_known"]  # a fixture
HERE = socket.inet_aton("127.0.0.1") * 2
PATHS = [b"big"]


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Private]:
    top = tmp_path / "source"
    top.mkdir()
    (top / "big").write_bytes(os.urandom(500_000))
    (tmp_path / "hosts").mkdir()
    with a_loop() as loop:
        made = Private(loop, top, tmp_path / "hosts")
        yield made
        made.end()


def test_ranges_of_both_kinds() -> None:
    v4 = bytes([10, 0, 0, 1, 10, 0, 0, 9, 10, 1, 0, 0, 10, 1, 0, 0])
    v6 = socket.inet_pton(socket.AF_INET6, "fd00::1") + socket.inet_pton(socket.AF_INET6, "fd00::ff")
    assert list(ranges([v4, v6])) == [
        ("10.0.0.1", "10.0.0.9"),
        ("10.1.0.0", "10.1.0.0"),
        ("fd00::1", "fd00::ff"),
    ]
    found = refused(libtorrent, [v4, v6])
    asked = ("10.0.0.5", "10.0.0.10", "10.1.0.0", "fd00::7f", "fd00::1:0")
    assert [found.access(each) for each in asked] == [1, 0, 1, 1, 0]
    assert list(ranges([])) == []


@pytest.mark.parametrize("who", ["connects", "is connected to"])
def test_who_is_refused_gets_and_gives_nothing(swarm: Private, who: str) -> None:
    """A third one, which refuses nobody, gets all; the one that refuses has no connection meanwhile."""
    port = swarm.seed()
    swarm.begin(1, tls=swarm.tls(), refuse=[HERE, b""])
    refuses = swarm.port(11)
    swarm.join(2, port, tls=swarm.tls())
    if who == "connects":
        swarm.connect(11, port, swarm.port(12))
    else:
        swarm.connect(SEED, refuses)
        swarm.connect(12, refuses)
    swarm.until(lambda: swarm.has(12, "complete"))
    seen = len(swarm.said[11])
    swarm.until(lambda: len(swarm.said[11]) > seen + 3)
    told = [each["progress"] for each in swarm.said[11] if "progress" in each]
    assert {(each["peers"], each["got"], each["sent"]) for each in told} == {(0, 0, 0)}
    same(swarm.top, swarm.dest(2), PATHS)
