"""The root's transport: the client that each login asks for."""

from __future__ import annotations

import socket
from pathlib import Path

from nile.options import SshClient
from nile.transport.asyncssh_client import AsyncsshTransport
from nile.transport.base import ResolvedLogin, Session, SessionSink
from nile.transport.keys import KeyRing
from nile.transport.openssh_client import OpensshTransport
from nile.transport.passwords import Passwords


class RootTransport:
    """Logs in with asyncssh or with `ssh`, as `login.client` says (see `base.Transport`).

    Over a given socket it is always asyncssh: OpenSSH's client can't take one.
    `config` is what `ssh -F` takes; None means the usual files. `passwords` is for asyncssh alone: to
    `ssh` it would have to come by a program or a terminal.
    """

    def __init__(
        self, ring: KeyRing, config: Path | str | None = None, passwords: Passwords | None = None
    ) -> None:
        self._asyncssh = AsyncsshTransport(ring, passwords)
        self._openssh = OpensshTransport(config)

    async def login(self, login: ResolvedLogin, command: str, sink: SessionSink) -> Session:
        """Log in and start `command`; see `base.Transport.login`."""
        if login.client is SshClient.OPENSSH:
            return await self._openssh.login(login, command, sink)
        return await self._asyncssh.login(login, command, sink)

    async def login_over(
        self, login: ResolvedLogin, stream: socket.socket, command: str, sink: SessionSink
    ) -> Session:
        """The same over a socket that already leads to the host's sshd; see `base.Transport.login_over`."""
        return await self._asyncssh.login_over(login, stream, command, sink)

    async def close(self) -> None:
        """End every session that is still open."""
        await self._openssh.close()
        await self._asyncssh.close()
