"""The messages of the ssh-agent protocol (draft-miller-ssh-agent, OpenSSH's PROTOCOL.agent) as values.

This is the root's side: what it decodes comes from relays and is hostile, so
every decoder is strict and raises `WireError`. Messages are taken with or
without the type byte in front: a body starts with a length, whose first byte
is 0 at these sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

from nile.transport.wire import Reader, WireError, string, u32

FAILURE = 5
REQUEST_IDENTITIES = 11
IDENTITIES_ANSWER = 12
SIGN_REQUEST = 13
SIGN_RESPONSE = 14
EXTENSION = 27

SHA2_256 = 2
SHA2_512 = 4

SESSION_BIND = b"session-bind@openssh.com"
USERAUTH_REQUEST = 50
SERVICE = b"ssh-connection"
PUBLICKEY = b"publickey"
HOSTBOUND = b"publickey-hostbound-v00@openssh.com"


@dataclass(frozen=True, slots=True)
class SignRequest:
    """Sign `data` with the key `blob`; `flags` choose the hash for RSA."""

    blob: bytes
    data: bytes
    flags: int


@dataclass(frozen=True, slots=True)
class SessionBind:
    """An ssh tells its agent: this session is with the host that holds `host_key`, which signed its id."""

    host_key: bytes
    session_id: bytes
    signature: bytes
    forwarding: bool


@dataclass(frozen=True, slots=True)
class Userauth:
    """What a login signs (RFC 4252, 7); `host_key` is there in OpenSSH's host-bound method alone."""

    session_id: bytes
    user: bytes
    service: bytes
    algorithm: bytes
    blob: bytes
    host_key: bytes | None


def decode_sign_request(message: bytes) -> SignRequest:
    """The client's request for a signature."""
    reader = _reader(message, SIGN_REQUEST)
    request = SignRequest(reader.string(), reader.string(), reader.u32())
    reader.end()
    return request


def decode_session_bind(message: bytes) -> SessionBind:
    """The extension request by which ssh (from 8.9) binds its agent connection to a host key."""
    reader = _reader(message, EXTENSION)
    if reader.string() != SESSION_BIND:
        raise WireError("another extension than session-bind")
    bind = SessionBind(reader.string(), reader.string(), reader.string(), reader.boolean())
    reader.end()
    return bind


def decode_userauth(data: bytes) -> Userauth:
    """The data of a signature for publickey authentication, and of nothing else."""
    reader = Reader(data)
    session_id = reader.string()
    if reader.byte() != USERAUTH_REQUEST:
        raise WireError("not a request for authentication")
    user, service, method = reader.string(), reader.string(), reader.string()
    if method not in (PUBLICKEY, HOSTBOUND) or not reader.boolean():
        raise WireError("not a request to log in with a key")
    algorithm, blob = reader.string(), reader.string()
    host_key = reader.string() if method == HOSTBOUND else None
    reader.end()
    return Userauth(session_id, user, service, algorithm, blob, host_key)


def encode_sign_request(request: SignRequest) -> bytes:
    """The message, type byte included, without the length in front."""
    return bytes([SIGN_REQUEST]) + string(request.blob) + string(request.data) + u32(request.flags)


def encode_sign_response(signature: bytes) -> bytes:
    """The agent's answer, type byte included, without the length in front."""
    return bytes([SIGN_RESPONSE]) + string(signature)


def decode_sign_response(message: bytes) -> bytes:
    """The signature in an agent's answer; `WireError` for a refusal."""
    reader = Reader(message)
    if reader.byte() != SIGN_RESPONSE:
        raise WireError("the agent refused to sign")
    return reader.string()


REFUSAL = bytes([FAILURE])
"""The agent's answer to what it won't do."""


def _reader(message: bytes, kind: int) -> Reader:
    if not message:
        raise WireError("an empty message")
    if message[0] == kind:
        return Reader(message[1:])
    if message[0] != 0:
        raise WireError(f"a message of type {message[0]}, not {kind}")
    return Reader(message)
