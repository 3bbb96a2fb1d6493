"""A relay's own channels: from a port on its loopback to one on its child's, over the link that is there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nile.agent import wire
from nile.agent.channel import OWN, WINDOW, pack_opened
from nile.agent.handshake import Bundle
from nile.agent.link import BULK_WINDOW
from nile.agent.reach import WAIT_S, Reach
from nile.agent.relay import Relay
from nile.agent.wire import CHUNK, Frame
from nile.bootstrap import reach_code
from tests.agent.parent import DEADLINE_S, PYTHONS, Parent, alive, host_environment, wait_until
from tests.agent.test_carry import received, server
from tests.agent.test_relay_limits import Stub
from tests.support.local import FAKE_SSH
from tests.support.plans import children, plan_body

CHILD, OTHER = 2, 3


def reach_frame(port: int, number: int = 1, child: int = CHILD) -> Frame:
    body = {"number": number, "child": child, "port": port, "code": reach_code()}
    return Frame(wire.REACH, 0, 1, (), wire.dumps(body))


class Relayed:
    """A real relay with a child, h2, by a shell in place of ssh."""

    def __init__(self, parent: Parent, **how: Any) -> None:
        self.parent = parent
        parent.start("exec sleep 600", children=children(1), **how)
        parent.wait(lambda: any(f.type == wire.HELLO and f.origin == CHILD for f in parent.frames), "h2")

    def answer(self, number: int = 1) -> dict[str, Any]:
        """What it said to that REACH."""

        def said() -> list[dict[str, Any]]:
            bodies = [frame.fields() for frame in self.parent.frames if frame.type == wire.REACHED]
            return [body for body in bodies if body["number"] == number]

        self.parent.wait(lambda: bool(said()), "an answer")
        return said()[0]

    def port(self, port: int, number: int = 1) -> int:
        """A port that leads to that one at the child's."""
        self.parent.send(reach_frame(port, number))
        answer = self.answer(number)
        assert set(answer) == {"number", "port"}
        return int(answer["port"])

    def connect(self, port: int, number: int = 1) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port(port, number)), DEADLINE_S)

    def end(self) -> None:
        """The child first: nobody waits for it then."""
        self.parent.send(Frame(wire.END, 0, 1, (CHILD,), wire.dumps({})))


@contextlib.contextmanager
def relayed(directory: Path, python: Path | None = None, **how: Any) -> Iterator[Relayed]:
    environment = host_environment(directory, python)
    ssh = directory / "bin" / "ssh"
    ssh.parent.mkdir(exist_ok=True)
    ssh.write_text(FAKE_SSH)
    ssh.chmod(0o755)
    environment["PATH"] = f"{ssh.parent}:{environment['PATH']}"
    with Parent(environment, relay=True) as parent:
        made = Relayed(parent, **how)
        yield made
        if not parent.ended:
            made.end()


Greeted = list[bytes]


def greeting(heard: Greeted) -> Callable[[socket.socket], None]:
    """Says hello, and remembers what it read once it has read the end."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        heard.append(received(connection))

    return serve


def digest(connection: socket.socket) -> None:
    """Answers what it read, once it has read the end."""
    connection.sendall(hashlib.sha256(received(connection)).digest() + bytes(1_000_000))


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parents[1].name)
def test_what_connects_here_is_connected_there(python: Path, tmp_path: Path) -> None:
    """Nothing goes by the root, and each direction ends in its own time."""
    data = secrets.token_bytes(1_000_000)
    with server(digest) as port, relayed(tmp_path, python) as relay:
        with relay.connect(port) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert received(connection) == hashlib.sha256(data).digest() + bytes(1_000_000)
        kinds = {frame.type for frame in relay.parent.frames}
        assert not kinds & {wire.CARRY, wire.OPENED, wire.GRANT, wire.CLOSE}


def test_several_at_a_time_share_the_link(tmp_path: Path) -> None:
    with server(lambda it: it.sendall(received(it))) as port, relayed(tmp_path) as relay:
        first, second = relay.connect(port, 1), relay.connect(port, 2)
        with first, second:
            first.sendall(b"1" * 200_000)  # the server has them one after another
            second.sendall(b"2" * 200_000)
            for connection, word in ((first, b"1"), (second, b"2")):
                connection.shutdown(socket.SHUT_WR)
                assert received(connection) == word * 200_000


def test_a_listener_serves_one_connection(tmp_path: Path) -> None:
    with server(digest) as port, relayed(tmp_path) as relay:
        local = relay.port(port)
        with socket.create_connection(("127.0.0.1", local)) as connection:
            connection.shutdown(socket.SHUT_WR)
            assert len(received(connection)) == 1_000_032
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", local))


def test_a_port_that_nobody_listens_on_is_closed_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with relayed(tmp_path) as relay, relay.connect(port) as connection:
        assert received(connection) == b""


@pytest.mark.parametrize("child", [OTHER, 0, 1])
def test_only_a_child_with_a_link_can_be_reached(child: int, tmp_path: Path) -> None:
    with relayed(tmp_path) as relay:
        relay.parent.send(reach_frame(22, 1, child))
        assert relay.answer()["code"] == "link"


def moved(relay: Relayed) -> None:
    """Another node is to have the child: the relay hangs up."""
    body = {"children": [CHILD], "below": [], "stays": []}
    relay.parent.send(Frame(wire.FORGET, 0, 1, (), wire.dumps(body)))


def died(relay: Relayed) -> None:
    """The child's agent is killed; the relay sees the end of its login."""
    hello = next(f for f in relay.parent.frames if f.type == wire.HELLO and f.origin == CHILD)
    os.kill(hello.fields()["pid"], signal.SIGKILL)


