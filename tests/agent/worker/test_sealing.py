"""Two workers meet through TLS: only with the run's identity, and nobody else reads what they say."""

from __future__ import annotations

import _socket
import marshal
import os
import select
import socket
import ssl
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import nile.agent
from nile.agent.worker import meeting, sealing, segments, upstream
from nile.agent.worker.loop import Loop
from nile.agent.worker.meeting import MOST_PENDING, NONCE, Dial, Listener
from nile.agent.worker.sealing import RECORD, Sealed, Tls
from nile.bootstrap.identity import make_identity
from tests.agent.parent import PYTHONS
from tests.agent.worker import chaining
from tests.agent.worker.chaining import HOST, MIB, SIZE, ByHand, Turns, a_chain, descriptors, finished
from tests.agent.worker.copying import LONGEST_S, SECRET, a_loop

IDENTITY = make_identity()
OURS = Tls(IDENTITY)
OTHERS = Tls(make_identity())


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


class Meeting:
    """A listener, and who comes there; `said` is (connection, code, reason) by who."""

    def __init__(self, loop: Loop, tls: Tls | None, address: str = HOST) -> None:
        self.loop = loop
        self.said: dict[str, tuple[Any, str, str]] = {}
        self.met: Callable[[str, Any], None] = lambda who, connection: None
        self.listener = Listener(loop, address, SECRET, self._deadline(), self._says("listener"), tls)

    def _deadline(self) -> float:
        return self.loop.now() + LONGEST_S

    def _says(self, who: str) -> Callable[[Any, str, str], None]:
        def says(connection: Any, code: str, reason: str) -> None:
            assert who not in self.said, "met was called twice"
            self.said[who] = (connection, code, reason)
            if connection is not None:
                self.met(who, connection)

        return says

    def dial(self, who: str, tls: Tls | None, secret: bytes = SECRET, name: str = HOST) -> str:
        """Come there: the code."""
        Dial(self.loop, name, self.listener.port, secret, self._deadline(), self._says(who), tls)
        self.wait(lambda: who in self.said)
        return self.said[who][1]

    def wait(self, condition: Callable[[], bool]) -> None:
        wait(self.loop, condition)

    def both(self) -> tuple[Sealed, Sealed]:
        """Both ends of a meeting that came about."""
        self.wait(lambda: "listener" in self.said)
        assert self.said["listener"][1] == "", self.said
        return self.said["listener"][0], self.said["dialler"][0]

    def close(self) -> None:
        self.listener.close()
        for connection, _, _ in self.said.values():
            if connection is not None:
                connection.close()


def wait(loop: Loop, condition: Callable[[], bool]) -> None:
    """Run until this is so."""

    def look() -> None:
        if condition():
            loop.stop()
        else:
            loop.at(loop.now() + 0.002, look)

    loop._stopped = False
    look()
    loop.run()


@contextmanager
def a_meeting(tls: Tls | None = OURS, address: str = HOST) -> Iterator[Meeting]:
    """A meeting of its own loop, which leaves nothing open."""
    before = descriptors()
    with a_loop() as loop:
        watched = set(loop._ready)
        found = Meeting(loop, tls, address)
        try:
            yield found
        finally:
            found.close()
        assert set(loop._ready) == watched
    assert descriptors() == before


def test_two_of_one_run_meet() -> None:
    with a_meeting() as meets:
        assert meets.dial("dialler", OURS) == ""
        one, other = meets.both()
        assert (one.version(), other.version()) == ("TLSv1.3", "TLSv1.3")
        assert not one.getblocking()
        assert not other.getblocking()
        assert one.send(b"down") == other.send(b"up\0\0") == 4
        meets.wait(lambda: readable(one) and readable(other))
        assert (one.recv(100), other.recv(100)) == (b"up\0\0", b"down")


def of_version(highest: ssl.TLSVersion, identity: bytes = IDENTITY) -> Tls:
    """As where OpenSSL is older."""
    found = Tls(identity)
    for context in (found._client, found._server):
        context.maximum_version = highest
    return found


def test_one_with_an_older_tls_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    old = of_version(ssl.TLSVersion.TLSv1_2)
    with a_meeting() as meets:
        assert meets.dial("dialler", old) == ""
        one, _ = meets.both()
        assert one.version() == "TLSv1.2"
        assert one._tls.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    with a_meeting() as meets:
        stranger = of_version(ssl.TLSVersion.TLSv1_2, make_identity())
        assert meets.dial("stranger", stranger) == "tls"
    monkeypatch.setattr(chaining, "TLS", old)
    with a_chain(SIZE, 2) as chain:
        chain.join()
        finished(chain)
        chain.wait_done()
        chain.complete(*chain.hosts)


