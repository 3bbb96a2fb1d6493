"""Two workers find each other on loopback, and no stranger is taken for either."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from nile.agent.worker import meeting
from nile.agent.worker.lookup import EVERYWHERE
from nile.agent.worker.loop import Loop
from nile.agent.worker.meeting import MOST_PENDING, NONCE, Dial, Introduction, Listener
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import LONGEST_S, SECRET, a_loop

OTHER = bytes(32)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


class Ends:
    """What came of a meeting: who said (connection, code, reason); the loop stops after so many."""

    def __init__(self, loop: Loop, many: int = 1) -> None:
        self.loop = loop
        self.many = many
        self.said: dict[str, tuple[socket.socket | None, str, str]] = {}

    def __call__(self, who: str) -> Callable[[socket.socket | None, str, str], None]:
        def met(connection: socket.socket | None, code: str, reason: str) -> None:
            assert who not in self.said, "met was called twice"
            self.said[who] = (connection, code, reason)
            if len(self.said) == self.many:
                self.loop.stop()

        return met

    def code(self, who: str) -> str:
        return self.said[who][1]

    def connection(self, who: str) -> socket.socket:
        found = self.said[who][0]
        assert found is not None, self.said
        return found

    def close(self) -> None:
        for connection, _, _ in self.said.values():
            if connection is not None:
                connection.close()


def deadline(loop: Loop, seconds: float = LONGEST_S) -> float:
    return loop.now() + seconds


def knock(port: int, words: bytes = b"") -> socket.socket:
    """A stranger who says that."""
    stranger = socket.create_connection(("127.0.0.1", port))
    stranger.sendall(words)
    return stranger


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("address", "name"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "localhost")]
)
def test_two_who_know_the_secret_meet(loop: Loop, address: str, name: str) -> None:
    ends = Ends(loop, 2)
    listener = Listener(loop, address, SECRET, deadline(loop), ends("listener"))
    Dial(loop, name, listener.port, SECRET, deadline(loop), ends("dialler"))
    loop.run()
    one, other = ends.connection("listener"), ends.connection("dialler")
    assert (ends.code("listener"), ends.code("dialler")) == ("", "")
    for end in (one, other):
        assert not end.getblocking()
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == meeting.DEAD_S * 1000
    assert one.getpeername() == other.getsockname()
    if address != "::1":
        assert not listening(listener.port), "the port is closed"
    ends.close()


def test_what_is_said_after_the_meeting_isnt_read_by_it(loop: Loop) -> None:
    """Each may speak as soon as it has met; the listener's words come right behind its proof."""
    ends = Ends(loop, 2)

    def speaking(who: str) -> Callable[[socket.socket | None, str, str], None]:
        def met(connection: socket.socket | None, code: str, reason: str) -> None:
            assert connection is not None
            connection.send(who.encode())
            ends(who)(connection, code, reason)

        return met

    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop), speaking("listener"))
    Dial(loop, "127.0.0.1", listener.port, SECRET, deadline(loop), speaking("dialler"))
    loop.run()
    for who, other in (("listener", "dialler"), ("dialler", "listener")):
        ends.connection(who).settimeout(5)
        assert ends.connection(who).recv(100) == other.encode()
    ends.close()


def test_who_doesnt_know_the_secret_isnt_met_and_holds_nobody_up(loop: Loop) -> None:
    ends = Ends(loop, 1)
    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop), ends("listener"))
    Dial(loop, "127.0.0.1", listener.port, OTHER, deadline(loop), ends("stranger"))
    loop.run()
    assert ends.code("stranger") == "secret"
    assert "listener" not in ends.said
    loop._stopped = False
    ends.many = 3
    Dial(loop, "127.0.0.1", listener.port, SECRET, deadline(loop), ends("dialler"))
    loop.run()
    assert (ends.code("listener"), ends.code("dialler")) == ("", "")
    ends.close()


def answer(server: socket.socket, talk: Callable[[socket.socket], object]) -> Thread:
    """Accept one, beside the loop, and talk."""

    def one() -> None:
        connection, _ = server.accept()
        with connection:
            talk(connection)

    thread = Thread(target=one, daemon=True)
    thread.start()
    return thread


