"""Torrents, and real libtorrent sessions on loopback that share them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libtorrent as lt

from nile.agent.worker import bencode

LONGEST_S = 30.0  # for anything here
PIECE = 16 * 1024
NAME = "content"
QUIET: dict[str, Any] = {
    "alert_mask": lt.alert_category.status
    | lt.alert_category.error
    | lt.alert_category.peer
    | lt.alert_category.connect
    | lt.alert_category.tracker,
    "allow_multiple_connections_per_ip": True,
    "enable_dht": False,
    "enable_incoming_utp": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_upnp": False,
    "listen_interfaces": "127.0.0.1:0",
    "min_reconnect_time": 1,
    "stop_tracker_timeout": 2,
}
"""TCP on loopback, and nobody is looked for but where a test says."""


def torrent(content: bytes, name: str = NAME, **info: Any) -> tuple[bytes, bytes]:
    """The metainfo of one file, with more in its info dictionary, and the info hash."""
    pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
    said: dict[bytes, Any] = {
        b"length": len(content),
        b"name": name.encode(),
        b"piece length": PIECE,
        b"pieces": b"".join(hashlib.sha1(piece).digest() for piece in pieces),
        b"private": 1,
    }
    said.update((key.replace("_", "-").encode(), value) for key, value in info.items())
    return bencode.encode({b"info": said}), hashlib.sha1(bencode.encode(said)).digest()


class Peer:
    """One session with one torrent, which begins with `start`."""

    def __init__(self, place: Path, metainfo: bytes, content: bytes | None = None, **settings: Any) -> None:
        """With `content` it has it already, in `place`."""
        place.mkdir()
        params = lt.load_torrent_buffer(metainfo)
        if content is not None:
            said: Any = bencode.decode(metainfo)
            (place / said[b"info"][b"name"].decode()).write_bytes(content)
        params.save_path = str(place)
        params.flags &= ~lt.torrent_flags.auto_managed
        params.flags |= lt.torrent_flags.paused
        self.said: list[Any] = []
        chosen: Any = {**QUIET, **settings}
        self.session = lt.session(chosen)
        self.handle = self.session.add_torrent(params)

    def start(self, trackers: Sequence[str] = ()) -> None:
        """Look for others, at these trackers."""
        for url in trackers:
            self.handle.add_tracker({"url": url})
        self.handle.resume()

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Until this is so; fails after LONGEST_S, with what was said."""
        latest = time.monotonic() + LONGEST_S
        while not condition():
            assert time.monotonic() < latest, f"{what} didn't happen: {self.words()}"
            self.session.wait_for_alert(50)
            self.said += [(type(alert).__name__, alert.message()) for alert in self.session.pop_alerts()]

    def wait_whole(self) -> None:
        """Until it has all."""
        self.wait(lambda: self.handle.status().is_seeding, "the torrent is whole")

    def heard(self, kind: str, word: str = "") -> bool:
        """Has there been such an alert?"""
        return any(name == kind and word in message for name, message in self.said)

    def close(self) -> None:
        """Tell trackers that it stops, and be gone: a session that ends lets no other thread run."""
        self.handle.pause()
        self.wait(self._has_stopped, "it has stopped")
        del self.session, self.handle

    def _has_stopped(self) -> bool:
        kinds = [kind for kind, _ in self.said]
        answers = kinds.count("tracker_reply_alert") + kinds.count("tracker_error_alert")
        return "torrent_paused_alert" in kinds and kinds.count("tracker_announce_alert") == answers

    def words(self) -> str:
        """What was said, for whoever wonders."""
        return "\n".join(f"{kind}: {message}" for kind, message in self.said[-30:])


@contextmanager
def peers(*makers: Callable[[], Peer]) -> Iterator[list[Peer]]:
    """Peers that are gone afterwards."""
    made: list[Peer] = []
    try:
        made.extend(make() for make in makers)
        yield made
    finally:
        for peer in made:
            peer.close()
