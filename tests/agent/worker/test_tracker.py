"""The tracker on loopback: by urllib and by hand."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest

from nile.agent.worker import bencode, register, tracker
from nile.agent.worker.lookup import listening
from nile.agent.worker.tracker import MOST_FROM_ONE, MOST_REQUEST, Tracker
from tests.agent.parent import wait_until
from tests.agent.worker.tracking import Served, a_tracker
from tests.support.torrents import torrent
from tests.transport.servers import free_port

CONTENT = os.urandom(300_000)
METAINFO, HASH = torrent(CONTENT)
SOON_S = tracker.REQUEST_S / 2  # before it would be for being slow
_OPENER = build_opener(ProxyHandler({}))


def fetch(url: str) -> tuple[int, bytes]:
    """Status and body."""
    try:
        with _OPENER.open(url, timeout=20) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def announce(base: str, number: int, **more: Any) -> dict[bytes, Any]:
    said = {"info_hash": HASH, "peer_id": b"-XX0000-%012d" % number, "port": 1000 + number, "left": 1} | more
    status, body = fetch(f"{base}/announce?{urlencode(said)}")
    answer = bencode.decode(body)
    assert status == 200
    assert isinstance(answer, dict)
    return answer


def said_by_hand(served: Served, words: bytes, host: str = "127.0.0.1") -> bytes:
    """All that comes back for this."""

    def talk() -> bytes:
        with socket.create_connection((host, served.tracker.port), timeout=20) as connection:
            connection.sendall(words)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    return served.during(talk)


@pytest.fixture
def served() -> Iterator[Served]:
    with a_tracker() as served:
        served.register.add(HASH, METAINFO)
        yield served


def test_both_kinds_of_addresses_at_one_port(served: Served) -> None:
    def talk() -> tuple[dict[bytes, Any], ...]:
        four, six = served.url(), served.url("::1")
        return announce(four, 1), announce(six, 2), announce(four, 3, left=0), announce(six, 4)

    first, second, third, fourth = served.during(talk)
    assert (first[b"peers"], b"peers6" in first) == (b"", False)
    assert second[b"peers"] == b"\x7f\0\0\1" + (1001).to_bytes(2, "big")
    assert third[b"peers6"] == b"\0" * 15 + b"\1" + (1002).to_bytes(2, "big")
    assert (fourth[b"complete"], fourth[b"incomplete"]) == (1, 3)


def test_metainfo_and_scrape_by_http(served: Served) -> None:
    big = bencode.encode({b"x": bytes(5_000_000)})
    served.register.add(bytes(20), big)

    def talk() -> list[tuple[int, bytes]]:
        paths = (f"metainfo/{HASH.hex()}.torrent", f"metainfo/{bytes(20).hex()}.torrent", "scrape", "other")
        return [fetch(f"{served.url()}/{path}") for path in paths]

    small, large, scrape, other = served.during(talk)
    assert (small, large) == ((200, METAINFO), (200, big))
    assert scrape[0] == 200
    assert HASH in scrape[1]
    assert other[0] == 404


def test_who_isnt_planned_is_turned_away_and_named_once(served: Served) -> None:
    served.register.plan({"::1": ()})

    def talk() -> list[int]:
        strangers = [fetch(f"{served.url()}/scrape")[0] for _ in range(3)]
        return [*strangers, fetch(f"{served.url('::1')}/scrape")[0]]

    assert served.during(talk) == [403, 403, 403, 200]
    assert served.strangers == ["::ffff:127.0.0.1"]


def test_strangers_are_not_remembered_without_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "MOST_STRANGERS", 1)
    served.register.plan({})
    for host in ("127.0.0.1", "::1"):
        assert b" 403 " in said_by_hand(served, b"GET /scrape HTTP/1.1\r\n\r\n", host)
    assert len(served.strangers) == 1


def test_it_listens_at_one_address_and_port_if_told_so() -> None:
    port = free_port()
    with a_tracker("127.0.0.1", port) as served:
        assert served.tracker.port == port
        assert b" 200 OK" in said_by_hand(served, b"GET /scrape HTTP/1.1\r\n\r\n")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", port), timeout=5)
        with pytest.raises(OSError, match="in use") as caught:
            Tracker(served.loop, served.register, print, "127.0.0.1", port)
        assert caught.value.errno == errno.EADDRINUSE
        served.tracker.close()
        served.tracker = Tracker(served.loop, served.register, print, "127.0.0.1", port)
        assert fetch_status(served) == 200


def test_a_port_that_is_taken_isnt_had_for_one_kind_only() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("::", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            listening("", taken.getsockname()[1])


def fetch_status(served: Served) -> int:
    return served.during(lambda: fetch(f"{served.url()}/scrape")[0])


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"GET /scrape HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /scrape HTTP/1.1\r\nX: " + b"x" * (MOST_REQUEST - 29) + b"\r\n\r\n", b"200"),
        (b"GET /scrape HTTP/1.1\r\nX: " + b"x" * (MOST_REQUEST - 28) + b"\r\n\r\n", b"431"),
        (b"G" * 2_000_000, b"431"),
        (b"\0\r\n\r\n", b"400"),
        (b"GET /scrape HTTP/1.1\r\n\r\n" + b"more" * 1000, b"200"),
    ],
)
def test_requests_by_hand(served: Served, words: bytes, status: bytes) -> None:
    try:
        answer = said_by_hand(served, words)
    except ConnectionError:
        assert len(words) > 100_000, "only who sends without end is cut off"
        return
    assert answer.startswith(b"HTTP/1.1 %b " % status)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head


def test_a_request_may_come_in_pieces(served: Served) -> None:
    def talk() -> bytes:
        with socket.create_connection(("127.0.0.1", served.tracker.port), timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"GET /scrape HTTP/1.1\r\n\r\n":
                connection.sendall(bytes([byte]))
            return b"".join(iter(lambda: connection.recv(65536), b""))

    assert b" 200 OK" in served.during(talk)


def hung_up(connection: socket.socket) -> bool:
    """Wait until the other side has gone."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("words", [b"", b"GET /scrape HTTP/1.1\r\n"])
