"""Peers that find others by a tracker, and files by HTTP; and that listen where they are told to."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from nile.agent.worker import bencode
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_hosting import track
from tests.agent.worker.test_opentracker import opentracker
from tests.agent.worker.test_swarming import HOW, SEED, Swarm, same
from tests.agent.worker.test_swarming_private import Private
from tests.agent.worker.test_tracker import fetch
from tests.support.webserver import Ranges
from tests.transport.servers import free_port

PATHS = [b"big", b"deep/a name"]
NOBODY = "http://127.0.0.1:1/announce"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    (top / "big").write_bytes(os.urandom(1_000_000))
    (top / "deep/a name").write_bytes(os.urandom(100_000))
    return top


def made(kind: type[Swarm], top: Path, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "hosts").mkdir()
    with a_loop() as loop:
        swarm = kind(loop, top, tmp_path / "hosts")
        yield swarm
        swarm.end()


@pytest.fixture
def swarm(top: Path, tmp_path: Path) -> Iterator[Swarm]:
    yield from made(Swarm, top, tmp_path)


@pytest.fixture
def private(top: Path, tmp_path: Path) -> Iterator[Private]:
    yield from made(Private, top, tmp_path)


@contextmanager
def serving(place: Path, how: type[Any] = Ranges) -> Iterator[tuple[str, Counter[str]]]:
    """The URL of this directory, and what was sent of it."""
    sent: Counter[str] = Counter()
    handler = type("Handler", (how,), {"sent": sent})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(place))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", sent
        finally:
            server.shutdown()
            thread.join()


def look(swarm: Swarm, host: int, trackers: Sequence[str] = (), webs: Sequence[str] = ()) -> None:
    """Have a host that listens look there, too."""
    fields = {"trackers": list(trackers), "webs": list(webs)}
    swarm.hosts[host].elsewhere({"n": 7, "what": 10 + host, **fields})


def test_files_come_by_http_and_what_is_not_there_from_peers(private: Private, top: Path) -> None:
    """The seed would take minutes; and a tracker that nobody reaches keeps nobody up."""
    (top.parent / "web").mkdir()
    (top.parent / "web/nile").symlink_to(top)
    with serving(top.parent / "web") as (url, sent):
        port = private.seed(limit=20_000)
        private.join(1, port, tls=private.tls())
        look(private, 1, trackers=[NOBODY], webs=[url])
        private.until(lambda: private.has(11, "complete"))
    same(top, private.dest(1), PATHS)
    assert sum(sent.values()) > 900_000


def test_they_get_all_where_nobody_but_a_web_server_is_left(swarm: Swarm, top: Path) -> None:
    """It hasn't the archive: so that is what hosts get first, before their share."""
    (top.parent / "web").mkdir()
    (top.parent / "web/nile").symlink_to(top)
    port = swarm.seed(limit=100_000)
    swarm.begin(1)
    swarm.port(11)
    swarm.hosts[1].share({"n": 7, "what": 11, "part": 0, "parts": 2})
    look(swarm, 1, webs=["http://127.0.0.1:1/"])
    swarm.connect(11, port)
    swarm.until(lambda: swarm.progress(11).get("at"))
    swarm.root.unpeer({"n": 7, "what": SEED})
    swarm.last(SEED)
    assert not swarm.has(11, "complete")
    with serving(top.parent / "web") as (url, _):
        look(swarm, 1, webs=[url])
        assert swarm.trouble(11) == ""
    same(top, swarm.dest(1), PATHS)


def test_one_of_the_wrong_content_is_used_by_nobody(swarm: Swarm, top: Path) -> None:
    (top.parent / "web/nile/deep").mkdir(parents=True)
    for path in ("big", "deep/a name"):
        (top.parent / "web/nile" / path).write_bytes(os.urandom((top / path).stat().st_size))
    with serving(top.parent / "web") as (url, _):
        port = swarm.seed(limit=20_000)
        swarm.join(1, port)
        look(swarm, 1, webs=[url])
        swarm.until(lambda: swarm.progress(11)["failed"])
        swarm.root.limit({"n": 7, "what": SEED, "limit": 0})
        swarm.until(lambda: swarm.has(11, "complete"))
    same(top, swarm.dest(1), PATHS)