def readable(connection: Sealed) -> bool:
    return bool(select.select([connection], [], [], 0)[0]) or connection.pending() > 0


@pytest.mark.parametrize(("address", "name"), [("::1", "::1"), (HOST, "localhost")])
def test_a_name_or_another_family_makes_no_difference(address: str, name: str) -> None:
    with a_meeting(OURS, address) as meets:
        assert meets.dial("dialler", OURS, name=name) == ""
        meets.both()


def test_what_is_said_at_once_is_not_lost() -> None:
    with a_meeting() as meets:
        meets.met = lambda who, connection: connection.send(who.encode())
        meets.dial("dialler", OURS)
        one, other = meets.both()
        meets.wait(lambda: readable(one) and readable(other))
        assert (one.recv(100), other.recv(100)) == (b"dialler", b"listener")


@pytest.mark.parametrize(
    ("tls", "secret", "codes"),
    [
        # TLS 1.3 tells who dials that it was refused only after it thought that it was done.
        pytest.param(OTHERS, SECRET, {"tls"}, id="another identity"),
        pytest.param(None, SECRET, {"dropped", "secret"}, id="in the clear"),
        pytest.param(OURS, bytes(32), {"secret"}, id="another secret"),
    ],
)
def test_who_is_not_the_right_one_is_not_met_and_the_right_one_is(
    tls: Tls | None, secret: bytes, codes: set[str]
) -> None:
    with a_meeting() as meets:
        assert meets.dial("stranger", tls, secret) in codes
        assert meets.said["stranger"][2]
        assert "listener" not in meets.said
        assert meets.dial("dialler", OURS) == ""
        meets.both()


def test_who_knows_of_no_tls_is_not_spoken_to() -> None:
    with a_meeting(None) as meets:
        assert meets.dial("stranger", OURS) == "tls"
        assert meets.said["stranger"][2] == "wrong version number"
        assert meets.dial("dialler", None) == ""
        meets.both()


def test_a_refusal_says_why() -> None:
    with a_meeting(OTHERS) as meets:
        assert meets.dial("stranger", OURS) == "tls"
        assert meets.said["stranger"][2] == "it has another run's identity"


HELLO = bytes.fromhex("1603010200010001fc0303")  # how a client begins


@pytest.mark.parametrize("words", [b"", HELLO, b"GET / HTTP/1.0\r\n\r\n", bytes(1000), bytes(NONCE)])
def test_strangers_hold_nobody_up(words: bytes) -> None:
    with a_meeting() as meets:
        strangers = []
        for _ in range(MOST_PENDING + 3):
            strangers.append(socket.create_connection((HOST, meets.listener.port)))
            strangers[-1].sendall(words)
        began = meets.loop.now()
        assert meets.dial("dialler", OURS) == ""
        meets.both()
        assert meets.loop.now() - began < meeting.PATIENCE_S
        for stranger in strangers:
            stranger.close()


@pytest.mark.parametrize("words", [b"", HELLO])
def test_a_stranger_who_says_no_more_is_hung_up_on(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "PATIENCE_S", 0.1)
    with a_meeting() as meets, socket.create_connection((HOST, meets.listener.port)) as stranger:
        turns = Turns(meets.loop)
        stranger.sendall(words)
        meets.wait(lambda: len(meets.listener._pending) == 1)
        meets.wait(lambda: not meets.listener._pending)
        stranger.settimeout(5)
        assert stranger.recv(100) == b""
        assert turns.count < 10, "it was waited for asleep"


class Unlucky(Tls):
    """To which the next connection is broken before anything is said."""

    lucky = False

    def client(self, connection: _socket.socket) -> Sealed:
        return super().client(self._look_at(connection))

    def server(self, connection: _socket.socket) -> Sealed:
        return super().server(self._look_at(connection))

    def _look_at(self, connection: _socket.socket) -> _socket.socket:
        if not self.lucky:
            self.lucky = True
            connection.close()
        return connection


def test_a_connection_that_is_broken_at_once_is_no_harm() -> None:
    with a_meeting(Unlucky(IDENTITY)) as meets:
        assert meets.dial("lost", OURS) == "dropped"
        unlucky = Unlucky(IDENTITY)
        assert meets.dial("lost too", unlucky) == "tls"
        assert meets.said["lost too"][2]
        assert meets.dial("dialler", unlucky) == ""
        meets.both()


