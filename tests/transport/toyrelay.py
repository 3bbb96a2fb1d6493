"""A relay's agent socket as small as can be: ssh on a relay asks it, a `SigningAuthority` answers."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nile.transport.agentwire import EXTENSION, IDENTITIES_ANSWER, REQUEST_IDENTITIES, SIGN_REQUEST
from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.signing import SigningAuthority, SignReply
from nile.transport.wire import Reader, string, u32
from tests.transport.servers import DEADLINE_S, Sshd

SUCCESS, FAILURE = bytes([6]), bytes([5])


@dataclass
class ToyRelay:
    """`asked` and `replies` went up and came down; without `knows_bind` ssh looks like one before 8.9."""

    path: Path
    authority: SigningAuthority
    child: ResolvedLogin
    offered: Sequence[PublicKey]
    knows_bind: bool = True
    budget: int = 1
    asked: list[tuple[list[bytes], bytes]] = field(default_factory=list)
    replies: list[SignReply] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        binds: list[bytes] = []
        with connection, connection.makefile("rb") as stream:
            while len(head := stream.read(4)) == 4:
                connection.sendall(string(self._answer(stream.read(Reader(head).u32()), binds)))

    def _answer(self, message: bytes, binds: list[bytes]) -> bytes:
        if message[0] == REQUEST_IDENTITIES:
            keys = b"".join(string(key.blob) + string(key.comment.encode()) for key in self.offered)
            return bytes([IDENTITIES_ANSWER]) + u32(len(self.offered)) + keys
        if message[0] == EXTENSION:
            if self.knows_bind:
                binds.append(message[1:])
            return SUCCESS if self.knows_bind else FAILURE
        if message[0] != SIGN_REQUEST:
            return FAILURE
        self.asked.append((list(binds), message[1:]))
        reply = asyncio.run(self.authority.sign(self.child, binds, message[1:], self.budget))
        self.budget -= reply.spent
        self.replies.append(reply)
        return reply.response

    def ssh(self, sshd: Sshd, *options: str, user: str = "") -> subprocess.CompletedProcess[str]:
        """Log in as a relay would: no configuration, no keys of its own, this socket as its agent.

        It trusts any host: whether the root does is what's tested.
        """
        settings = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        settings += [f"IdentityAgent={self.path}", "IdentityFile=none", "KexAlgorithms=-sntrup761*", *options]
        arguments = [word for setting in settings for word in ("-o", setting)]
        target = ["-p", str(sshd.port), "-l", user or self.child.user, "127.0.0.1"]
        return subprocess.run(
            ["ssh", "-F", "none", *arguments, *target, "echo in"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=DEADLINE_S,
            check=False,
        )


@contextmanager
def toy_relay(
    path: Path,
    authority: SigningAuthority,
    child: ResolvedLogin,
    offered: Sequence[PublicKey] = (),
    *,
    knows_bind: bool = True,
    budget: int = 1,
) -> Iterator[ToyRelay]:
    """Serve an agent socket at `path`."""
    relay = ToyRelay(path, authority, child, offered or child.identities, knows_bind, budget)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=_accept, args=(listener, relay), daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE_S)


def _accept(listener: socket.socket, relay: ToyRelay) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        relay.serve(connection)