@pytest.mark.parametrize("breaks", [moved, died])
def test_both_ends_see_that_the_link_is_over(breaks: Callable[[Relayed], None], tmp_path: Path) -> None:
    heard: list[bytes] = []
    with server(greeting(heard)) as port, relayed(tmp_path) as relay:
        unused = relay.port(port, 2)
        with relay.connect(port) as connection:
            assert connection.recv(5) == b"hello"
            breaks(relay)
            relay.parent.wait(lambda: bool(heard), "the end there", 5.0)
            assert received(connection) == b""
        assert not _listens(unused)


def test_data_flows_on_while_the_relay_waits_to_be_adopted(tmp_path: Path) -> None:
    """But nobody was told of a listener that nobody has connected to by then, perhaps."""
    data, heard = secrets.token_bytes(1_000_000), Greeted()
    with server(greeting(heard)) as port, relayed(tmp_path, orphan="adopt", lease=60.0) as relay:
        agent = relay.parent.agent_pid
        unused = relay.port(port, 2)
        with relay.connect(port) as connection:
            assert connection.recv(5) == b"hello"
            relay.parent.hang_up()
            wait_until(lambda: not _listens(unused), "the listener's end")
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert received(connection) == b""
        wait_until(lambda: heard, "the end there")
        assert heard == [data]
        assert alive(agent)
        os.kill(agent, signal.SIGTERM)
        relay.parent.wait_closed()


def _listens(port: int) -> bool:
    """Asks the kernel: to connect would be to use it up."""
    word = f"0100007F:{port:04X} 00000000:0000 0A"
    return word in Path("/proc/net/tcp").read_text()


def test_channels_end_with_the_lease(tmp_path: Path) -> None:
    heard: list[bytes] = []
    with (
        server(greeting(heard)) as port,
        relayed(tmp_path, orphan="adopt", lease=1.0, grace=0.2) as relay,
        relay.connect(port) as connection,
    ):
        assert connection.recv(5) == b"hello"
        relay.parent.hang_up()
        assert received(connection) == b""
        wait_until(lambda: heard, "the end there")
        relay.parent.wait_closed()


# What a child may send: the relay core decides for whom it is.


def upward(kind: int, number: int, origin: int = CHILD, rest: bytes = b"") -> bytes:
    return Frame(kind, origin, 1, (), struct.pack("!I", number) + rest).encode()


def core() -> Relay:
    """A relay's core with two children that are up; the first has node 9 below it."""
    shared = plan_body(parallel=4)["shared"]
    made = Relay((1, 1), shared, Bundle([("nile", b"pass\n")], [], "00"), lambda: 0.5, lambda: "nonce")
    first, second = children(2)
    made.adopt([{**first, "below": [9]}, second], 0.0)
    for child in (CHILD, OTHER):
        made.data(child, b"\nnonce py 00 3.11.2\n", 1.0)
        made.data(child, Frame(wire.HELLO, body=wire.dumps({})).encode(), 1.0)
    return made


