"""What one host was brought is handed to another: both ends, over loopback."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from nile.agent.worker import handing
from nile.agent.worker.handing import Hand, Take
from nile.agent.worker.loop import Loop
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import SECRET, a_loop

DATA = os.urandom(3_000_000)


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = descriptors()
    with a_loop() as loop:
        yield loop
        assert len(loop._ready) == 1
        assert len(loop._timers) == 1, "but for the one that ends it all"
    assert descriptors() == before


class Both:
    """One that takes and one that hands; `taken` and `over` are what they say in the end."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.taken: tuple[bytes, str] | None = None
        self.over: str | None = None
        self.moved = 0

    def take(self, data: bytes = DATA, port: int = 0, limit: int = 0) -> Take:
        digest = hashlib.sha256(data).digest()
        return Take(self.loop, SECRET, len(data), digest, port, limit, self._moved, self._taken)

    def hand(self, port: int, data: bytes = DATA, limit: int = 0, secret: bytes = SECRET) -> Hand:
        return Hand(self.loop, data, "127.0.0.1", port, secret, limit, self._over)

    def _moved(self) -> None:
        self.moved += 1

    def _taken(self, data: bytes, reason: str) -> None:
        self.taken = (data, reason)
        self.loop.stop()

    def _over(self, reason: str) -> None:
        self.over = reason
        self.loop.stop()

    def until(self, *names: str) -> None:
        while any(getattr(self, name) is None for name in names):
            self.loop._stopped = False
            self.loop.run()


def test_all_of_it_comes(loop: Loop) -> None:
    both = Both(loop)
    both.hand(both.take().port)
    both.until("taken", "over")
    assert both.taken == (DATA, "")
    assert both.over == ""


def test_it_comes_where_it_may(loop: Loop) -> None:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    both = Both(loop)
    assert both.take(port=port).port == port
    both.hand(port)
    both.until("taken", "over")
    assert both.taken == (DATA, "")


def test_something_else_is_nothing(loop: Loop) -> None:
    both = Both(loop)
    both.hand(both.take().port, DATA[:-1] + bytes([DATA[-1] ^ 1]))
    both.until("taken", "over")
    assert both.taken is not None
    assert both.taken[1] == "what came isn't what was to come"


def test_so_is_less(loop: Loop) -> None:
    both = Both(loop)
    both.hand(both.take().port, DATA[:1000])
    both.until("taken", "over")
    assert both.taken == (DATA[:1000], "it broke off")


def test_no_more_goes_in_a_second_than_may(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing, "TELL_S", 0.2)
    both = Both(loop)
    began = loop.now()
    both.hand(both.take().port, limit=3_000_000)
    both.until("taken", "over")
    assert loop.now() - began > 0.8
    assert both.taken == (DATA, "")
    assert both.moved > 0


def test_it_has_longer_where_no_more_may_go(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing, "COME_S", 1.0)
    monkeypatch.setattr(handing, "LEAST_RATE", 100_000_000)
    both = Both(loop)
    both.hand(both.take(limit=2_000_000).port, limit=2_000_000)
    both.until("taken", "over")
    assert (both.taken, both.over) == ((DATA, ""), "")


def test_who_doesnt_know_the_secret_gets_and_gives_nothing(loop: Loop) -> None:
    both = Both(loop)
    take = both.take()
    both.hand(take.port, secret=bytes(32))
    both.until("over")
    assert both.over is not None
    assert "secret" in both.over
    both.over = None
    both.hand(take.port)
    both.until("taken", "over")
    assert both.taken == (DATA, "")


def test_nobody_comes_and_nobody_is_there(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing, "COME_S", 0.2)
    both = Both(loop)
    port = both.take().port
    both.until("taken")
    assert both.taken == (b"", "nobody came in time")
    both.hand(port)
    both.until("over")
    assert both.over == "Connection refused"


@pytest.mark.parametrize("who", ["take", "hand"])
def test_one_that_is_closed_says_nothing_more(loop: Loop, who: str) -> None:
    both = Both(loop)
    ends: dict[str, Any] = {"take": both.take()}
    ends["hand"] = both.hand(ends["take"].port, limit=1_000_000)
    loop.at(loop.now() + 0.2, ends[who].close)
    other = {"take": "over", "hand": "taken"}[who]
    both.until(other)
    assert getattr(both, other) not in ("", (DATA, ""))
    assert getattr(both, {"take": "taken", "hand": "over"}[who]) is None
