"""The root's ends of channels, over nodes whose far ends are the real ones, in the same event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.carry import Carrier
from nile.agent.channel import WINDOW, pack_opened
from nile.agent.wire import CHUNK, Frame, WireError
from nile.bootstrap import carrier_code
from nile.controller import Engine, tunnels
from nile.controller.tunnels import Tunnels, _Watch
from nile.events import Code
from nile.transport.base import LoginFailed
from tests.controller.puppet import RELAY, Puppet, PuppetTransport, engine, run

GATEWAY, LEAF, OTHER = 1, 2, 3
WITHIN_S = 10.0


class Node(_Watch):
    """What a carrier needs of its agent."""

    branches = None

    def __init__(self, node_id: int, up: Callable[[Frame], None]) -> None:
        super().__init__()
        self.core = type("Core", (), {"id": node_id, "epoch": 1})
        self._up = up
        self.carrier = Carrier(self)  # type: ignore[arg-type]

    def up(self, frame: Frame, sent: Callable[[], None] | None = None) -> None:
        if sent is not None:
            sent()
        self._up(frame)


class Tree:
    """Two nodes below a gateway. Frames take their turn in the event loop."""

    def __init__(self) -> None:
        self.routes = {GATEWAY: (GATEWAY,), LEAF: (GATEWAY, LEAF), OTHER: (GATEWAY, OTHER)}
        self.sent: list[tuple[int, int, bytes]] = []
        self.ended = 0
        self.tunnels = Tunnels(self._send, self.routes.__getitem__, carrier_code, self._one_less)
        self.nodes = {number: Node(number, self._up) for number in self.routes}
        self.deaf = False
        """Nodes hear nothing."""

    def _one_less(self) -> None:
        self.ended += 1

    def _send(self, node_id: int, kind: int, body: bytes, sent: Callable[[], None] | None) -> None:
        self.sent.append((node_id, kind, body))
        loop = asyncio.get_running_loop()
        if sent is not None:
            loop.call_soon(sent)
        if not self.deaf:
            loop.call_soon(self.nodes[node_id].carrier.frame, Frame(kind, 0, 0, (), body))

    def _up(self, frame: Frame) -> None:
        asyncio.get_running_loop().call_soon(self.tunnels.frame, frame)

    def kinds(self) -> list[int]:
        return [kind for _, kind, _ in self.sent]

    def number(self) -> int:
        """Of the channel that was opened last."""
        opened = [body for _, kind, body in self.sent if kind == wire.OPEN]
        return int(wire.loads(opened[-1])["channel"])

    def tell(self, kind: int, body: Any, origin: int) -> None:
        """The root got a frame."""
        self.tunnels.look(Frame(kind, origin, 1, (), wire.dumps(body)))

    def say(self, kind: int, rest: bytes = b"", origin: int = LEAF) -> None:
        """A node says something of the last channel."""
        self.tunnels.frame(Frame(kind, origin, 1, (), struct.pack("!I", self.number()) + rest))


@pytest.fixture
async def tree() -> AsyncIterator[Tree]:
    """In the end every channel has said that it is over."""
    made = Tree()
    yield made
    made.tunnels.close()
    for node in made.nodes.values():
        node.carrier.close()
    assert not made.tunnels.relays()
    assert made.ended == made.kinds().count(wire.OPEN)


class Server:
    """A port that reads to the end, and then answers."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.ended = asyncio.Event()
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        writer.write(b"hello")
        try:
            self.heard.append(await reader.read())
            writer.write(b"heard %d" % len(self.heard[-1]))
        except ConnectionError:
            pass
        self.ended.set()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as listening:
        made.port = listening.sockets[0].getsockname()[1]
        yield made
        for writer in made.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await turns()


async def received(connection: socket.socket, size: int = -1) -> bytes:
    """So many bytes, or all until the end."""
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(WITHIN_S):
        while len(data) != size and (piece := await loop.sock_recv(connection, 65536)):
            data += piece
    return data


