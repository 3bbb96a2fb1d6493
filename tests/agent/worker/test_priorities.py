"""Which pieces a peer gets first: as a list, and as a real libtorrent has it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libtorrent
import pytest

from nile.agent.worker import peerprogram
from nile.agent.worker.peerprogram import Peer
from nile.agent.worker.priorities import NO_SHARE, priorities
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_swarming import HOW, Swarm

WANTED = [4, 4, 4, 0, 0, 4, 4]
SHARE = {"do": "share", "part": 1, "parts": 2}
ELSEWHERE = {"do": "elsewhere", "trackers": [], "webs": ["http://127.0.0.1:1/"]}
TRACKED = {"do": "elsewhere", "trackers": ["http://127.0.0.1:1/"], "webs": []}


@pytest.mark.parametrize(
    ("share", "archive", "expected"),
    [
        (NO_SHARE, 7, [1, 1, 1, 0, 0, 1, 1]),
        (NO_SHARE, 6, [1, 1, 1, 0, 0, 1, 7]),
        ((0, 3), 7, [7, 1, 1, 0, 0, 1, 7]),
        ((2, 3), 6, [1, 1, 6, 0, 0, 6, 7]),
        ((0, 1), 5, [6, 6, 6, 0, 0, 7, 7]),
        ((30, 40), 6, [1, 1, 1, 0, 0, 1, 7]),
    ],
)
def test_what_comes_first_and_what_never(share: tuple[int, int], archive: int, expected: list[int]) -> None:
    assert priorities(WANTED, share, archive) == expected
    assert priorities(expected, share, archive) == expected


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    """Two files of five pieces, and the archive, which has one."""
    top = tmp_path / "source"
    top.mkdir()
    for name in ("big", "second"):
        (top / name).write_bytes(os.urandom(300_000))
    with a_loop() as loop:
        made = Swarm(loop, top, tmp_path)
        made.make()
        yield made
        made.end()


@contextmanager
def running(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch, wanted: bytes, places: list[bytes], **how: Any
) -> Iterator[tuple[Peer, list[dict[str, Any]]]]:
    """The peer of its process, in this one; and what it says."""
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(peerprogram, "say", said.append)
    (swarm.place / "own").mkdir()
    monkeypatch.chdir(swarm.place / "own")
    peer = Peer(libtorrent)
    assert swarm.root._torrent is not None
    peer._do_metainfo({"chunk": swarm.root._torrent.torrent})
    peer._do_places({"places": places})
    peer._do_wanted({"wanted": wanted})
    peer._do_start({**HOW, "seed": False, **how, "directory": "."})
    yield peer, said
    peer._handle = peer._session = peer._uplink = None  # which ends the session
    for fd in (peer._woken, peer._wake):
        os.close(fd)


def heard(peer: Peer, what: Callable[[], object]) -> None:
    while not what():
        assert peer._session.wait_for_alert(60_000) is not None
        peer._hear()


def settled(peer: Peer) -> list[int]:
    """The priorities, once disk threads are through with what they were given."""
    peer._handle.flush_cache()
    done = False
    while not done:
        assert peer._session.wait_for_alert(60_000) is not None
        done = "cache_flushed" in [alert.what() for alert in peer._session.pop_alerts()]
    return list(peer._handle.get_piece_priorities())


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([SHARE], [1, 7, 1, 7, 1, 0, 0, 0, 0, 0, 1]),
        ([ELSEWHERE], [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 7]),
        ([SHARE, ELSEWHERE], [1, 6, 1, 6, 1, 0, 0, 0, 0, 0, 7]),
        ([ELSEWHERE, SHARE], [1, 6, 1, 6, 1, 0, 0, 0, 0, 0, 7]),
        ([SHARE, ELSEWHERE, TRACKED], [1, 6, 1, 6, 1, 0, 0, 0, 0, 0, 7]),
        ([TRACKED], [4, 4, 4, 4, 4, 0, 0, 0, 0, 0, 4]),
    ],
)
def test_a_share_and_web_servers_in_any_order(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]], expected: list[int]
) -> None:
    """Of two files the second one isn't wanted."""
    with running(swarm, monkeypatch, b"\1\0\0\0\1", []) as (peer, said):
        for message in told:
            getattr(peer, "_do_" + message["do"])(message)
        assert settled(peer) == expected
        assert peer._handle.status().total_wanted < 400_000
        assert not any("code" in each for each in said)


def test_one_that_keeps_its_copy_lacks_the_archive_and_nothing_else(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    *places, _ = swarm.root._places
    with running(swarm, monkeypatch, bytes([1] * 5), [*places, b"4"], keep=True) as (peer, said):
        heard(peer, lambda: said)
        peer._do_elsewhere(ELSEWHERE)
        peer._do_share(SHARE)
        assert settled(peer)[-1] == 7
        assert [each.keys() for each in said] == [{"port"}]
        assert list(peer._handle.status().pieces) == [True] * 10 + [False]
        assert not peer._handle.flags() & libtorrent.torrent_flags.upload_mode


def test_a_seed_has_all_whatever_it_is_told(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(swarm, monkeypatch, bytes([1] * 5), swarm.root._places, seed=True) as (peer, said):
        heard(peer, lambda: said)
        peer._do_elsewhere(TRACKED)
        peer._do_share(SHARE)
        settled(peer)
        peer._report()
        assert peer._handle.status().is_seeding
        assert not any("code" in each for each in said)