def test_one_who_hangs_up_at_once_is_no_harm() -> None:
    with a_meeting() as meets:
        for words in (b"", b"x" * 100):
            with socket.create_connection((HOST, meets.listener.port)) as stranger:
                stranger.sendall(words)
        assert meets.dial("dialler", OURS) == ""
        meets.both()


# What goes over the wire


class Wire:
    """Passes on what both sides say, and keeps it; or changes a byte of it."""

    def __init__(self, port: int, spoil_at: int = -1) -> None:
        self.kept = bytearray()
        self.spoil_at = spoil_at
        self.server = socket.create_server((HOST, 0))
        self.port: int = self.server.getsockname()[1]
        self.threads = [Thread(target=self._serve, args=(port,), daemon=True)]
        self.threads[0].start()

    def _serve(self, port: int) -> None:
        above, _ = self.server.accept()
        below = socket.create_connection((HOST, port))
        back = Thread(target=self._pass, args=(below, above), daemon=True)
        back.start()
        self._pass(above, below)
        back.join()
        above.close()
        below.close()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := bytearray(source.recv(65536)):
                at = self.spoil_at - len(self.kept)
                if 0 <= at < len(data):
                    data[at] ^= 1
                self.kept += data
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self) -> None:
        self.threads[0].join(10)
        assert not self.threads[0].is_alive()
        self.server.close()


@pytest.mark.parametrize("tls", [None, OURS], ids=["in the clear", "sealed"])
def test_a_stream_is_not_seen_on_the_wire(tls: Tls | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaining, "TLS", tls)
    with a_chain(MIB, 1) as chain:
        (host,) = chain.hosts
        host.node.last()
        wire = Wire(host.await_one())
        chain.root.pass_to(wire.port)
        finished(chain)
        chain.wait_done()
        chain.complete(host)
        wire.close()
        seen = [chain.data[at : at + 64] in wire.kept for at in range(0, MIB, 9973)]
        assert any(seen) == all(seen) == (tls is None)


def test_a_byte_that_was_changed_on_the_wire_breaks_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaining, "TLS", OURS)
    with a_chain(SIZE, 1) as chain:
        (host,) = chain.hosts
        host.node.last()
        wire = Wire(host.await_one(), spoil_at=MIB)
        chain.root.pass_to(wire.port)
        finished(chain)
        chain.wait(lambda: "broken" in host.said("predecessor"))
        assert "mac" in host.event("predecessor", "broken").reason
        assert chain.data.startswith(host.got), "nothing of it was taken"
        chain.wait(lambda: "broken" in chain.root.said("successor"))
        wire.close()
        chain.root.pass_to(host.await_one())
        chain.wait_done()
        chain.complete(host)


def test_a_chain_with_another_identity_in_it_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaining, "TLS", OURS)
    with a_chain(1000, 1) as chain:
        monkeypatch.setattr(chaining, "TLS", OTHERS)
        stranger = chain.another()
        chain.root.pass_to(stranger.await_one())
        chain.wait(lambda: chain.root.said("successor") == ["tls"])
        stranger.node.stop()


# What TLS does otherwise than a socket


@contextmanager
def a_pair() -> Iterator[tuple[Sealed, Sealed]]:
    with a_meeting() as meets:
        meets.dial("dialler", OURS)
        yield meets.both()


def receive(connection: Sealed, size: int) -> bytes:
    """As many bytes, of a peer that sends them."""
    found = bytearray(size)
    view, at = memoryview(found), 0
    while at < size:
        try:
            came = connection.recv_into(view[at:])
        except BlockingIOError:
            return bytes(found[:at])
        assert came
        at += came
    return bytes(found)


def test_what_does_not_fit_is_sent_in_part_and_goes_on_from_there() -> None:
    data = chaining.stream(20 * MIB)
    with a_pair() as (one, other):
        sent, got = 0, b""
        blocked = 0
        while len(got) < len(data):
            try:
                while sent < len(data):
                    sent += one.send(data[sent : sent + MIB])
            except BlockingIOError:
                blocked += 1
                assert one.wants == select.POLLOUT
            got += receive(other, sent - len(got))
        assert got == data
        assert blocked
        with pytest.raises(BlockingIOError):
            other.recv(1)
        assert other.wants == select.POLLIN


