"""The tracker of a swarm: who comes from a host of the run with nothing but its URL gets the files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import libtorrent
import pytest

from nile.agent.worker.hosting import torrent_file
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_swarming import SEED, Swarm
from tests.agent.worker.test_tracker import fetch
from tests.agent.worker.test_tracker_peers import aria2

T = TypeVar("T")
TRACK = 5
HERE = "127.0.0.1"
HOSTED: dict[str, Any] = {"n": TRACK, "address": HERE, "port": 0, "trackers": [], "webs": []}


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Swarm]:
    top = tmp_path / "source"
    top.mkdir()
    (top / "big").write_bytes(os.urandom(500_000))
    (tmp_path / "hosts").mkdir()
    with a_loop() as loop:
        made = Swarm(loop, top, tmp_path / "hosts")
        yield made
        made.end()


def pump(swarm: Swarm) -> None:
    """Go on for a moment."""
    swarm.loop.at(swarm.loop.now() + 0.05, swarm.loop.stop)
    swarm.loop._stopped = False
    swarm.loop.run()


def track(swarm: Swarm, hosts: Sequence[str] = (), **more: Any) -> tuple[str, str]:
    """Have one: its URL, and that of the torrent."""
    swarm.root.track({**HOSTED, "hosts": [[name, []] for name in hosts], "peering": [], **more})
    assert swarm.root._hosting is not None
    assert swarm.root._hosting._look_ups is not None
    while swarm.root._hosting._look_ups.left:
        pump(swarm)
    said = swarm.said[TRACK][0]
    url = f"http://{HERE}:{said['port']}"
    return url, f"{url}/metainfo/{said['hash']}.torrent"


def during(swarm: Swarm, act: Callable[[], T]) -> T:
    """Do this in a thread while the workers go on."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(act)
        while not future.done():
            pump(swarm)
        return future.result()


@pytest.mark.cluster
@pytest.mark.parametrize("of_whom", ["the seed", "a host that is introduced by name"])
def test_aria2_needs_nothing_but_the_url(swarm: Swarm, tmp_path: Path, of_whom: str) -> None:
    port = swarm.seed()
    _, torrent = track(swarm, hosts=["localhost"])
    if of_whom == "the seed":
        swarm.root.introduce({"n": 8, "name": HERE, "port": port})
    else:
        swarm.join(1, port)
        swarm.until(lambda: swarm.has(11, "complete"))
        swarm.root.introduce({"n": 8, "name": "localhost", "port": swarm.port(11)})

    def download() -> int:
        with aria2(torrent, tmp_path / "aria2") as process:
            return process.wait(30)

    assert during(swarm, download) == 0, (tmp_path / "aria2/log").read_text()
    assert (tmp_path / "aria2/nile/big").read_bytes() == (swarm.top / "big").read_bytes()


def test_an_address_of_no_host_gets_no_answer_and_is_named(swarm: Swarm) -> None:
    swarm.seed()
    url, torrent = track(swarm, address="192.0.2.1", hosts=["192.0.2.2"])
    for asked in (f"{url}/announce", torrent):
        assert during(swarm, lambda asked=asked: fetch(asked)[0]) == 403  # type: ignore[misc]
    assert [each["stranger"] for each in swarm.said[TRACK][1:]] == [HERE]


def test_it_is_gone_when_it_is_told_so(swarm: Swarm) -> None:
    swarm.seed()
    url, _ = track(swarm)
    swarm.root.untrack()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HERE, int(url.rpartition(":")[2])), timeout=5)
    swarm.root.introduce({"n": 8, "name": HERE, "port": 1})
    swarm.root.dismiss({"n": 8, "name": HERE})


def test_a_port_that_is_taken(swarm: Swarm) -> None:
    swarm.seed()
    url, _ = track(swarm)
    with pytest.raises(OSError, match="in use"):
        swarm.root.track({**HOSTED, "port": int(url.rpartition(":")[2])})


def test_the_torrent_names_trackers_and_web_seeds(swarm: Swarm) -> None:
    swarm.seed()
    url, torrent = track(swarm, trackers=["udp://t:1"], webs=["http://w/"])
    status, body = during(swarm, lambda: fetch(torrent))
    assert status == 200
    found = libtorrent.load_torrent_buffer(body)
    assert found.trackers == [f"{url}/announce", "udp://t:1"]
    assert found.url_seeds == ["http://w/"]
    assert swarm.root._torrent is not None
    assert found.ti is not None
    assert found.ti.info_hash().to_bytes() == swarm.root._torrent.hash
    assert torrent_file(b"de", ["a"], []) == b"d8:announce1:a13:announce-listll1:aee4:infodee"


def test_one_that_comes_late_is_told_of_and_one_that_is_gone_isnt(swarm: Swarm) -> None:
    port = swarm.seed()
    url, _ = track(swarm)
    swarm.root.introduce({"n": 8, "name": HERE, "port": port})
    scrape = f"{url}/scrape"
    assert b"10:incompletei1e" in during(swarm, lambda: fetch(scrape))[1]
    swarm.root.dismiss({"n": 8, "name": HERE})
    assert b"10:incompletei0e" in during(swarm, lambda: fetch(scrape))[1]
    assert not swarm.ended(SEED)
