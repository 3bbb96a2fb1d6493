"""The far end of channels, at a real leaf: its parent has a connection there, over the one link."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.channel import WINDOW, Channel, number_of, unpack_opened
from nile.agent.wire import Frame
from nile.bootstrap import carrier_code
from tests.agent.parent import DEADLINE_S, PYTHONS, Parent, alive, host_environment, wait_until

Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def server(serve: Serve) -> Iterator[int]:
    """A port on loopback; `serve(connection)` has each connection, one after another."""
    errors: list[BaseException] = []

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                connection, _ = listener.accept()
                connection.settimeout(DEADLINE_S)
                with connection:
                    try:
                        serve(connection)
                    except BaseException as error:  # raised again below
                        errors.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)
    for error in errors:
        raise error


def received(connection: socket.socket) -> bytes:
    """All until its end."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


class Near:
    """A channel's near end, played by a test over a parent's link."""

    def __init__(self, parent: Parent, port: int, number: int = 1, address: str = "127.0.0.1") -> None:
        self.channel = Channel(number)
        self.data = b""
        self.closed = False
        self.opened: tuple[str, str] | None = None
        self._parent = parent
        self._seen = 0
        body = {"channel": number, "address": address, "port": port, "code": carrier_code()}
        parent.send(Frame(wire.OPEN, 0, 1, (), wire.dumps(body)))

    def poll(self, take: bool = True) -> None:
        """Look at what came; without `take`, grant nothing for it."""
        for frame in self._parent.frames[self._seen :]:
            if frame.type in (wire.OPENED, wire.CARRY, wire.GRANT, wire.CLOSE):
                assert frame.origin == 1
                if number_of(frame.body) == self.channel.number:
                    self._frame(frame, take)
        self._seen = len(self._parent.frames)

    def _frame(self, frame: Frame, take: bool) -> None:
        if frame.type == wire.OPENED:
            self.opened = unpack_opened(frame.body)
        elif frame.type == wire.GRANT:
            self.channel.grant(frame.body)
        elif frame.type == wire.CLOSE:
            self.closed = True
            self.channel.close()
        else:
            piece = self.channel.receive(frame.body)
            self.data += piece
            told = self.channel.took(len(piece)) if take else None
            if told is not None:
                self.say(wire.GRANT, told)

    def say(self, kind: int, body: bytes) -> None:
        self._parent.send(Frame(kind, 0, 1, (), body))

    def wait(self, condition: Callable[[], object], what: str, take: bool = True) -> None:
        """Read until then."""

        def holds() -> bool:
            self.poll(take)
            return bool(condition())

        self._parent.wait(holds, what)

    def wait_open(self, take: bool = True) -> Near:
        self.wait(lambda: self.opened is not None, "an answer", take)
        assert self.opened == ("", "")
        return self

    def give(self, data: bytes, take: bool = True) -> None:
        """All of it, as there is room."""
        while data:
            self.wait(self.channel.room, "room", take)
            piece, data = data[: self.channel.room()], data[self.channel.room() :]
            self.say(wire.CARRY, self.channel.give(piece))
            self.channel.left(len(piece))

    def end(self) -> None:
        self.say(wire.CARRY, self.channel.give(b""))


@pytest.fixture
def leaf(tmp_path: Path) -> Iterator[Parent]:
    """A leaf that has a command and no children."""
    with Parent(host_environment(tmp_path)) as parent:
        parent.start("sleep 600")
        yield parent


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parents[1].name)
def test_both_directions_flow_and_end_in_their_own_time(python: Path, tmp_path: Path) -> None:
    """It answers what it read only once it has read the end."""

    def digest(connection: socket.socket) -> None:
        connection.sendall(hashlib.sha256(received(connection)).digest() + bytes(1_000_000))

    data = secrets.token_bytes(1_000_000)
    with server(digest) as port, Parent(host_environment(tmp_path, python)) as parent:
        parent.start("sleep 600")
        near = Near(parent, port).wait_open()
        near.give(data)
        near.end()
        near.wait(lambda: not near.channel.takes, "its end")
        assert near.data == hashlib.sha256(data).digest() + bytes(1_000_000)
        assert not near.closed