def reading(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += connection.recv(size - len(found)) or b"\0" * size
    return found


def mirror(connection: socket.socket) -> None:
    """Say everything back."""
    connection.sendall(reading(connection, NONCE))
    connection.sendall(reading(connection, NONCE))
    connection.recv(1)


def liar(connection: socket.socket) -> None:
    """Take any proof, and give none."""
    connection.sendall(bytes(NONCE))
    reading(connection, 2 * NONCE)
    connection.sendall(bytes(NONCE))
    connection.recv(1)


@pytest.mark.parametrize(
    ("talk", "code"),
    [
        (mirror, "secret"),
        (liar, "secret"),
        (lambda connection: connection.close(), "dropped"),
        (lambda connection: connection.recv(1), "dropped"),
    ],
)
def test_a_dialler_isnt_taken_in(loop: Loop, talk: Callable[[socket.socket], object], code: str) -> None:
    ends = Ends(loop)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = answer(server, talk)
        Dial(loop, "127.0.0.1", server.getsockname()[1], SECRET, deadline(loop), ends("dialler"))
        loop.run()
        ends.close()
        thread.join(10)
    assert ends.code("dialler") == code


def test_strangers_who_say_nothing_or_nonsense_dont_keep_the_right_one_out(loop: Loop) -> None:
    ends = Ends(loop, 2)
    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop), ends("listener"))
    words = [b"", b"GET / HTTP/1.0\r\n\r\n", bytes(2 * NONCE), bytes(1000), bytes(NONCE)]
    strangers = [knock(listener.port, words[at % len(words)]) for at in range(3 * MOST_PENDING)]
    began = loop.now()
    Dial(loop, "127.0.0.1", listener.port, SECRET, deadline(loop), ends("dialler"))
    loop.run()
    assert (ends.code("listener"), ends.code("dialler")) == ("", "")
    assert loop.now() - began < meeting.PATIENCE_S, "nobody was waited for"
    for stranger in strangers:
        stranger.close()
    ends.close()


def test_so_many_strangers_are_kept_and_no_more(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PATIENCE_S", LONGEST_S)
    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop), lambda *_: None)
    strangers = [knock(listener.port) for _ in range(MOST_PENDING + 2)]

    def look() -> None:
        if len(listener._pending) == MOST_PENDING and gone(strangers[1]):
            loop.stop()
        else:
            loop.at(loop.now() + 0.01, look)

    look()
    loop.run()
    assert [gone(stranger) for stranger in strangers] == [True, True] + [False] * MOST_PENDING
    listener.close()
    assert not listening(listener.port)
    for stranger in strangers:
        stranger.close()


def gone(stranger: socket.socket) -> bool:
    """Did the other side hang up on it?"""
    stranger.setblocking(False)
    try:
        return stranger.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_stranger_who_says_nothing_is_hung_up_on(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PATIENCE_S", 0.05)
    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop), lambda *_: None)
    stranger = knock(listener.port, b"half a nonce")

    def look() -> None:
        if gone(stranger):
            loop.stop()
        else:
            loop.at(loop.now() + 0.01, look)

    look()
    loop.run()
    assert listener._pending == {}
    listener.close()
    stranger.close()


def test_what_was_heard_of_another_meeting_is_worth_nothing() -> None:
    """A proof is of both nonces, of the role, and of the secret."""
    proofs = set()
    for secret, mine, theirs in (
        (SECRET, b"a", b"b"),
        (SECRET, b"b", b"a"),
        (SECRET, b"c", b"b"),
        (OTHER, b"a", b"b"),
    ):
        for role in ("dialler", "listener"):
            side = Introduction(secret, role, mine * NONCE)
            side.feed(theirs * NONCE)
            proofs |= {side._proof("dialler"), side._proof("listener")}
    # Two nonces are two meetings, by who said which; the proof of a role is the same at both ends.
    assert len(proofs) == 12


def test_an_introduction_byte_by_byte() -> None:
    dialler, listener = (
        Introduction(SECRET, "dialler", b"d" * NONCE),
        Introduction(SECRET, "listener", b"l" * NONCE),
    )
    said = [(listener, dialler.begin()), (dialler, listener.begin())]
    while said:
        side, words = said.pop(0)
        other = dialler if side is listener else listener
        for at in range(len(words)):
            assert side.wanted > 0
            assert not side.proven
            heard = side.feed(words[at : at + 1])
            said += [(other, heard)] if heard else []
    assert dialler.proven
    assert listener.proven
    assert not dialler.failed
    assert not listener.failed


def test_nobody_comes(loop: Loop) -> None:
    ends = Ends(loop)
    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop, 0.05), ends("listener"))
    with knock(listener.port):
        loop.run()
    assert ends.code("listener") == "timeout"
    assert not listening(listener.port)


def test_nobody_listens(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ends = Ends(loop)
    Dial(loop, "127.0.0.1", port, SECRET, deadline(loop), ends("dialler"))
    loop.run()
    assert ends.code("dialler") == "refused"
    assert "refused" in ends.said["dialler"][2]


def test_nobody_answers(loop: Loop) -> None:
    ends = Ends(loop)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:
        Dial(loop, "127.0.0.1", server.getsockname()[1], SECRET, deadline(loop, 0.1), ends("dialler"))
        loop.run()
    assert ends.code("dialler") == "timeout"
    assert 0.1 <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("224.0.0.1", "no-route"),
        ("no-such-host.invalid", "name"),
        ("", "name"),
        ("a" * 300, "name"),
        ("-x", "name"),
    ],
)
def test_there_is_no_way_there(loop: Loop, address: str, code: str) -> None:
    ends = Ends(loop)
    Dial(loop, address, 9, SECRET, deadline(loop), ends("dialler"))
    loop.run()
    assert ends.code("dialler") == code
    assert ends.said["dialler"][2]


