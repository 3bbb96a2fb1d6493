"""A way through a real ssh and sshd: the root's signature opens it, and its far end is seen to close."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker.lookup import LOOPBACK
from nile.agent.worker.loop import Loop
from nile.agent.worker.meeting import Listener
from nile.agent.worker.tunnel import Tunnel
from nile.options import Signing
from nile.transport.keys import IdentityQuery, KeyRing
from nile.transport.signing import SigningAuthority, SignReply
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import LONGEST_S, SECRET, a_loop
from tests.agent.worker.test_meeting import Ends, deadline
from tests.agent.worker.test_tunnel import settle
from tests.transport.servers import Sshd, keygen, public_key, running_sshd


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


class Led:
    """A way to a listener on this machine, through an sshd of the test's."""

    def __init__(self, loop: Loop, sshd: Sshd, key: Path) -> None:
        ring = KeyRing()
        ring.identities(IdentityQuery(files=(str(key),), named=True))
        self.replies: list[SignReply] = []
        self._authority = SigningAuthority(ring)
        self._child = sshd.login(identities=(public_key(key),), signing=Signing.STRICT)
        self.ends = Ends(loop, 2)
        listener = Listener(loop, LOOPBACK, SECRET, deadline(loop), self.ends("listener"))
        self._tunnel = Tunnel(
            loop,
            self._login(),
            listener.port,
            SECRET,
            deadline(loop, LONGEST_S),
            self._ask,
            self.ends("dialler"),
        )
        loop.run()
        assert self.ends.code("dialler") == "", self.ends.said["dialler"]

    def _login(self) -> dict[str, Any]:
        child = self._child
        return {
            "address": "127.0.0.1",
            "port": child.port,
            "user": child.user,
            "alias": child.host_key_alias,
            "options": [],
            "known_hosts": list(child.known_hosts),
            "identities": [[each.blob, each.comment] for each in child.identities],
            "connect": LONGEST_S,
        }

    def _ask(self, serial: int, binds: list[bytes], request: bytes) -> None:
        reply = asyncio.run(self._authority.sign(self._child, binds, request, 0))
        self.replies.append(reply)
        self._tunnel.answer(serial, reply.response, reply.reason)

    def near(self) -> socket.socket:
        """The dialler's end, which waits for what it reads."""
        near = self.ends.connection("dialler")
        near.settimeout(LONGEST_S)
        return near


def fill(near: socket.socket) -> None:
    """Send until nothing more is taken."""
    near.settimeout(0.3)
    try:
        while True:
            near.send(bytes(1 << 16))
    except TimeoutError:
        near.settimeout(LONGEST_S)


@pytest.mark.parametrize("how", ["closed", "shut", "closed-full"])
def test_the_far_end_is_seen_to_close(loop: Loop, tmp_path: Path, how: str) -> None:
    before, key = descriptors(), keygen(tmp_path / "id_ed25519")
    with running_sshd(tmp_path / "sshd", [key]) as sshd:
        led = Led(loop, sshd, key)
        assert [(reply.signed, reply.spent) for reply in led.replies] == [(True, 0)]
        near, far = led.near(), led.ends.connection("listener")
        far.setblocking(True)
        far.sendall(b"one way")
        assert near.recv(100) == b"one way"
        if how == "closed-full":
            fill(near)
        began = time.monotonic()
        if how == "shut":
            far.shutdown(socket.SHUT_WR)
        else:
            far.close()
        try:
            assert near.recv(100) == b""
        except ConnectionResetError:
            assert how == "closed-full"
        assert time.monotonic() - began < LONGEST_S / 2
        settle(loop)
        near.close()
        far.close()
    assert descriptors() == before