def test_what_was_read_with_more_is_pending() -> None:
    with a_pair() as (one, other):
        one.send(b"x" * RECORD)
        select.select([other], [], [], 5)
        assert other.recv(4) == b"xxxx"
        assert (other.pending(), sealing.pending(other)) == (RECORD - 4,) * 2
        assert select.select([other], [], [], 0)[0] == [], "poll doesn't know of it"
        assert receive(other, RECORD) == b"x" * (RECORD - 4)
        assert other.pending() == 0


def test_a_node_goes_on_with_what_is_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word, and what follows it, in one record."""
    monkeypatch.setattr(chaining, "TLS", OURS)
    with a_chain(SIZE, 1) as chain:
        (host,) = chain.hosts
        host.node.last()
        above = ByHand(chain).dial(host.await_one())
        above.says(17)
        words = segments.word(segments.FROM, 0)
        for at in range(0, 1000, 10):
            words += segments.segment(10) + chain.data[at : at + 10]
        above.say(words)
        chain.wait(lambda: host.node.progress().received == 1000)
        above.close()


def test_a_successor_that_says_two_words_in_one_record_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaining, "TLS", OURS)
    with a_chain(SIZE, 0) as chain:
        below = ByHand(chain)
        chain.root.pass_to(below.listen())
        below.wait_met()
        state = segments.state
        below.say(b"".join(state(segments.STATE, 0, granted) for granted in range(1000, 1900)))
        chain.file.limit(SIZE)
        chain.wait(lambda: chain.root.node.progress().sent == 1899)
        below.close()


class Turned:
    """A TLS connection that must write before it says what it has read already, once."""

    def __init__(self, found: Any) -> None:
        self.found = found
        self.kept = b""
        self.turned = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.found, name)

    def read(self, size: int, *into: memoryview) -> Any:
        if into:
            return self.found.read(size, *into)
        if not self.turned:
            self.kept = self.found.read(size)
            self.turned = True
            raise ssl.SSLWantWriteError
        kept, self.kept = self.kept, b""
        return kept or bytes(self.found.read(size))


def test_what_has_to_write_before_it_is_read_is_polled_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL may have taken the last bytes from the kernel already: no other event would come."""
    monkeypatch.setattr(chaining, "TLS", OURS)
    with a_chain(1000, 1) as chain:
        (host,) = chain.hosts
        host.node.last()
        chain.root.pass_to(host.await_one())
        chain.wait(lambda: chain.root.said("successor") == host.said("predecessor") == [""])
        ends: list[Any] = [host.node._upstream, chain.root.node._downstream]
        masks: dict[int, list[int]] = {end._socket.fileno(): [] for end in ends}
        watch = chain.loop.watch

        def watching(fd: int, mask: int, handler: Callable[[int], None]) -> None:
            if fd in masks:
                masks[fd].append(mask)
            watch(fd, mask, handler)

        monkeypatch.setattr(chain.loop, "watch", watching)
        for end in ends:
            end._socket._tls = Turned(end._socket._tls)
        chain.file.limit(500)
        chain.wait(lambda: chain.root.node.progress().forwarded == 500)
        assert all(end._socket._tls.turned for end in ends)
        both = select.POLLIN | select.POLLOUT
        assert all(seen[-2:] == [both, select.POLLIN] for seen in masks.values()), "and no longer than that"
        finished(chain)
        chain.wait_done()
        chain.complete(host)


def test_a_node_that_stops_while_something_is_pending_reads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_chain(1000, 1) as chain:
        (host,) = chain.hosts
        host.node.last()
        chain.root.pass_to(host.await_one())
        chain.wait(lambda: host.said("predecessor") == [""])
        monkeypatch.setattr(upstream, "pending", lambda connection: 1)
        end: Any = host.node._upstream
        end._watch()
        assert end._wake >= 0
        host.node.stop()


def test_after_an_error_it_is_of_no_more_use() -> None:
    with a_pair() as (one, other):
        one._socket.send(b"nonsense, and long enough to be a record's head")
        select.select([other], [], [], 5)
        for _ in range(2):
            with pytest.raises(OSError, match="wrong version number") as caught:
                other.recv(100)
            assert caught.value.errno == sealing.REFUSED
        with pytest.raises(OSError, match="wrong version number"):
            other.send(b"x")


def test_an_end_without_a_word_is_an_end() -> None:
    with a_pair() as (one, other):
        one.shutdown(socket.SHUT_RDWR)
        select.select([other], [], [], 5)
        assert other.recv(10) == b""
        assert other.recv_into(memoryview(bytearray(10))) == 0


# The identity


