"""Swarms that only hosts of the run can read: real peers with its certificates, and strangers without."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libtorrent
import pytest

from nile.agent.worker.metainfo import NAME
from nile.bootstrap.authority import Authority
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_swarming import HOW, SEED, TORRENT, Swarm, same
from tests.support.torrents import Peer, peers

PATHS = [b"big", b"deep/small"]


class Private(Swarm):
    """Each peer has a certificate of its own, by `authority`."""

    authority = Authority()

    def tls(self) -> list[str]:
        identity = self.authority.issue(NAME.decode())
        return [identity.certificate, identity.key, identity.parameters]

    def seed(self, only: bytes = b"", **how: Any) -> int:
        return super().seed(only, **{"tls": self.tls(), **how})

    def make(self, only: bytes = b"") -> None:
        torrent = {"certificate": self.authority.certificate}
        made = self.root.torrent({**TORRENT, **torrent, "only": only, "whole": not only}, self.source)
        self.hash, self.digest = made["hash"], made["digest"]
        self.chunks = [fields["chunk"] for fields in self.said[1]]

    @property
    def metainfo(self) -> bytes:
        """The torrent file."""
        assert self.root._torrent is not None
        return self.root._torrent.torrent


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    (top / "big").write_bytes(os.urandom(2_000_000))
    (top / "deep/small").write_bytes(b"small")
    return top


@pytest.fixture
def swarm(top: Path, tmp_path: Path) -> Iterator[Private]:
    (tmp_path / "hosts").mkdir()
    with a_loop() as loop:
        made = Private(loop, top, tmp_path / "hosts")
        yield made
        made.end()


def test_hosts_of_the_run_get_all(swarm: Private, top: Path) -> None:
    port = swarm.seed()
    swarm.join(1, port, tls=swarm.tls())
    swarm.join(2, swarm.port(11), tls=swarm.tls())
    swarm.until(lambda: all(swarm.has(10 + host, "complete") for host in (1, 2)))
    for host in (1, 2):
        same(top, swarm.dest(host), PATHS)


@pytest.mark.parametrize("hidden", ["", "import os; del os.memfd_create\n"])
def test_a_libtorrent_that_takes_certificates_from_files_only(
    swarm: Private, top: Path, tmp_path: Path, hidden: str
) -> None:
    """As those before 2.1, and on Python 3.7: what is there then is hidden from both peers."""
    path = Path(libtorrent.__file__).parent.parent
    (tmp_path / "old").mkdir()
    (tmp_path / "old/sitecustomize.py").write_text(
        f"import sys; sys.path.insert(0, {str(path)!r})\n"
        "import libtorrent; del libtorrent.torrent_handle.set_ssl_certificate_buffer\n"
        f"{hidden}"
    )
    old = tmp_path / "python"
    old.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/old exec {sys.executable} "$@"\n')
    old.chmod(0o755)
    port = swarm.seed(python=str(old))
    swarm.join(1, port, tls=swarm.tls(), python=str(old))
    swarm.until(lambda: swarm.has(11, "complete"))
    same(top, swarm.dest(1), PATHS)
    assert not [each for number in (SEED, 11) for each in swarm.said[number] if each.get("code")]


def stranger_gets(swarm: Private, place: Path, port: int, tls: list[str] | None) -> int:
    """Bytes that a peer with the torrent file gets, having gone to `port` until it is turned away."""

    def make() -> Peer:
        peer = Peer(place, swarm.metainfo, listen_interfaces="127.0.0.1:0s")
        if tls is not None:
            peer.handle.set_ssl_certificate_buffer(*tls)
        return peer

    with peers(make) as (stranger,):
        stranger.start()
        for heard in (1, 2):
            stranger.handle.connect_peer(("127.0.0.1", port))
            stranger.wait(lambda heard=heard: turned_away(stranger) >= heard, "it is turned away")  # type: ignore[misc]
        got: int = stranger.handle.status().total_download
    return got


def turned_away(peer: Peer) -> int:
    return sum(name in ("peer_error_alert", "peer_disconnected_alert") for name, _ in peer.said)


@pytest.mark.parametrize("who", ["without a certificate", "with that of another run"])
@pytest.mark.parametrize("at_whom", ["the seed", "a host"])
def test_who_has_only_the_torrent_gets_nothing(
    swarm: Private, top: Path, tmp_path: Path, who: str, at_whom: str
) -> None:
    port = swarm.seed()
    swarm.join(1, port, tls=swarm.tls())
    swarm.until(lambda: swarm.has(11, "complete"))
    other = Authority().issue(NAME.decode())
    theirs = [other.certificate, other.key, other.parameters] if "another" in who else None
    sent = swarm.progress(SEED)["sent"]
    asked = port if at_whom == "the seed" else swarm.port(11)
    assert stranger_gets(swarm, tmp_path / "stranger", asked, theirs) == 0
    assert not any(path.stat().st_blocks for path in (tmp_path / "stranger").rglob("*") if path.is_file())
    assert swarm.progress(SEED)["sent"] == sent
    swarm.join(2, port, tls=swarm.tls())
    swarm.until(lambda: swarm.has(12, "complete"))
    same(top, swarm.dest(2), PATHS)


def test_in_the_clear_the_torrent_is_enough(swarm: Private, tmp_path: Path) -> None:
    """So what turns strangers away above is the certificate, and nothing else."""
    Swarm.make(swarm)
    swarm.root.seed({**HOW, "n": SEED})
    port = swarm.port(SEED)
    with peers(lambda: Peer(tmp_path / "stranger", swarm.metainfo)) as (stranger,):
        stranger.start()
        stranger.handle.connect_peer(("127.0.0.1", port))
        stranger.wait_whole()


def test_a_peer_whose_certificate_is_none_says_so(swarm: Private) -> None:
    swarm.join(1, swarm.seed(), tls=["nothing", "nothing", "nothing"])
    last = swarm.last(11)
    assert last["code"] == "copy"
    assert not swarm.has(11, "complete")
