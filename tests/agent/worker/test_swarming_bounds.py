"""Swarms at their bounds: a source that can't be read, and torrents that are large."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libtorrent
import pytest

from nile.agent.worker import bencode, peerprogram, swarming
from nile.agent.worker.messages import CantError
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_swarming import HOW, SEED, Swarm, same


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    for name in ("big", "second"):
        (top / name).write_bytes(os.urandom(300_000))
    return top


@pytest.fixture
def swarm(top: Path, tmp_path: Path) -> Iterator[Swarm]:
    (tmp_path / "hosts").mkdir()
    with a_loop() as loop:
        made = Swarm(loop, top, tmp_path / "hosts")
        yield made
        made.end()


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EIO, "source"), (errno.EACCES, "source"), (errno.ENOENT, "source-changed")],
)
def test_a_source_that_cant_be_hashed(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(CantError) as caught:
        swarm.seed()
    assert caught.value.fields["code"] == code
    assert caught.value.fields["reason"] == f"{os.strerror(number)}: big"


def lost(path: Path) -> None:
    path.unlink()


def shorter(path: Path) -> None:
    os.truncate(path, 1000)


def replaced(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("befalls", [lost, shorter, replaced])
def test_a_file_that_is_gone_before_it_is_served(swarm: Swarm, top: Path, befalls: object) -> None:
    swarm.make()
    befalls(top / "big")  # type: ignore[operator]
    swarm.begin(1)
    swarm.root.seed({**HOW, "n": SEED})
    swarm.connect(11, swarm.port(SEED))
    assert swarm.last(SEED)["code"] == "source-changed"
    assert not swarm.has(11, "complete")


@dataclass
class Category:
    of: str

    def name(self) -> str:
        return self.of


@dataclass
class Error:
    number: int
    of: str = "system"

    def value(self) -> int:
        return self.number

    def category(self) -> Category:
        return Category(self.of)


@pytest.mark.parametrize(
    ("error", "seeds", "code"),
    [
        (Error(errno.EIO), True, "source"),
        (Error(errno.EACCES, "generic"), True, "source"),
        (Error(errno.ENOENT), True, "source-changed"),
        (Error(errno.ENOENT, "libtorrent"), True, "copy"),
        (Error(errno.ENOSPC), False, "disk-full"),
        (Error(errno.ENOSPC, "libtorrent"), False, "copy"),
        (Error(errno.EIO), False, "copy"),
    ],
)
def test_what_went_wrong_is_named_as_what_it_is(error: Error, seeds: bool, code: str) -> None:
    assert peerprogram.code_of("torrent_error", error, seeds) == code


def test_which_files_are_wanted_is_told_in_parts(
    swarm: Swarm, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarming, "CHUNK", 100)
    swarm.join(1, swarm.seed())
    swarm.until(lambda: swarm.has(11, "complete"))
    same(top, swarm.dest(1), [b"big", b"second"])


def test_more_pieces_than_a_torrent_may_have_are_said_at_once(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarming, "MOST_PIECES", 3)
    began = time.monotonic()
    with pytest.raises(CantError, match="a torrent has 3 pieces at most"):
        swarm.seed()
    assert time.monotonic() - began < 10
    assert swarm.said == {}


def test_a_torrent_that_libtorrent_takes_to_be_too_large_by_itself() -> None:
    """It counts all that is in it: a long list does as well as many files."""
    files = [{b"length": 1, b"path": [b"one"]}]
    info = {b"files": files, b"name": b"nile", b"piece length": 1 << 16, b"pieces": bytes(20)}
    more = b"4:tail" + b"l" + b"i0e" * 3_000_000 + b"e"
    torrent = b"d4:info" + bencode.encode(info)[:-1] + more + b"ee"
    with pytest.raises(RuntimeError, match="limit"):
        libtorrent.load_torrent_buffer(torrent)
    peer = peerprogram.Peer(libtorrent)
    peer._do_metainfo({"chunk": torrent})
    assert peer._torrent(b"\1").ti.num_pieces() == 1