def test_all_addresses_of_a_name_are_tried(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One refuses, one never answers, one is another's; the last is right."""
    ends = Ends(loop, 2)
    silent = socket.create_server(("127.0.0.1", 0))
    wrong = Listener(loop, "127.0.0.1", OTHER, deadline(loop), ends("wrong"))
    right = Listener(loop, "127.0.0.1", SECRET, deadline(loop), ends("listener"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()
    ports = [("127.0.0.1", wrong.port), ("127.0.0.1", right.port)]
    places: list[Any] = [(socket.AF_INET, place) for place in [closed, silent.getsockname(), *ports]]

    class Found:
        def __init__(self, loop: Loop, name: str, port: int, found: Callable[[Any, str], None]) -> None:
            loop.at(loop.now(), lambda: found(places, ""))

        def close(self) -> None:
            pass

    monkeypatch.setattr(meeting, "LookUp", Found)
    Dial(loop, "name", 1, SECRET, deadline(loop, 3), ends("dialler"))
    loop.run()
    assert (ends.code("listener"), ends.code("dialler")) == ("", "")
    wrong.close()
    silent.close()
    ends.close()


def test_what_is_given_up_says_nothing(loop: Loop) -> None:
    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop, 0.01), lambda *_: pytest.fail("it spoke"))
    for name in ("127.0.0.1", "localhost"):
        Dial(
            loop, name, listener.port, SECRET, deadline(loop, 0.01), lambda *_: pytest.fail("it spoke")
        ).close()
    listener.close()
    listener.close()
    loop.at(loop.now() + 0.05, loop.stop)
    loop.run()


def test_no_descriptor_is_left() -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with a_loop() as loop:
        ends = Ends(loop, 3)
        listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop), ends("listener"))
        strangers = [knock(listener.port, bytes(NONCE)) for _ in range(3)]
        Dial(loop, "no-such-host.invalid", 9, SECRET, deadline(loop), ends("lost"))
        Dial(loop, "localhost", listener.port, SECRET, deadline(loop), ends("dialler"))
        loop.run()
        ends.close()
        for stranger in strangers:
            stranger.close()
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_listens_everywhere_is_found_by_both_families(loop: Loop, address: str) -> None:
    ends = Ends(loop, 2)
    listener = Listener(loop, EVERYWHERE, SECRET, deadline(loop), ends("listener"))
    Dial(loop, address, listener.port, SECRET, deadline(loop), ends("dialler"))
    loop.run()
    assert (ends.code("listener"), ends.code("dialler")) == ("", "")
    ends.close()


@pytest.mark.parametrize("lacks", ["family", "address"])
def test_where_there_is_no_ipv6_everywhere_is_without_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    class Older(socket.socket):
        """What a kernel without IPv6 gives, or one that has it switched off."""

        def __init__(self, family: int = -1, *rest: Any) -> None:
            if family == socket.AF_INET6 and lacks == "family":
                raise OSError(errno.EAFNOSUPPORT, "not here")
            super().__init__(family, *rest)

        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "not here")
            super().bind(address)

    before = descriptors()
    monkeypatch.setattr(socket, "socket", Older)
    listener = Listener(loop, EVERYWHERE, SECRET, deadline(loop), lambda *_: None)
    monkeypatch.undo()
    knock(listener.port).close()
    listener.close()
    assert descriptors() == before


def test_who_has_no_descriptor_left_does_not_spin(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends(loop, 2)
    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop), ends("listener"))
    real, calls = listener._socket, 0

    class Full:
        """A listening socket of a process that has too many."""

        def accept(self) -> object:
            nonlocal calls
            calls += 1
            if calls < 4:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return real.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    monkeypatch.setattr(listener, "_socket", Full())
    monkeypatch.setattr(meeting, "PAUSE_S", 0.1)
    began = loop.now()
    Dial(loop, "127.0.0.1", listener.port, SECRET, deadline(loop), ends("dialler"))
    loop.run()
    assert (ends.code("listener"), ends.code("dialler"), calls) == ("", "", 4)
    assert loop.now() - began >= 0.3
    ends.close()


def test_who_has_no_descriptor_left_can_be_closed(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(loop, "127.0.0.1", SECRET, deadline(loop), lambda *_: None)
    timers = len(loop._timers)
    caller = knock(listener.port)

    def full() -> None:
        raise OSError(errno.ENFILE, "full")

    monkeypatch.setattr(
        listener,
        "_socket",
        SimpleNamespace(accept=full, fileno=listener._socket.fileno, close=listener._socket.close),
    )
    listener._accept(0)
    assert (len(loop._timers), len(loop._ready)) == (timers + 1, 1)
    listener.close()
    assert len(loop._timers) == timers - 1
    caller.close()
