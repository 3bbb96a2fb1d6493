"""Real peers at the tracker: libtorrent and aria2 find others there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import bencode
from nile.bootstrap.authority import DH_PARAMETERS, Authority
from tests.agent.worker.tracking import Served, a_tracker
from tests.support.torrents import LONGEST_S, NAME, Peer, peers, torrent

CONTENT = os.urandom(300_000)
METAINFO, HASH = torrent(CONTENT)


@pytest.fixture
def served() -> Iterator[Served]:
    with a_tracker() as served:
        served.register.add(HASH, METAINFO)
        yield served


def test_two_libtorrent_peers_find_each_other(served: Served, tmp_path: Path) -> None:
    tiers = [f"{served.url()}/announce"]

    def share() -> tuple[bytes, dict[bytes, Any]]:
        with peers(
            lambda: Peer(tmp_path / "seed", METAINFO, CONTENT), lambda: Peer(tmp_path / "other", METAINFO)
        ) as (seed, other):
            seed.start(tiers)
            seed.wait(lambda: seed.heard("tracker_reply_alert"), "the tracker answers the seed")
            other.start(tiers)
            other.wait_whole()
            other.wait(lambda: served.register.scrape([HASH], 0)[b"files"][HASH][b"downloaded"], "completed")
            found = served.register.scrape([HASH], 0)[b"files"][HASH]
        return (tmp_path / "other" / NAME).read_bytes(), found

    content, found = served.during(share)
    assert content == CONTENT
    assert found == {b"complete": 2, b"downloaded": 1, b"incomplete": 0}
    gone = served.register.scrape([HASH], 0)[b"files"][HASH]
    assert gone[b"complete"] == 0, "they said that they stop"


def test_peers_with_certificates_find_each_other_too(served: Served, tmp_path: Path) -> None:
    """They announce the port at which they speak TLS."""
    authority = Authority()
    metainfo, info_hash = torrent(CONTENT, ssl_cert=authority.certificate.encode())
    served.register.add(info_hash, metainfo)

    def sealed(name: str, content: bytes | None = None) -> Peer:
        peer = Peer(tmp_path / name, metainfo, content, listen_interfaces="127.0.0.1:0s")
        identity = authority.issue(NAME)
        peer.handle.set_ssl_certificate_buffer(identity.certificate, identity.key, DH_PARAMETERS)
        return peer

    def share() -> bytes:
        with peers(lambda: sealed("seed", CONTENT), lambda: sealed("other")) as (seed, other):
            seed.start([f"{served.url()}/announce"])
            seed.wait(lambda: seed.heard("tracker_reply_alert"), "the tracker answers the seed")
            other.start([f"{served.url()}/announce"])
            other.wait_whole()
        return (tmp_path / "other" / NAME).read_bytes()

    assert served.during(share) == CONTENT


def test_libtorrent_finds_who_was_introduced_over_ipv6(served: Served, tmp_path: Path) -> None:
    def share() -> bytes:
        with peers(
            lambda: Peer(tmp_path / "seed", METAINFO, CONTENT, listen_interfaces="[::1]:0"),
            lambda: Peer(tmp_path / "other", METAINFO, listen_interfaces="[::1]:0"),
        ) as (seed, other):
            seed.start()
            seed.wait(lambda: seed.handle.status().is_seeding, "the seed has looked at what it has")
            served.register.introduce(HASH, "::1", seed.session.listen_port(), True)
            other.start([f"{served.url('::1')}/announce"])
            other.wait_whole()
        return (tmp_path / "other" / NAME).read_bytes()

    assert served.during(share) == CONTENT


def test_a_libtorrent_peer_that_isnt_planned_finds_nobody(served: Served, tmp_path: Path) -> None:
    served.register.introduce(HASH, "127.0.0.1", 9, True)
    served.register.plan({"::1": ()})

    def share() -> tuple[bool, int]:
        with peers(lambda: Peer(tmp_path / "other", METAINFO)) as (other,):
            other.start([f"{served.url()}/announce"])
            other.wait(lambda: other.heard("tracker_error_alert", "403"), "the tracker refuses")
            return other.heard("tracker_reply_alert"), other.handle.status().list_peers

    assert served.during(share) == (False, 0)


@contextmanager
def aria2(url: str, place: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """aria2c, which fetches a metainfo and what that is of."""
    place.mkdir()
    program = shutil.which("aria2c")
    assert program, "the tests of the tracker need aria2 (package aria2)"
    options = [
        "--no-conf",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--seed-time=0",
    ]
    options += [
        "--follow-torrent=mem",
        "--enable-peer-exchange=false",
        "--disable-ipv6=false",
        "--no-proxy=*",
    ]
    argv = [program, *options, *more, f"--dir={place}", url]
    with (place / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.cluster
def test_aria2_gets_metainfo_and_peers_here(served: Served, tmp_path: Path) -> None:
    metainfo, info_hash = torrent(CONTENT)
    said = bencode.decode(metainfo)
    assert isinstance(said, dict)
    said[b"announce"] = f"{served.url()}/announce".encode()
    served.register.add(info_hash, bencode.encode(said))

    def share() -> int:
        with peers(lambda: Peer(tmp_path / "seed", METAINFO, CONTENT)) as (seed,):
            seed.start([f"{served.url()}/announce"])
            seed.wait(lambda: seed.heard("tracker_reply_alert"), "the tracker answers the seed")
            with aria2(f"{served.url()}/metainfo/{info_hash.hex()}.torrent", tmp_path / "aria2") as process:
                return process.wait(LONGEST_S)

    assert served.during(share) == 0, (tmp_path / "aria2" / "log").read_text()
    assert (tmp_path / "aria2" / NAME).read_bytes() == CONTENT
    assert sum(served.register.scrape([HASH], 0)[b"files"][HASH].values()) == 0, "they said that they stop"
