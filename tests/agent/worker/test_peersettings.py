"""How libtorrent is set: what real sessions make of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import libtorrent
import pytest

from nile.agent.worker import bencode
from nile.agent.worker.peersettings import settings
from tests.cluster.hosts import patiently

SIZE, PIECE = 4 << 20, 1 << 16
RATE = 1 << 20
"""Bytes a second: a second's worth is 64 blocks."""


def torrent(directory: Path) -> Any:
    """Of one file."""
    content = os.urandom(SIZE)
    (directory / "file").write_bytes(content)
    hashes = b"".join(hashlib.sha1(content[at : at + PIECE]).digest() for at in range(0, SIZE, PIECE))
    info = {b"length": SIZE, b"name": b"file", b"piece length": PIECE, b"pieces": hashes}
    return libtorrent.load_torrent_buffer(b"d4:info" + bencode.encode(info) + b"e").ti


def session(asked: int, info: Any, directory: Path) -> tuple[Any, Any]:
    """One, with the torrent."""
    parameters = libtorrent.session_params()
    how: Any = {**settings(libtorrent, 4, asked), "listen_interfaces": "127.0.0.1:0"}
    parameters.settings = how
    made = libtorrent.session(parameters)
    what = libtorrent.add_torrent_params()
    what.ti, what.save_path = info, str(directory)
    return made, made.add_torrent(what)


@pytest.mark.parametrize(("asked", "least", "most"), [(7, 3, 7), (0, 20, 500)])
def test_nobody_asks_a_seed_for_more_ahead_than_it_says(
    tmp_path: Path, asked: int, least: int, most: int
) -> None:
    places = [tmp_path / "seed", tmp_path / "host"]
    for place in places:
        place.mkdir()
    info = torrent(places[0])
    seed, serving = session(asked, info, places[0])
    _host, getting = session(0, info, places[1])
    serving.set_upload_limit(RATE)
    patiently(lambda: serving.status().is_seeding, "the seed has looked at its file", 20)
    getting.connect_peer(("127.0.0.1", seed.listen_port()))
    lengths: list[int] = []

    def some_came() -> bool:
        lengths.extend(each.download_queue_length for each in getting.get_peer_info())
        return bool(getting.status().total_done > RATE * 3 // 2)

    patiently(some_came, "some of it came", 40)
    assert least <= max(lengths) <= most