@pytest.mark.parametrize("kind", [wire.OPENED, wire.CARRY, wire.GRANT, wire.CLOSE])
class TestForWhom:
    def test_a_channel_of_the_relays_own_is_for_it_alone(self, kind: int) -> None:
        made = core()
        made.channels[OWN + 1] = CHILD
        effects = made.data(CHILD, upward(kind, OWN + 1), 2.0)
        assert [effect[0] for effect in effects if effect[0] != "flush"] == ["reached"]

    @pytest.mark.parametrize(
        ("child", "origin", "number"),
        [(OTHER, OTHER, OWN + 1), (CHILD, 9, OWN + 1), (CHILD, CHILD, OWN + 2), (CHILD, CHILD, 2**32 - 1)],
        ids=["a sibling", "a grandchild", "of none", "of none at all"],
    )
    def test_from_others_it_is_dropped(self, kind: int, child: int, origin: int, number: int) -> None:
        made = core()
        made.channels[OWN + 1] = CHILD
        effects = made.data(child, upward(kind, number, origin), 2.0)
        assert [effect for effect in effects if effect[0] != "flush"] == []

    def test_a_channel_of_the_roots_is_passed_on(self, kind: int) -> None:
        made = core()
        made.channels[1] = CHILD
        effects = made.data(CHILD, upward(kind, 1, 9), 2.0)
        assert [effect[0] for effect in effects] == ["pass"]


