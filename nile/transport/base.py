"""The transport seam: how the root gets a byte stream to a first stage on a host.

A transport logs in to one host, runs one command there and carries bytes. It
knows nothing of agents, frames or trees. Bytes are pushed: they reach the sink
as they come (a link is always drained; back-pressure is made of credits, one
layer up, never of a stopped read).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Protocol

from nile.events import Code
from nile.options import Kex, Signing, SshClient

KEYS, QUESTIONS, PASSWORD = "publickey", "keyboard-interactive", "password"
"""Methods of authentication (RFC 4252, RFC 4256)."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that the root can sign with: the wire form (RFC 4253, 6.6) and a comment."""

    blob: bytes
    comment: str


@dataclass(frozen=True, slots=True)
class ResolvedLogin:
    """All that a login to one host needs, resolved at the root once and for all.

    Relays read no ssh configuration of their own: what they need travels in
    these values.
    """

    host: str
    """The name that the plan uses."""
    hostname_root: str
    """Name or address to which the root machine connects."""
    hostname_inside: str
    """Name or address to which other hosts connect."""
    port: int
    user: str
    host_key_alias: str
    """The name that stands in `known_hosts` and against which a host certificate's principals are checked."""
    known_hosts: tuple[str, ...]
    """known_hosts lines (sshd(8)) that bear on this host, rewritten to `host_key_alias`; markers kept."""
    identities: tuple[PublicKey, ...]
    """Keys to offer, in this order."""
    relay_options: tuple[str, ...]
    """`Keyword=value` for the `-o` of a relay's ssh, where they differ from OpenSSH's own defaults."""
    client: SshClient
    kex: Kex
    signing: Signing
    root_options: tuple[str, ...] = ()
    """`Keyword=value` for the client with which the root itself logs in."""
    delegate: bool = False
    """Whether the root's client gives the user's Kerberos ticket to the host; `openssh` alone can."""
    known_hosts_name: str = ""
    """The name under which the user's known_hosts files have the host, for messages."""
    known_hosts_file: str = ""
    """The first of the user's known_hosts files: where `nile hostkeys` writes."""
    password_methods: tuple[str, ...] = (QUESTIONS, PASSWORD)
    """By which methods the root may give the host the user's password, if there is one."""
    hash_known_hosts: bool = False
    """Whether names in that file are to be hashed (HashKnownHosts)."""


class LoginFailed(Exception):
    """A login that came to nothing: a value for the cascade, not an error of Nile.

    `code` classifies it, `reason` is one line for the user, `remedy` what to do.
    `retry` says that it tells nothing of the host and may be tried again
    (MaxStartups, a connection dropped before authentication).
    """

    def __init__(self, code: Code, reason: str, remedy: str = "", *, retry: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.remedy = remedy
        self.retry = retry


class SessionSink(Protocol):
    """Where a session's bytes go; called from the event loop."""

    def data_received(self, data: bytes) -> None:
        """Bytes of the command's standard output, as they come."""

    def stderr_received(self, data: bytes) -> None:
        """Bytes of its standard error."""

    def session_closed(self, reason: str, status: int | None = None) -> None:
        """Exactly once, last: end of file, an exit or a lost connection; `reason` is for people.

        `status` is the command's exit status, None where it isn't known.
        """


class Session(Protocol):
    """A command that runs on a host, by its standard input and output."""

    def write(self, data: bytes) -> None:
        """Queue bytes for the command's standard input; never waits."""

    def close(self) -> None:
        """End the session and its connection at once; the sink hears of it."""


class Transport(Protocol):
    """A way to log in. Every implementation passes tests/transport's contract suite."""

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> Session:
        """Log in and start `command`; raise `LoginFailed`, or TimeoutError from the caller's deadline.

        Cancelling it leaves no connection behind.
        """

    async def login_over(
        self, login: ResolvedLogin, stream: socket.socket, command: str, sink: SessionSink
    ) -> Session:
        """The same over a socket that already leads to the host's sshd; it consumes the socket."""

    async def close(self) -> None:
        """End every session that is still open."""