async def connect(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


async def turns(count: int = 20) -> None:
    """Let everything happen that can."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["open", "listen"])
async def test_both_directions_flow_and_end_in_their_own_time(tree: Tree, server: Server, how: str) -> None:
    if how == "open":
        connection = await tree.tunnels.open(LEAF, "127.0.0.1", server.port)
    else:
        connection = await connect(tree.tunnels.listen(LEAF, server.port))
    with connection:
        assert await received(connection, 5) == b"hello"
        async with asyncio.timeout(WITHIN_S):
            await asyncio.get_running_loop().sock_sendall(connection, bytes(10 * WINDOW))
        connection.shutdown(socket.SHUT_WR)
        assert await received(connection) == b"heard %d" % (10 * WINDOW)
    assert server.heard == [bytes(10 * WINDOW)]
    await turns()
    assert not tree.tunnels.relays()
    assert wire.CLOSE not in tree.kinds()


async def test_a_listener_serves_one_connection(tree: Tree, server: Server) -> None:
    port = tree.tunnels.listen(LEAF, server.port)
    with await connect(port) as connection:
        assert await received(connection, 5) == b"hello"
        with pytest.raises(ConnectionRefusedError):
            await connect(port)


async def test_small_pieces_are_sent_at_once(tree: Tree, server: Server) -> None:
    """With Nagle's algorithm those who ask and answer would wait 40 ms for each other."""
    with await connect(tree.tunnels.listen(LEAF, server.port)) as connection:
        assert await received(connection, 5) == b"hello"
        (far,) = tree.nodes[LEAF].carrier._bridges.values()
        (channel,) = tree.tunnels._channels.values()
        assert channel.bridge is not None
        for bridge in (far, channel.bridge):
            assert bridge._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_listener_waits_no_longer_than_that(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnels, "LISTEN_S", 0.05)
    port = tree.tunnels.listen(LEAF, 1)
    async with asyncio.timeout(WITHIN_S):
        while tree.tunnels._listeners:  # noqa: ASYNC110  (to connect would use it up)
            await asyncio.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        await connect(port)


async def test_a_node_that_never_answers_a_listener_is_given_up(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels, "LISTEN_S", 0.05)
    tree.deaf = True
    with await connect(tree.tunnels.listen(LEAF, 1)) as connection:
        assert await received(connection) == b""
    assert tree.kinds() == [wire.OPEN, wire.CLOSE]


async def test_what_cant_be_reached_says_why(tree: Tree) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LoginFailed) as failed:
        await tree.tunnels.open(LEAF, "127.0.0.1", port)
    assert failed.value.code is Code.REFUSED
    with await connect(tree.tunnels.listen(LEAF, port)) as connection:
        assert await received(connection) == b""


async def test_a_reader_that_doesnt_read_gets_no_more_than_a_window(tree: Tree, server: Server) -> None:
    """Nor does it hold up another channel."""
    tree.deaf = True
    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(tree.tunnels.open(LEAF, "127.0.0.1", 1))
        await turns()
        tree.say(wire.OPENED, pack_opened(0, "", "")[4:])
    with opening.result():
        sent = 0
        while tree.tunnels.relays() and sent < 20 << 20:
            tree.say(wire.CARRY, bytes(CHUNK))
            sent += CHUNK
        assert sent < 20 << 20, "nothing bounds it"
        assert tree.kinds()[-1] == wire.CLOSE


async def test_only_its_node_speaks_for_a_channel(tree: Tree, server: Server) -> None:
    with await tree.tunnels.open(LEAF, "127.0.0.1", server.port) as connection:
        assert await received(connection, 5) == b"hello"
        for kind in (wire.CARRY, wire.CLOSE, wire.OPENED, wire.GRANT):
            tree.say(kind, b"forged", origin=OTHER)
        await turns()
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        with pytest.raises(WireError):
            tree.tunnels.frame(Frame(wire.CARRY, LEAF, 1, (), b"abc"))


async def test_who_waits_no_longer_leaves_nothing_open(tree: Tree, server: Server) -> None:
    tree.deaf = True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await tree.tunnels.open(LEAF, "127.0.0.1", server.port)
    assert tree.kinds() == [wire.OPEN, wire.CLOSE]
    assert not tree.tunnels.relays()