@pytest.mark.parametrize("number", [OWN + 1, OWN + 2], ids=["ours", "nobody's"])
def test_what_comes_by_a_channel_takes_no_room_of_the_link(number: int) -> None:
    """Whether anybody reads it or not."""
    made = core()
    made.channels[OWN + 1] = CHILD
    for _ in range(4 * BULK_WINDOW // CHUNK):
        effects = made.data(CHILD, upward(wire.CARRY, number, CHILD, bytes(CHUNK)), 2.0)
        assert ("hangup", CHILD) not in effects


# What it does with that: nothing but with the one connection.


class Loop:
    """An agent whose descriptors are polled by the test, and whose time it makes."""

    def __init__(self) -> None:
        self.time = 0.0
        self.frames: list[Frame] = []
        self.core = type("Core", (), {"id": 1, "epoch": 1})
        self.handlers: dict[int, tuple[int, Callable[[int], None]]] = {}

    def now(self) -> float:
        return self.time

    def up(self, frame: Frame, sent: object = None) -> None:
        self.frames.append(frame)

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        self.handlers[fd] = mask, handler

    def unwatch(self, fd: int) -> None:
        self.handlers.pop(fd, None)

    def turn(self) -> None:
        """Call who is ready."""
        poll = select.poll()
        for fd, (mask, _) in self.handlers.items():
            poll.register(fd, mask)
        for fd, events in poll.poll(0):
            if fd in self.handlers:
                self.handlers[fd][1](events)


class Reaching:
    """The near end of a channel, over a relay's core; the test plays the child."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.relay = core()
        self.reach = Reach(self.loop, self.relay, self._perform)  # type: ignore[arg-type]
        self.reach.listen({"number": 5, "child": CHILD, "port": 80, "code": reach_code()})
        (answer,) = self.loop.frames
        self.port = answer.fields()["port"]
        self.said: list[Frame] = []

    def _perform(self, effects: Any) -> None:
        assert {effect[:2] for effect in effects} <= {("flush", CHILD)}

    def hear(self) -> list[Frame]:
        """What the child is sent."""
        link = self.relay.children[CHILD].link
        assert link is not None
        data = b""
        while link.pending():
            data += link.pull(self.loop.time)
        frames = wire.Decoder(wire.MAX_FRAME_DOWN).feed(data)
        return [frame for frame in frames if frame.type >= wire.OPEN]

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.setblocking(False)
        self.loop.turn()
        return connection

    def say(self, kind: int, rest: bytes) -> None:
        """As the child."""
        for effect in self.relay.data(CHILD, upward(kind, OWN + 1, CHILD, rest), self.loop.time):
            if effect[0] == "reached":
                self.reach.frame(effect[1])

    def close(self) -> None:
        self.reach.lost(CHILD)
        assert not self.loop.handlers
        assert not self.relay.channels


@pytest.fixture
def reaching() -> Iterator[Reaching]:
    made = Reaching()
    yield made
    made.close()


OPENED = pack_opened(0, "", "")[4:]


class TestDeadlines:
    def test_a_listener_waits_no_longer_than_that(self, reaching: Reaching) -> None:
        reaching.reach.tick(WAIT_S - 0.1)
        assert _listens(reaching.port)
        reaching.reach.tick(WAIT_S)
        assert not _listens(reaching.port)
        assert not reaching.loop.handlers

    def test_a_child_that_never_answers_is_given_up(self, reaching: Reaching) -> None:
        reaching.loop.time = 10.0
        with reaching.connect() as connection:
            assert [frame.type for frame in reaching.hear()] == [wire.OPEN]
            reaching.reach.tick(10.0 + WAIT_S - 0.1)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
            reaching.reach.tick(10.0 + WAIT_S)
            assert connection.recv(1) == b""
            assert [frame.type for frame in reaching.hear()] == [wire.CLOSE]
            reaching.say(wire.OPENED, OPENED)  # too late
            assert reaching.hear() == []

    def test_what_is_connected_stays(self, reaching: Reaching) -> None:
        with reaching.connect() as connection:
            reaching.say(wire.OPENED, OPENED)
            reaching.reach.tick(1000.0)
            reaching.say(wire.CARRY, b"hello")
            assert connection.recv(10) == b"hello"
            (bridge,) = reaching.reach._bridges.values()
            assert bridge._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_relay_looks_at_the_clock_for_them() -> None:
    from nile.agent import logins

    relay, ticks = Stub(), list[float]()
    branches = logins.Branches(relay, plan_body(asked=False))  # type: ignore[arg-type]
    try:
        branches._reach = SimpleNamespace(tick=ticks.append)  # type: ignore[assignment]
        branches.tick(5.0)
        assert ticks == [5.0]
    finally:
        branches.leave()
        for directory in relay.owned:
            Path(directory).rmdir()


class TestHostileChild:
    def test_nothing_is_read_or_written_before_it_says_that_it_is_connected(self, reaching: Reaching) -> None:
        with reaching.connect() as connection:
            connection.send(b"secret")
            reaching.say(wire.CARRY, b"early")
            reaching.say(wire.GRANT, struct.pack("!Q", WINDOW))
            reaching.loop.turn()
            assert [frame.type for frame in reaching.hear()] == [wire.OPEN]
            with pytest.raises(BlockingIOError):
                connection.recv(1)

    def test_more_than_was_granted_ends_the_channel(self, reaching: Reaching) -> None:
        """Its reader reads nothing; no more than a window waits for it, besides what the kernel holds."""
        with reaching.connect():
            reaching.say(wire.OPENED, OPENED)
            for _ in range((20 << 20) // CHUNK):
                reaching.say(wire.CARRY, bytes(CHUNK))
                if not reaching.relay.channels:
                    break
            assert not reaching.relay.channels
            assert wire.CLOSE in {frame.type for frame in reaching.hear()}

    def test_grants_without_end_make_nothing_pile_up(self, reaching: Reaching) -> None:
        """It takes nothing off its link."""
        with reaching.connect() as connection:
            reaching.say(wire.OPENED, OPENED)
            for _ in range(100):
                with contextlib.suppress(BlockingIOError):
                    connection.send(bytes(WINDOW))
                reaching.say(wire.GRANT, struct.pack("!Q", WINDOW))
                reaching.loop.turn()
            carried = [frame for frame in reaching.hear() if frame.type == wire.CARRY]
            assert sum(len(frame.body) for frame in carried) <= WINDOW
            reaching.say(wire.GRANT, struct.pack("!Q", 1 << 60))
            assert not reaching.relay.channels


frames = st.tuples(
    st.sampled_from([wire.OPENED, wire.CARRY, wire.GRANT, wire.CLOSE]),
    st.one_of(
        st.just(OPENED),
        st.binary(max_size=12),
        st.integers(0, 2**64 - 1).map(lambda offset: struct.pack("!Q", offset)),
        st.integers(0, 2 * WINDOW).map(lambda offset: struct.pack("!Q", offset)),
        st.integers(0, 2 * CHUNK).map(bytes),
    ),
)


@given(st.lists(frames, max_size=30), st.booleans())
def test_whatever_a_child_says_concerns_its_one_connection(said: list[Any], polite: bool) -> None:
    """Nothing raises, nothing goes up, and what waits here is bounded; in the end nothing is open."""
    reaching = Reaching()
    with reaching.connect() as connection:
        if polite:
            reaching.say(wire.OPENED, OPENED)
        for kind, rest in said:
            reaching.say(kind, rest)
            with contextlib.suppress(OSError):
                connection.send(bytes(CHUNK))
            reaching.loop.turn()
            for bridge in reaching.reach._bridges.values():
                assert len(bridge._out) <= WINDOW
        kinds = {frame.type for frame in reaching.hear()}
        assert kinds <= {wire.OPEN, wire.CARRY, wire.GRANT, wire.CLOSE}
    assert [frame.type for frame in reaching.loop.frames] == [wire.REACHED]
    reaching.close()


def test_it_listens_on_loopback_only(reaching: Reaching) -> None:
    assert _listens(reaching.port)
    assert f"00000000:{reaching.port:04X}" not in Path("/proc/net/tcp").read_text()
