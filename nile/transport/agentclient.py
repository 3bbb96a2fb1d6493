"""The user's own ssh-agent, asked for its keys and for signatures.

The protocol is draft-miller-ssh-agent. Listing happens before a run, while
nothing else goes on, and blocks; signing happens within one and doesn't. Each
request has a connection of its own: agents are made for that, and a request
that is cancelled can't leave half an answer for the next one. But not too
many at one time: an agent has a queue of a hundred or so, and refuses the rest.
"""

from __future__ import annotations

import asyncio
import socket

from nile.transport.agentwire import (
    IDENTITIES_ANSWER,
    REQUEST_IDENTITIES,
    SIGN_RESPONSE,
    SignRequest,
    encode_sign_request,
)
from nile.transport.base import PublicKey
from nile.transport.wire import Reader, WireError, string

MAX_MESSAGE = 256 * 1024
LIST_TIMEOUT_S = 5.0
MOST_AT_ONCE = 32
"""Signatures asked of one agent. Who waits for a turn does so in the time of its own login."""


class AgentError(Exception):
    """The agent is away, refuses, or doesn't speak its protocol; one line for the user."""


class AgentClient:
    """An ssh-agent behind a Unix socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    def keys(self) -> tuple[PublicKey, ...]:
        """The keys that the agent holds, in its order; raises `AgentError`."""
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(LIST_TIMEOUT_S)
                sock.connect(self.path)
                sock.sendall(string(bytes([REQUEST_IDENTITIES])))
                answer = _receive(sock, _length(_receive(sock, 4)))
        except OSError as exc:
            raise AgentError(f"the ssh-agent at {self.path} can't be asked: {exc}") from exc
        return _decode_identities(answer)

    async def sign(self, blob: bytes, data: bytes, flags: int) -> bytes:
        """A signature (algorithm and signature, RFC 4253, 6.6) by the key `blob`; raises `AgentError`."""
        async with self._turns:
            answer = await self._ask(encode_sign_request(SignRequest(blob, data, flags)))
        return _decode_signature(answer)

    async def _ask(self, body: bytes) -> bytes:
        try:
            reader, writer = await asyncio.open_unix_connection(self.path)
        except OSError as exc:
            raise AgentError(f"the ssh-agent at {self.path} can't be asked: {exc}") from exc
        try:
            writer.write(string(body))
            return await reader.readexactly(_length(await reader.readexactly(4)))
        except (OSError, EOFError) as exc:
            raise AgentError(f"the ssh-agent at {self.path} hung up") from exc
        finally:
            writer.close()


def _receive(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise AgentError("the ssh-agent hung up")
        data += piece
    return bytes(data)


def _length(head: bytes) -> int:
    length = Reader(head).u32()
    if not 0 < length <= MAX_MESSAGE:
        raise AgentError(f"the ssh-agent announced a message of {length} bytes")
    return length


def _decode_identities(answer: bytes) -> tuple[PublicKey, ...]:
    reader = Reader(answer)
    try:
        if reader.byte() != IDENTITIES_ANSWER:
            raise AgentError("the ssh-agent doesn't list its keys (is it locked?)")
        count = reader.u32()
        return tuple(
            PublicKey(reader.string(), reader.string().decode("utf-8", "replace")) for _ in range(count)
        )
    except WireError as exc:
        raise AgentError(f"the ssh-agent's list of keys is garbled: {exc}") from exc


def _decode_signature(answer: bytes) -> bytes:
    reader = Reader(answer)
    try:
        if reader.byte() != SIGN_RESPONSE:
            raise AgentError("the ssh-agent refused to sign")
        return reader.string()
    except WireError as exc:
        raise AgentError(f"the ssh-agent's signature is garbled: {exc}") from exc
