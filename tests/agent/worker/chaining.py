"""Whole chains in one loop, with real sockets and pipes, and neighbours made by hand that misbehave."""

from __future__ import annotations

import os
import select
import socket
import struct
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nile.agent.worker import segments
from nile.agent.worker.chain import Node
from nile.agent.worker.loop import Loop
from nile.agent.worker.meeting import Dial, Listener
from nile.agent.worker.reports import Event, Progress, Result
from nile.agent.worker.sealing import Tls
from nile.agent.worker.streams import File
from tests.agent.worker.copying import LONGEST_S, SECRET, a_loop

HOST = "127.0.0.1"
RING = 256 * 1024
MIB = 1024 * 1024
SIZE = 4 * MIB + 12345
TLS: Tls | None = None  # what all neighbours have: set by the tests of sealed chains


def stream(size: int) -> bytes:
    """Bytes of which no two places look alike."""
    return array("Q", range((size + 7) // 8)).tobytes()[:size]


def finished(chain: Chain) -> None:
    """Its file is complete."""
    chain.file.finish(len(chain.data))


class Reader:
    """What applies: reads a pipe, at most `piece` bytes every `every_s`, unless `paused`."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.got = bytearray()
        self.ended = False
        self.piece, self.every_s = MIB, 0.0
        self.fd, self.write_end = os.pipe()
        os.set_blocking(self.fd, False)
        loop.watch(self.fd, select.POLLIN, self._read)

    def pause(self) -> None:
        self.loop.unwatch(self.fd)

    def go_on(self) -> None:
        if self.fd >= 0 and not self.ended:
            self.loop.watch(self.fd, select.POLLIN, self._read)

    def die(self) -> None:
        """It ends without reading on."""
        if self.fd >= 0:
            self.loop.unwatch(self.fd)
            os.close(self.fd)
            self.fd = -1

    def at_end(self) -> bool:
        """Is the other end of its pipe closed? What is still in the pipe is read."""
        try:
            while data := os.read(self.fd, MIB):
                self.got += data
        except BlockingIOError:
            return False
        return True

    def _read(self, _: int) -> None:
        data = os.read(self.fd, self.piece)
        self.got += data
        self.ended = not data
        if self.ended or self.every_s:
            self.loop.unwatch(self.fd)
        if self.every_s:
            self.loop.at(self.loop.now() + self.every_s, self.go_on)


class Host:
    """A node with its reader, and all that it said."""

    def __init__(self, chain: Chain, source: File | int, applies: bool, **options: Any) -> None:
        self.loop = chain.loop
        self.reader = Reader(chain.loop) if applies else None
        self.events: list[Event] = []
        self.reports: list[Progress] = []
        self.result: Result | None = None
        self.when_told: Callable[[Event], None] | None = None
        self.when_done: Callable[[], None] | None = None
        pipe = self.reader.write_end if self.reader else -1
        self.node = Node(
            self.loop, source, pipe, self._told, self._done, self.reports.append, tls=TLS, **options
        )

    @property
    def got(self) -> bytes:
        assert self.reader is not None
        return bytes(self.reader.got)

    @property
    def pipe(self) -> Reader:
        assert self.reader is not None
        return self.reader

    def await_one(self, secret: bytes = SECRET) -> int:
        """Have it await a predecessor: the port."""
        return self.node.predecessor(HOST, secret, self.loop.now() + LONGEST_S)

    def pass_to(self, port: int, secret: bytes = SECRET) -> None:
        """Name its successor."""
        self.node.successor(HOST, port, secret, self.loop.now() + LONGEST_S)

    def said(self, kind: str) -> list[str]:
        """The codes of its events of this kind."""
        return [event.code for event in self.events if event.kind == kind]

    def event(self, kind: str, code: str) -> Event:
        """The only event of this kind and code."""
        (found,) = [event for event in self.events if (event.kind, event.code) == (kind, code)]
        return found

    def ended(self) -> Result:
        assert self.result is not None, [event.fields() for event in self.events]
        return self.result

    def _told(self, event: Event) -> None:
        assert self.result is None, "it spoke after it was done"
        self.events.append(event)
        if self.when_told is not None:
            self.when_told(event)

    def _done(self, result: Result) -> None:
        assert self.result is None, "done was called twice"
        self.result = result
        if self.when_done is not None:
            self.when_done()


class Chain:
    """A root with a file, and hosts behind it; as long as it isn't told otherwise, who breaks is skipped."""

    def __init__(self, loop: Loop, size: int, hosts: int, ring: int = RING, **options: Any) -> None:
        self.loop = loop
        self.data = stream(size)
        self._fd = os.memfd_create("stream")
        os.write(self._fd, self.data)
        self.file = File(self._fd)
        self.root = Host(self, self.file, applies=False, **options)
        self.hosts = [Host(self, ring, applies=True, **options) for _ in range(hosts)]
        self.readers = [host.pipe for host in self.hosts]

    @property
    def all(self) -> list[Host]:
        return [self.root, *self.hosts]

    def another(self, source: File | int = RING, **options: Any) -> Host:
        """One more, which belongs to nothing yet."""
        host = Host(self, source, applies=not isinstance(source, File), **options)
        if host.reader is not None:
            self.readers.append(host.reader)
        return host

    def join(self) -> None:
        """Everybody is told its successor, the root last."""
        self.hosts[-1].node.last()
        above = [self.root, *self.hosts[:-1]]
        for host, below in reversed(list(zip(above, self.hosts, strict=True))):
            host.pass_to(below.await_one())

    def skip(self, *dead: Host) -> None:
        """What a coordinator does for neighbours that died: the one above goes on with the one below."""
        i = self.all.index(dead[0])
        above = self.all[i - 1]
        self.hosts = [host for host in self.hosts if host not in dead]
        if i < len(self.all):
            above.pass_to(self.all[i].await_one(b"another"), b"another")
        else:
            above.node.last()

    def when(self, condition: Callable[[], bool], act: Callable[[], None]) -> None:
        """Call `act()` once, as soon as this is so."""

        def again() -> None:
            self.when(condition, act)

        if condition():
            act()
        else:
            self.loop.at(self.loop.now() + 0.001, again)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Run until this is so."""
        self.loop._stopped = False
        self.when(condition, self.loop.stop)
        self.loop.run()

    def wait_done(self, *hosts: Host) -> None:
        """Run until all of them are done, and what reads their pipes has read all."""
        which = hosts or tuple(self.all)

        def over() -> bool:
            readers = [host.reader for host in which if host.reader is not None]
            return all(host.result for host in which) and all(
                reader.ended or reader.fd < 0 for reader in readers
            )

        self.wait(over)

    def settle(self) -> None:
        """Run until nothing has moved for a while."""
        before: list[tuple[int, int, int, int]] = []
        still = 0

        def quiet() -> bool:
            nonlocal before, still
            now = [
                (p.received, p.applied, p.sent, p.forwarded)
                for p in (host.node.progress() for host in self.all)
            ]
            still = still + 1 if now == before else 0
            before = now
            return still > 150

        self.wait(quiet)

    def standing(self) -> list[tuple[float, float]]:
        """For how much of the next moment each one stands still: because of its applier, of its successor."""

        def now() -> list[Progress]:
            return [host.node.progress() for host in self.all]

        before, until = now(), self.loop.now() + 0.1
        self.wait(lambda: self.loop.now() >= until)
        return [
            (
                round((b.applier_s - a.applier_s) / (b.at - a.at), 2),
                round((b.successor_s - a.successor_s) / (b.at - a.at), 2),
            )
            for a, b in zip(before, now(), strict=True)
        ]

    def complete(self, *hosts: Host) -> None:
        """These have everything, and know it."""
        for host in hosts:
            result = host.ended()
            assert (result.code, result.total, result.applied) == ("", len(self.data), True), result.fields()
            assert host.got == self.data

    def close(self) -> None:
        for host in self.all:
            host.node.stop()
        for reader in self.readers:
            reader.die()
        os.close(self._fd)


def descriptors() -> set[str]:
    """What is open in this process: numbers, and of what."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found.add(f"{path.name} {path.readlink()}")
    return found


@contextmanager
def a_chain(size: int, hosts: int, ring: int = RING, **options: Any) -> Iterator[Chain]:
    """A chain of its own loop; afterwards nothing is left open and no timer goes on."""
    before = descriptors()
    with a_loop() as loop:
        watched = set(loop._ready)
        chain = Chain(loop, size, hosts, ring, **options)
        try:
            yield chain
        finally:
            chain.close()
        left = [timer for timer in loop._timers if timer[2].__name__ not in ("late", "again", "go_on")]
        assert not left, "timers of a node that is over"
        assert set(loop._ready) == watched, "somebody is still watched"
    assert descriptors() == before, "something was left open"


class Turns:
    """A loop's poll that counts how often somebody was ready."""

    def __init__(self, loop: Loop) -> None:
        self._poll = loop._poll
        self.count = 0
        loop._poll = self  # type: ignore[assignment]

    def poll(self, wait_ms: int | None) -> list[tuple[int, int]]:
        ready = self._poll.poll(wait_ms)
        self.count += len(ready)
        return ready

    def register(self, fd: int, mask: int) -> None:
        self._poll.register(fd, mask)

    def unregister(self, fd: int) -> None:
        self._poll.unregister(fd)


class ByHand:
    """A neighbour of a node, of which every byte is the test's own."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.socket: socket.socket | None = None
        self.listener: Listener | None = None
        self.got = b""
        self.hung_up = False

    def dial(self, port: int, secret: bytes = SECRET) -> ByHand:
        """Be the predecessor of who awaits one there."""
        loop = self.chain.loop
        Dial(loop, HOST, port, secret, loop.now() + LONGEST_S, self._met, TLS)
        self.chain.wait(lambda: self.socket is not None)
        return self

    def listen(self) -> int:
        """Be the successor of who is told this port."""
        loop = self.chain.loop
        self.listener = Listener(loop, HOST, SECRET, loop.now() + LONGEST_S, self._met, TLS)
        return self.listener.port

    def wait_met(self) -> None:
        self.chain.wait(lambda: self.socket is not None)

    def _met(self, connection: socket.socket | None, code: str, reason: str) -> None:
        assert connection is not None, (code, reason)
        self.socket = connection
        self.read()

    def read(self) -> None:
        """Take what comes."""
        self.chain.loop.watch(self.open.fileno(), select.POLLIN, self._ready)

    def pause(self) -> None:
        """Take no more."""
        self.chain.loop.unwatch(self.open.fileno())

    @property
    def open(self) -> socket.socket:
        assert self.socket is not None
        return self.socket

    @property
    def plain(self) -> socket.socket:
        """What the connection is made of."""
        found: socket.socket = getattr(self.open, "_socket", self.open)
        return found

    def _ready(self, _: int) -> None:
        try:
            data = self.open.recv(MIB)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.got += data
        if not data:
            self.hung_up = True
            self.pause()

    def say(self, words: bytes) -> None:
        """Send that; it fits."""
        assert self.open.send(words) == len(words)

    def says(self, size: int) -> bytes:
        """Wait for so many bytes, and take them."""
        self.chain.wait(lambda: len(self.got) >= size or self.hung_up)
        words, self.got = self.got[:size], self.got[size:]
        return words

    def greet(self, received: int, granted: int) -> None:
        """Say what a successor says."""
        self.say(segments.state(segments.STATE, received, granted))

    def reset(self) -> None:
        """As a machine does that has forgotten us."""
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
        if self.socket is not None and self.socket.fileno() >= 0:
            self.chain.loop.unwatch(self.socket.fileno())
            self.socket.close()