class TestLinksThatEnd:
    @pytest.mark.parametrize(
        ("kind", "body", "origin"),
        [
            (wire.LOST, {"child": LEAF}, GATEWAY),
            (wire.LOST, {"child": GATEWAY}, 0),
            (wire.FORGET, {"children": [GATEWAY]}, 0),
        ],
        ids=["the last one", "the root's own", "given up by the root"],
    )
    async def test_the_connection_ends_at_once(
        self, tree: Tree, server: Server, kind: int, body: Any, origin: int
    ) -> None:
        with await tree.tunnels.open(LEAF, "127.0.0.1", server.port) as connection:
            assert await received(connection, 5) == b"hello"
            tree.tell(kind, body, origin)
            assert await received(connection) == b""
        assert not tree.tunnels.relays()

    async def test_who_waits_for_it_hears_of_it(self, tree: Tree) -> None:
        tree.deaf = True
        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(_failure(tree.tunnels.open(LEAF, "127.0.0.1", 1)))
            await turns()
            tree.tell(wire.LOST, {"child": LEAF}, GATEWAY)
        assert "a link on the way" in opening.result().reason

    @pytest.mark.parametrize(
        ("kind", "body", "origin"),
        [
            (wire.LOST, {"child": LEAF}, OTHER),
            (wire.LOST, {"child": OTHER}, GATEWAY),
            (wire.LOST, {"child": GATEWAY}, LEAF),
            (wire.LOST, [], GATEWAY),
            (wire.LOST, {}, GATEWAY),
            (wire.LOST, {"child": [LEAF]}, GATEWAY),
            (wire.STATE, None, LEAF),
            (wire.STATE, None, 99),
        ],
    )
    async def test_what_others_say_ends_nothing(
        self, tree: Tree, server: Server, kind: int, body: Any, origin: int
    ) -> None:
        """A relay can tell of its own links only."""
        with await tree.tunnels.open(LEAF, "127.0.0.1", server.port) as connection:
            tree.tell(kind, body, origin)
            assert await received(connection, 5) == b"hello"
            connection.shutdown(socket.SHUT_WR)
            assert await received(connection) == b"heard 0"

    async def test_a_node_that_moved_is_told_what_is_over(self, tree: Tree, server: Server) -> None:
        """Nodes below a link that broke may not have noticed, and still hold their connections."""
        with await tree.tunnels.open(LEAF, "127.0.0.1", server.port) as connection:
            tree.tell(wire.LOST, {"child": GATEWAY}, 0)
            await turns()
            assert not server.ended.is_set()
            tree.tell(wire.STATE, None, OTHER)
            assert wire.CLOSE not in tree.kinds()
            tree.tell(wire.STATE, None, GATEWAY)
            assert tree.kinds().count(wire.CLOSE) == 1
            async with asyncio.timeout(WITHIN_S):
                await server.ended.wait()
            tree.tell(wire.STATE, None, GATEWAY)
            assert tree.kinds().count(wire.CLOSE) == 1
            assert await received(connection) in (b"", b"hello")

    async def test_another_way_to_it_is_another_link(self, tree: Tree, server: Server) -> None:
        with await tree.tunnels.open(LEAF, "127.0.0.1", server.port) as connection:
            assert await received(connection, 5) == b"hello"
            tree.routes[LEAF] = (OTHER, LEAF)
            tree.tell(wire.STATE, None, LEAF)
            assert await received(connection) == b""
            async with asyncio.timeout(WITHIN_S):
                await server.ended.wait()


def test_a_run_tells_its_channels_of_links_that_are_lost() -> None:
    """Whoever waits for one to open doesn't wait for the end of the run."""
    made: list[Engine] = []
    dialled: list[Future[socket.socket]] = []

    def relay(puppet: Puppet, frame: Frame) -> None:
        if frame.type == wire.PLAN:
            dialled.append(made[0].dial(RELAY, "127.0.0.1", 1))
        elif frame.type == wire.OPEN:
            asyncio.get_running_loop().call_soon(puppet.close)

    made.append(engine(PuppetTransport(relay)))
    run(made[0])
    failure = dialled[0].exception(WITHIN_S)
    assert isinstance(failure, LoginFailed)
    assert "a link on the way" in failure.reason


def test_a_run_tells_its_channels_of_links_that_it_gives_up() -> None:
    seen: list[Frame] = []
    made = engine(PuppetTransport(lambda puppet, frame: None))
    parts: dict[str, Any] = {
        "_branches": SimpleNamespace(frame=lambda frame: None),
        "_tunnels": SimpleNamespace(look=seen.append),
    }
    vars(made).update(parts)
    forget = Frame(wire.FORGET, body=wire.dumps({"children": [RELAY], "below": [], "stays": []}))
    made._send(forget)
    made._loop.close()
    assert seen == [forget]


async def _failure(waiting: Any) -> LoginFailed:
    with pytest.raises(LoginFailed) as failed:
        await waiting
    return failed.value