def test_the_other_end_may_end_first(leaf: Parent) -> None:
    heard: list[bytes] = []

    def greet(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        heard.append(received(connection))

    with server(greet) as port:
        near = Near(leaf, port).wait_open()
        near.wait(lambda: not near.channel.takes, "its end")
        assert near.data == b"hello"
        near.give(bytes(3 * WINDOW))
        near.end()
        leaf.wait(lambda: bool(heard), "the bytes and their end")
    assert heard == [bytes(3 * WINDOW)]


def test_what_cant_be_reached_says_why(leaf: Parent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    near = Near(leaf, port)
    near.wait(lambda: near.opened, "an answer")
    named = Near(leaf, port, 2, "localhost")
    named.wait(lambda: named.opened, "an answer")
    assert near.opened is not None
    assert named.opened is not None
    assert (near.opened[0], named.opened[0]) == ("refused", "name")


def test_a_reader_that_doesnt_read_holds_up_nobody_else(tmp_path: Path) -> None:
    """Neither other channels nor standard input, though all of the link's window waits for it."""
    go = threading.Event()
    got: dict[int, bytes] = {}

    def serve(connection: socket.socket) -> None:
        go.wait(DEADLINE_S)
        got[len(got)] = received(connection)

    with (
        server(serve) as slow,
        server(lambda it: it.sendall(received(it))) as quick,
        Parent(host_environment(tmp_path)) as parent,
    ):
        parent.start("cat", stdin=True)
        stuck, sent = Near(parent, slow).wait_open(), 0
        while stuck.channel.room() and sent < 20 << 20:  # what the kernel's buffers hold, and a window
            stuck.give(bytes(wire.CHUNK))
            sent += wire.CHUNK
            parent.read(0.02)
            stuck.poll()
        assert sent < 20 << 20, "nothing bounds it"
        other = Near(parent, quick, 4).wait_open()
        other.give(b"x" * 1_000_000)
        other.end()
        other.wait(lambda: not other.channel.takes, "what it sent")
        assert other.data == b"x" * 1_000_000
        parent.send(Frame(wire.STDIN, body=b"typed\n"))
        parent.wait(lambda: parent.output() == b"typed\n", "what was typed")
        go.set()
        stuck.end()
        stuck.wait(lambda: not stuck.channel.takes, "its end")
    assert got[0] == bytes(sent)


def test_what_isnt_taken_here_holds_up_no_output(tmp_path: Path) -> None:
    """The far end gives no more than was granted, and the link goes on."""

    def much(connection: socket.socket) -> None:
        connection.sendall(bytes(1 << 20))
        received(connection)

    with (
        server(much) as port,
        Parent(host_environment(tmp_path)) as parent,
    ):
        parent.start("until [ -e go ]; do sleep 0.02; done; head -c 150000 /dev/zero")
        near = Near(parent, port).wait_open(take=False)
        near.wait(lambda: len(near.data) == WINDOW, "a window full", take=False)
        (tmp_path / "go").touch()
        parent.wait(lambda: len(parent.output()) == 150_000, "all output")
        near.poll(take=False)
        assert len(near.data) == WINDOW
        told = near.channel.took(WINDOW)
        assert told is not None
        near.say(wire.GRANT, told)
        near.wait(lambda: len(near.data) == 1 << 20, "the rest")
        near.end()
        near.wait(lambda: not near.channel.takes, "its end")


def test_last_words_of_one_that_reads_no_more_come_through(leaf: Parent) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"no room left")

    with server(refuse) as port:
        near = Near(leaf, port).wait_open()
        near.give(bytes(100_000))
        near.wait(lambda: near.closed or not near.channel.takes, "its end")
        assert near.data == b"no room left"


def test_a_parent_that_sends_more_than_was_granted_ends_the_channel_only(leaf: Parent) -> None:
    ended = threading.Event()

    def stuck(connection: socket.socket) -> None:
        ended.wait(DEADLINE_S)

    with server(stuck) as port:
        near = Near(leaf, port).wait_open()
        for _ in range(400):
            near.say(wire.CARRY, near.channel.head + bytes(wire.CHUNK))
        leaf.wait(lambda: any(frame.type == wire.CLOSE for frame in leaf.frames), "its end")
        ended.set()
        again = Near(leaf, port, 2).wait_open()
        again.say(wire.CLOSE, again.channel.close())


@pytest.mark.parametrize("orphan", ["adopt", "kill"])
def test_channels_end_with_the_link_at_once(orphan: str, tmp_path: Path) -> None:
    """Also at a node that lives on and waits to be adopted."""
    ended: list[bytes] = []
    with server(lambda it: ended.append(received(it))) as port, Parent(host_environment(tmp_path)) as parent:
        parent.start("exec sleep 600", orphan=orphan, lease=60.0)
        near = Near(parent, port).wait_open()
        near.give(b"said before")
        near.wait(lambda: True, "nothing")
        agent = parent.agent_pid
        parent.hang_up()
        wait_until(lambda: ended, "the end of the connection", 5.0)
        assert ended == [b"said before"]
        if orphan == "adopt":
            assert alive(agent)
            os.kill(agent, 15)
        parent.wait_closed()


def test_close_ends_the_connection_behind_what_was_sent(leaf: Parent) -> None:
    got: list[bytes] = []
    with server(lambda it: got.append(received(it))) as port:
        near = Near(leaf, port).wait_open()
        near.give(b"y" * 200_000)
        near.say(wire.CLOSE, near.channel.close())
        leaf.wait(lambda: bool(got), "the end of the connection")
    assert got == [b"y" * 200_000]


def test_a_number_that_is_used_anew_is_another_connection(leaf: Parent) -> None:
    """A root before this one may have left it."""
    ends: list[bytes] = []
    with server(lambda it: ends.append(received(it))) as port:
        Near(leaf, port).wait_open().give(b"old")
        again = Near(leaf, port)
        leaf.wait(lambda: ends == [b"old"], "the end of the old one")
        again.wait(lambda: again.opened, "the new one")
        again.end()
        leaf.wait(lambda: ends == [b"old", b""], "the end of the new one")


def test_what_is_for_somebody_below_isnt_opened_here(leaf: Parent) -> None:
    """Whoever it was for may have left."""
    with server(lambda it: None) as port:
        body = {"channel": 1, "address": "127.0.0.1", "port": port, "code": carrier_code()}
        leaf.send(Frame(wire.OPEN, 0, 1, (9,), wire.dumps(body)))
        near = Near(leaf, port, 2)
        near.wait(lambda: not near.channel.takes, "the end of one that is for it")
        assert [number_of(f.body) for f in leaf.frames if f.type == wire.OPENED] == [2]


def test_it_carries_nothing_upward_by_itself(leaf: Parent) -> None:
    """Of a channel that wasn't opened nothing is said, whatever is sent."""
    near = Near(leaf, 1, 5)
    near.wait(lambda: near.opened, "an answer")
    bodies: list[Any] = [near.channel.head + b"x", near.channel.head]
    for kind in (wire.CARRY, wire.GRANT, wire.CLOSE):
        for body in bodies:
            leaf.send(Frame(kind, 0, 1, (), body))
    other = Near(leaf, 1, 6)
    other.wait(lambda: other.opened, "an answer")
    assert [frame for frame in leaf.frames if frame.type in (wire.CARRY, wire.GRANT, wire.CLOSE)] == []