@pytest.mark.cluster
def test_they_find_each_other_by_opentracker_and_take_their_leave(
    private: Private, top: Path, open_path: Path
) -> None:
    private.make()
    assert private.root._torrent is not None
    info_hash = private.root._torrent.hash
    with opentracker(open_path, info_hash) as url:
        trackers = [NOBODY, f"{url}/announce"]
        private.root.seed({**HOW, "tls": private.tls(), "n": SEED})
        private.port(SEED)
        private.until(lambda: private.has(SEED, "progress"))  # it says what it lacks but once in a while
        private.root.elsewhere({"n": 7, "what": SEED, "trackers": trackers, "webs": []})

        def known() -> dict[bytes, int]:
            found: Any = bencode.decode(fetch(f"{url}/scrape?{urlencode({'info_hash': info_hash})}")[1])
            said: dict[bytes, int] = found[b"files"].get(info_hash, {})
            return said

        private.until(lambda: private.has(SEED, "progress") and known().get(b"complete"))
        private.begin(1, tls=private.tls())
        private.port(11)
        look(private, 1, trackers=trackers)
        private.until(lambda: private.has(11, "complete"))
        same(top, private.dest(1), PATHS)
        private.hosts[1].unpeer({"n": 7, "what": 11})
        private.last(11)
        private.root.unpeer({"n": 7, "what": SEED})
        private.last(SEED)
        assert known().get(b"complete", 0) + known().get(b"incomplete", 0) == 0


@pytest.mark.cluster
@pytest.mark.parametrize("lost", ["opentracker", "the root's own"])
def test_of_two_trackers_one_may_be_lost(private: Private, top: Path, open_path: Path, lost: str) -> None:
    """Who begins after that finds the others all the same; nobody is told of anybody else."""
    private.make()
    assert private.root._torrent is not None
    with ExitStack() as stack:
        theirs = stack.enter_context(opentracker(open_path, private.root._torrent.hash))
        own, _ = track(private)
        trackers = [f"{theirs}/announce", f"{own}/announce"]
        private.root.seed({**HOW, "tls": private.tls(), "n": SEED})
        private.port(SEED)
        private.root.elsewhere({"n": 7, "what": SEED, "trackers": trackers, "webs": []})
        for host in (1, 2):
            private.begin(host, tls=private.tls())
            private.port(10 + host)
            look(private, host, trackers=trackers)
            private.until(partial(private.has, 10 + host, "complete"))
            if host == 1 and lost == "opentracker":
                stack.close()
            elif host == 1:
                private.root.untrack()
    same(top, private.dest(2), PATHS)


class Announced(SimpleHTTPRequestHandler):
    """It says to whoever announces himself that there is nobody; `sent` counts requests by path."""

    sent: Counter[str]

    def do_GET(self) -> None:
        self.sent[self.path.partition("?")[0]] += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"d8:intervali1800e5:peers0:e")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_on_a_hosts_own_loopback_nothing_but_a_tracker_is_asked(swarm: Swarm, tmp_path: Path) -> None:
    with serving(tmp_path, Announced) as (url, asked):
        port = swarm.seed()
        swarm.join(1)
        look(swarm, 1, trackers=[f"{url}delete", f"{url}announce"])
        swarm.until(lambda: asked["/announce"])
        swarm.connect(11, port)
        swarm.until(lambda: swarm.has(11, "complete"))
        swarm.hosts[1].unpeer({"n": 7, "what": 11})
        swarm.last(11)
        assert asked.keys() == {"/announce"}


def test_a_port_that_was_given_is_taken_and_only_that(swarm: Swarm) -> None:
    port = free_port()
    assert swarm.seed(ports=[port, port]) == port
    swarm.join(1, port, ports=[port, port + 10])
    assert port < swarm.port(11) <= port + 10
    swarm.begin(2, ports=[port, port])
    last = swarm.last(12)
    assert (last["code"], last["reason"]) == ("copy", f"no port of {port} to {port} is free")
