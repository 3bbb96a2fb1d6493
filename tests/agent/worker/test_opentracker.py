"""The tracker beside Debian's opentracker: what one says of the same announces, the other says too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode

import pytest

from nile.agent.worker import bencode
from tests.agent.parent import wait_until
from tests.agent.worker.test_tracker import fetch
from tests.agent.worker.tracking import Served, a_tracker
from tests.transport.servers import free_port

HASH, OTHER = bytes(range(1, 21)), bytes(range(2, 22))

pytestmark = pytest.mark.cluster


@contextmanager
def opentracker(place: Path, info_hash: bytes = HASH) -> Iterator[str]:
    """Its URL; it knows that torrent alone. It becomes another user, who has to get to `place`."""
    program = shutil.which("opentracker")
    assert program, "the tests of the tracker need opentracker (package opentracker)"
    port = free_port()
    whitelist = place / "whitelist"
    whitelist.write_text(info_hash.hex() + "\n")
    argv = [program, "-i", "127.0.0.1", "-p", str(port), "-P", str(port), "-w", str(whitelist)]

    def knows() -> bool:
        """It listens before it has read what it is to know. (Who is stopped isn't remembered.)"""
        fields = {"info_hash": info_hash, "peer_id": b"-XX0000-nobody here.", "port": 9, "event": "stopped"}
        fields |= {"uploaded": 0, "downloaded": 0, "left": 1, "compact": 1}
        try:
            status, body = fetch(f"http://127.0.0.1:{port}/announce?{urlencode(fields).replace('+', '%20')}")
        except OSError:
            return False
        return status == 200 and b"failure reason" not in body

    with (
        (place / "log").open("wb") as log,
        subprocess.Popen(argv, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(lambda: knows() or process.poll() is not None, "opentracker knows it")
            assert process.poll() is None, (place / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture
def served() -> Iterator[Served]:
    with a_tracker() as served:
        served.register.add(HASH, b"")
        yield served


def said(base: str, number: int, **more: Any) -> dict[bytes, Any] | None:
    """What a tracker answers; None where it refuses."""
    fields = {"info_hash": HASH, "peer_id": b"-XX0000-%012d" % number, "port": 1000 + number, "compact": 1}
    fields |= {"uploaded": 0, "downloaded": 0, "left": 1, **more}
    status, body = fetch(f"{base}/announce?{urlencode(fields).replace('+', '%20')}")
    answer = bencode.decode(body) if status == 200 else {b"failure reason": b""}
    assert isinstance(answer, dict)
    return None if b"failure reason" in answer else answer


def ends(answer: dict[bytes, Any] | None, asker: int) -> set[bytes] | None:
    """Who is told of, without the asker: opentracker tells it of itself too."""
    if answer is None:
        return None
    peers = answer[b"peers"]
    found = {peers[at : at + 6] for at in range(0, len(peers), 6)}
    return found - {b"\x7f\0\0\1" + (1000 + asker).to_bytes(2, "big")}


STEPS: list[tuple[int, dict[str, Any]]] = [
    (1, {"event": "started"}),
    (2, {"event": "started", "left": 0}),
    (3, {"event": "started"}),
    (3, {"event": "completed", "left": 0}),
    (4, {"info_hash": OTHER}),
    (4, {"numwant": 10}),
    (1, {"event": "stopped"}),
    (5, {}),
]


def test_both_say_the_same(served: Served, open_path: Path) -> None:
    def ask(base: str) -> list[Any]:
        found: list[Any] = []
        for number, more in STEPS:
            answer = said(base, number, **more)
            counts = [answer[b"complete"], answer[b"incomplete"]] if answer else None
            found.append((number, more, counts, None if more.get("left") == 0 else ends(answer, number)))
        scrape = bencode.decode(fetch(f"{base}/scrape?{urlencode({'info_hash': HASH})}")[1])
        return [*found, scrape]

    with opentracker(open_path) as theirs:
        assert served.during(lambda: ask(served.url())) == ask(theirs)


def test_opentracker_isnt_left(open_path: Path) -> None:
    with opentracker(open_path) as theirs:
        pass
    with pytest.raises(URLError):
        fetch(theirs)