def test_an_identity_is_valid_whatever_a_host_takes_for_today() -> None:
    certificate = x509.load_pem_x509_certificate(IDENTITY[IDENTITY.index(b"-----BEGIN CERT") :])
    assert certificate.not_valid_before_utc.year == 1950
    assert certificate.not_valid_after_utc.year == 9999
    key = load_pem_private_key(IDENTITY, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    assert isinstance(key.curve, SECP256R1)
    assert key.public_key() == certificate.public_key()


def test_every_identity_is_another_one() -> None:
    assert len({make_identity() for _ in range(3)}) == 3


def test_only_who_makes_an_identity_loads_what_it_takes() -> None:
    program = "import sys, nile.bootstrap.identity; sys.exit('cryptography.x509' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=30, check=False).returncode == 0


def test_an_identity_leaves_nothing_open_and_has_no_name() -> None:
    before = descriptors()
    Tls(IDENTITY)
    assert descriptors() == before


def test_where_there_are_no_filesin_memory_one_without_a_name_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    before = descriptors()
    fd = sealing.in_memory(IDENTITY)
    assert os.fstat(fd).st_nlink == 0
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    os.close(fd)
    ours = Tls(IDENTITY)
    assert descriptors() == before
    with a_meeting(ours) as meets:
        assert meets.dial("dialler", OURS) == ""


def test_an_identity_goes_to_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(sealing, "SHARED", str(tmp_path / "none"))
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        Tls(IDENTITY)
    assert descriptors() == before


@pytest.mark.parametrize("identity", [b"", b"x", IDENTITY[:300], IDENTITY[300:]])
def test_what_is_no_identity_is_refused(identity: bytes) -> None:
    with pytest.raises(OSError, match=r"TLS can't use the run's identity: .+"):
        Tls(identity)


def test_a_python_without_ssl_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_ssl", None)
    with pytest.raises(OSError, match="this Python has no ssl"):
        Tls(IDENTITY)


def test_ssl_is_loaded_only_where_it_is_used() -> None:
    program = "import sys, nile.agent.worker.chain; sys.exit('ssl' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert done.returncode == 0


# Other Pythons

MODULES = ("wire", "processes", "forked")
NODE = """
import os, sys
from nile.agent.worker.chain import Node
from nile.agent.worker.loop import Loop
from nile.agent.worker.sealing import Tls
successor = int(sys.argv[1])
secret = bytes(range(32))
loop = Loop()
def done(result):
    print(repr((result.code, result.passed, result.progress.received)), flush=True)
    loop.stop()
node = Node(loop, 1 << 18, -1, lambda event: None, done, tls=Tls(sys.stdin.buffer.read()))
print(node.predecessor("127.0.0.1", secret, loop.now() + 20), flush=True)
node.successor("127.0.0.1", successor, secret, loop.now() + 20)
loop.run()
"""


def _program() -> str:
    """NODE, with the modules that it needs: as a worker is shipped."""
    place = Path(nile.agent.__file__).parent
    names = [*MODULES, *(f"worker.{path.stem}" for path in (place / "worker").glob("[a-z]*.py"))]
    sources = {"nile": "", "nile.agent": "", "nile.agent.worker": ""}
    sources |= {f"nile.agent.{name}": (place / f"{name.replace('.', '/')}.py").read_text() for name in names}
    begin = sources["nile.agent.worker.begin"]
    part = zlib.compress(marshal.dumps(sources, 2))
    return f"{begin}\nsys.meta_path.insert(0, Finder([{part!r}]))\n{NODE}"


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: path.parents[1].name)
def test_a_node_of_any_python_takes_part(
    python: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(chaining, "TLS", OURS)
    program = tmp_path / "node.py"
    program.write_text(_program())
    with a_chain(SIZE, 1) as chain:
        (last,) = chain.hosts
        last.node.last()
        command = [str(python), "-BISW", "error", str(program), str(last.await_one())]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as middle:
            try:
                assert middle.stdin is not None
                assert middle.stdout is not None
                middle.stdin.write(IDENTITY)
                middle.stdin.close()
                chain.root.pass_to(int(middle.stdout.readline()))
                chain.file.limit(MIB)
                chain.wait(lambda: last.node.progress().received == MIB)
                above: Any = last.node._upstream
                assert above._socket.version() == "TLSv1.3"
                finished(chain)
                chain.wait_done()
                chain.complete(last)
                assert middle.stdout.readline() == b"%r\n" % (("", True, SIZE),)
                assert middle.wait(20) == 0
            finally:
                middle.kill()