def test_who_says_too_little_is_left(served: Served, words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "REQUEST_S", 0.2)

    def talk() -> tuple[bool, int]:
        with socket.create_connection(("127.0.0.1", served.tracker.port), timeout=20) as slow:
            slow.sendall(words)
            return hung_up(slow), fetch(f"{served.url()}/scrape")[0]

    assert served.during(talk) == (True, 200)


def test_who_takes_no_answer_is_left(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "ANSWER_S", 0.3)
    served.register.add(bytes(20), bytes(20_000_000))

    def talk() -> int:
        with socket.create_connection(("127.0.0.1", served.tracker.port), timeout=20) as slow:
            slow.sendall(f"GET /metainfo/{bytes(20).hex()}.torrent HTTP/1.1\r\n\r\n".encode())
            wait_until(lambda: served.tracker._visits, "it has come")
            wait_until(lambda: not served.tracker._visits, "it is left")
            return sum(len(data) for data in iter(lambda: slow.recv(1 << 20), b""))

    try:
        assert served.during(talk) < 20_000_000
    except ConnectionResetError:
        pass  # as good


def test_who_comes_too_often_takes_its_own_place(served: Served) -> None:
    def talk() -> tuple[list[bool], int]:
        many = [
            socket.create_connection(("127.0.0.1", served.tracker.port), timeout=SOON_S)
            for _ in range(MOST_FROM_ONE + 2)
        ]
        other = socket.create_connection(("::1", served.tracker.port), timeout=SOON_S)
        try:
            gone = [hung_up(connection) for connection in many[:2]]
            other.sendall(b"GET /scrape HTTP/1.1\r\n\r\n")
            answered = b" 200 OK" in other.recv(65536)
            many[-1].sendall(b"GET /scrape HTTP/1.1\r\n\r\n")
            return [*gone, answered, b" 200 OK" in many[-1].recv(65536)], len(served.tracker._visits)
        finally:
            for connection in (*many, other):
                connection.close()

    said, left = served.during(talk)
    assert said == [True] * 4
    assert left <= MOST_FROM_ONE + 1


def test_when_there_are_too_many_the_first_goes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "MOST_VISITS", 2)

    def talk() -> tuple[bool, int]:
        idle = [
            socket.create_connection(("127.0.0.1", served.tracker.port), timeout=SOON_S) for _ in range(3)
        ]
        try:
            return hung_up(idle[0]), fetch(f"{served.url('::1')}/scrape")[0]
        finally:
            for connection in idle:
                connection.close()

    assert served.during(talk) == (True, 200)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """None is free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    filled: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        with suppress(OSError):
            while True:
                filled.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in filled:
            os.close(fd)


def turn(served: Served, condition: Callable[[], object]) -> None:
    """Run the loop until this is so."""

    def look() -> None:
        if condition():
            served.loop.stop()
        else:
            served.loop.at(served.loop.now() + 0.005, look)

    served.loop._stopped = False
    look()
    served.loop.run()


def test_without_descriptors_it_waits_and_goes_on(served: Served) -> None:
    """It has no visit to end."""
    with socket.socket() as waiting:
        with no_descriptors():
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", served.tracker.port))
            turn(served, lambda: served.tracker._pause >= 0)
        assert fetch_status(served) == 200


def test_without_descriptors_the_first_visit_makes_room(served: Served) -> None:
    with (
        socket.create_connection(("127.0.0.1", served.tracker.port), SOON_S) as idle,
        socket.socket() as late,
    ):
        turn(served, lambda: served.tracker._visits)
        (visit,) = served.tracker._visits
        with no_descriptors():
            late.setblocking(False)
            late.connect_ex(("127.0.0.1", served.tracker.port))
            turn(served, lambda: served.tracker._visits and visit not in served.tracker._visits)
        assert hung_up(idle)


def test_the_answers_are_of_what_bep_3_asks_for(served: Served) -> None:
    answer = served.during(lambda: announce(served.url(), 1))
    assert answer[b"interval"] == register.INTERVAL_S
    assert answer[b"peers"] == b""
