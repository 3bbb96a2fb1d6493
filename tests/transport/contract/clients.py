"""The kinds of transports, and what the values of a login mean to each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import pytest

from nile.options import SshClient
from nile.transport.base import LoginFailed, ResolvedLogin, Session, SessionSink
from nile.transport.root import RootTransport
from tests.support.local import LocalTransport, environment
from tests.transport.relaying import RelayTransport
from tests.transport.running import children, ring_of
from tests.transport.sinks import Sink


class Kind(StrEnum):
    """A way to log in."""

    ASYNCSSH = "asyncssh"
    OPENSSH = "openssh"
    RELAY = "relay"
    """An agent's own ssh, for which the root signs."""
    LOCAL = "local"
    """The one without ssh, on which tests of whole runs stand: its logins are shells."""


class Logins(Protocol):
    """What of `nile.transport.base.Transport` relays have, too."""

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> Session:
        """See there."""

    async def close(self) -> None:
        """See there."""


class Client:
    """Transports of one kind, and logins by them."""

    def __init__(self, directory: Path, kind: Kind) -> None:
        self.kind = kind
        self._directory = directory
        self._count = 0

    @asynccontextmanager
    async def transport(self, key: Path) -> AsyncIterator[Logins]:
        """One that can use `key`; afterwards no child process may be left."""
        before = children()
        transport = self._make(key)
        try:
            yield transport
        finally:
            await transport.close()
        assert children() <= before

    def _make(self, key: Path) -> Logins:
        self._count += 1
        directory = self._directory / str(self._count)
        directory.mkdir()
        if self.kind is Kind.RELAY:
            return RelayTransport(ring_of(key), directory)
        if self.kind is Kind.LOCAL:
            return LocalTransport(environment(directory))
        return RootTransport(ring_of(key), "none")

    async def login(
        self, transport: Logins, login: ResolvedLogin, command: str, sink: SessionSink
    ) -> Session:
        """Log in; for the root's ssh, which reads files, the values are written to one."""
        if self.kind is Kind.OPENSSH:
            login = self._for_openssh(login)
        if self.kind is Kind.RELAY:
            login = replace(login, hostname_inside=login.hostname_root)
        return await transport.login(login, command, sink)

    async def failure(self, login: ResolvedLogin, key: Path) -> LoginFailed:
        """What a login fails with."""
        async with self.transport(key) as transport:
            with pytest.raises(LoginFailed) as caught:
                async with asyncio.timeout(20):
                    await self.login(transport, login, "true", Sink())
        return caught.value

    def _for_openssh(self, login: ResolvedLogin) -> ResolvedLogin:
        self._count += 1
        known = self._directory / f"known_hosts.{self._count}"
        known.write_text("".join(f"{line}\n" for line in login.known_hosts))
        files = [key.comment.removesuffix(".pub") for key in login.identities] or ["none"]
        options = [f"UserKnownHostsFile={known}", "GlobalKnownHostsFile=/dev/null", "IdentityAgent=none"]
        options += [*(f"IdentityFile={file}" for file in files), "HostKeyAlias=target"]
        login = replace(login, client=SshClient.OPENSSH)
        return replace(login, root_options=(*options, "KexAlgorithms=-sntrup761*"))
