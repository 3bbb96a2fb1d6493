"""One that sends damaged pieces among others that don't: real peers, each at an address of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libtorrent
import pytest

from nile.agent.worker import peerprogram
from nile.agent.worker.guarding import Guard
from nile.agent.worker.loop import Loop
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_swarming import SEED, Swarm, nobody_is_known, same
from tests.support.forwards import Forwards, forwards
from tests.support.torrents import Peer, peers, torrent

__all__ = ["nobody_is_known"]  # a fixture
AT = {SEED: "127.0.0.2", **{10 + host: f"127.0.0.{10 + host}" for host in range(1, 5)}}
CULPRIT = 11
SIZE = 2_000_000
PATHS = [b"big"]


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


@pytest.fixture
def ways() -> Iterator[Forwards]:
    with forwards() as made:
        yield made


@pytest.fixture
def swarm(loop: Loop, tmp_path: Path) -> Iterator[Swarm]:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/big").write_bytes(os.urandom(SIZE))
    (tmp_path / "hosts").mkdir()
    made = Swarm(loop, tmp_path / "source", tmp_path / "hosts")
    yield made
    made.end()


def test_it_alone_is_found_guilty_and_costs_the_others_next_to_nothing(swarm: Swarm, ways: Forwards) -> None:
    """Innocents share pieces with it at once; whoever got one of it alone hears nothing more from it."""
    seed = swarm.seed(limit=500_000)
    swarm.join(1, seed)
    swarm.root.limit({"n": 7, "what": SEED, "limit": 0})
    swarm.until(lambda: swarm.has(CULPRIT, "complete"))
    swarm.root.limit({"n": 7, "what": SEED, "limit": 500_000})
    with (swarm.dest(1) / "big").open("r+b") as file:
        file.write(os.urandom(SIZE))
    hosts = (12, 13, 14)
    for number in hosts:
        swarm.begin(number - 10, limit=500_000)
    ports = {number: swarm.port(number) for number in (SEED, CULPRIT, *hosts)}
    for number in hosts:
        for other in (CULPRIT, SEED, *range(12, number)):
            way = ways.listen(AT[other], ports[other], AT[number])
            swarm.connect(number, way, address=AT[other])
    swarm.until(lambda: all(swarm.has(number, "complete") for number in hosts))
    for number in hosts:
        same(swarm.top, swarm.dest(number - 10), PATHS)
        assert {each["banned"] for each in swarm.said[number] if "banned" in each} <= {AT[CULPRIT]}
        assert swarm.progress(number)["failed"] < SIZE / 4
    assert any(swarm.has(number, "banned") for number in hosts)


# At one address.


class Session:
    """Keeps what it is to refuse."""

    def __init__(self) -> None:
        self.refused: Any = None

    def set_ip_filter(self, refused: Any) -> None:
        self.refused = refused

    def apply_settings(self, _: object) -> None:
        pass


def guard(*connected: tuple[str, bytes]) -> tuple[Guard, Session]:
    """Of a torrent with these connections: an address and an id each."""
    session = Session()
    made = Guard(libtorrent, session, [])
    infos = [
        SimpleNamespace(ip=(address, 1), pid=SimpleNamespace(to_bytes=lambda word=word: word))
        for address, word in connected
    ]
    made.guards(SimpleNamespace(get_peer_info=lambda: infos, connect_peer=lambda _: None), None)
    return made, session


BAN = SimpleNamespace(endpoint=("10.0.0.1", 5))


def test_who_is_guilty_comes_back_by_no_other_port() -> None:
    it, session = guard(("10.0.0.1", b"a"), ("10.0.0.2", b"b"))
    it.connect(("10.0.0.1", 5))
    assert it.hear("peer_ban", BAN) == "10.0.0.1"
    assert [session.refused.access(f"10.0.0.{each}") for each in (1, 2)] == [1, 0]


def test_another_one_at_its_address_of_whom_one_hears_later_is_let_in() -> None:
    it, session = guard(("10.0.0.1", b"a"))
    it.connect(("10.0.0.1", 5))
    assert it.hear("peer_ban", BAN) == "10.0.0.1"
    it.connect(("10.0.0.1", 5))
    assert session.refused.access("10.0.0.1") == 1
    it.connect(("10.0.0.1", 6))
    assert session.refused.access("10.0.0.1") == 0


@pytest.mark.parametrize("known_by", ["a connection", "the root", "the web"])
def test_others_at_its_address_are_let_in(known_by: str) -> None:
    also = [("10.0.0.1", b"b")] if known_by == "a connection" else []
    it, session = guard(("10.0.0.1", b"a"), *also)
    it.webs = known_by == "the web"
    for port in (5, 6) if known_by == "the root" else (5,):
        it.connect(("10.0.0.1", port))
    assert it.hear("peer_ban", BAN) == "10.0.0.1"
    assert session.refused.access("10.0.0.1") == 0


# One that libtorrent doesn't get anew.


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What a peer in this process says; it may go to another directory."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(peerprogram, "say", found.append)
    monkeypatch.chdir(tmp_path)
    return found


def reports(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["report"] for each in said if "report" in each]


def test_a_peer_that_stands_still_with_all_there_is_looks_at_it_and_goes_on(
    said: list[dict[str, Any]], tmp_path: Path
) -> None:
    """What was counted stays so, and what isn't wanted isn't fetched."""
    content = os.urandom(1_000_000)
    metainfo, _ = torrent(content)
    (tmp_path / "place").mkdir()
    with peers(lambda: Peer(tmp_path / "seed", metainfo, content)) as (seed,):
        seed.start()
        seed.handle.set_upload_limit(200_000)
        it = peerprogram.Peer(libtorrent)
        it._do_metainfo({"chunk": metainfo})
        it._do_wanted({"wanted": b"\1"})
        it._do_start({"directory": str(tmp_path / "place"), "seed": False, "slots": 4, "limit": 0})
        place = ("127.0.0.1", seed.session.listen_port())
        it._do_peers({"peers": [place]})

        def until(condition: Callable[[], object]) -> None:
            def looked() -> object:
                it._hear()
                it._report()
                return condition()

            seed.wait(looked, "it happens")

        until(lambda: reports(said)[-1]["got"] > 200_000)
        it._guard.hear("hash_failed", SimpleNamespace(piece_index=0))
        before = reports(said)[-1]["got"]
        stuck = SimpleNamespace(
            total_wanted_done=1,
            total_wanted=1,
            state="downloading",
            total_payload_download=before,
            total_payload_upload=0,
            total_failed_bytes=0,
            num_pieces=0,
        )
        for stuck.num_pieces in range(1, peerprogram.STUCK + 1):
            it._unstick(stuck)
        for _ in range(peerprogram.STUCK):
            assert not it._earlier
            it._unstick(stuck)
        assert it._earlier
        seed.handle.set_upload_limit(0)
        it._do_peers({"peers": [place]})
        until(lambda: any("complete" in each for each in said))
        it._session.pause()
    assert (tmp_path / "place/0").read_bytes() == content
    assert reports(said)[-1]["got"] >= len(content)
