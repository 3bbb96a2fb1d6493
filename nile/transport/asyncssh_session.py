"""A command that runs over an asyncssh connection: bytes in, bytes out, and one end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nile.transport.base import SessionSink
from nile.transport.proxy import Proxy
from nile.transport.sshlib import asyncssh

CLOSE_AFTER_EOF_S = 0.5
MSG_IGNORE = 2
"""RFC 4250, 4.1.2."""


def send_no_padding(connection: asyncssh.SSHClientConnection) -> None:
    """Send no empty packet ahead of each one, which costs as much, and wakes the other side once more.

    asyncssh does so with every cipher. It is of use where the next packet's initialization vector is
    known, which is so in CBC mode alone (RFC 4251, 9.3.1).
    """
    if "cbc" in connection.get_extra_info("send_cipher", "cbc"):
        return
    send = connection.send_packet

    def send_wanted(pkttype: int, *args: bytes, **more: Any) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, **more)

    setattr(connection, "send_packet", send_wanted)  # noqa: B010 - a method, as far as types go


class AsyncsshSession:
    """A running command (see `base.Session`)."""

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        channel: asyncssh.SSHClientChannel[bytes],
        proxy: Proxy | None,
        forget: Callable[[AsyncsshSession], None],
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._proxy = proxy
        self._forget = forget

    def write(self, data: bytes) -> None:
        """Queue bytes for standard input; what comes after the end is dropped."""
        try:
            self._channel.write(data)
        except OSError:
            pass  # the channel is closing: the sink hears of it

    def close(self) -> None:
        """End the session and its connection at once."""
        self._connection.abort()

    async def wait_closed(self) -> None:
        """Until the connection is gone."""
        await self._connection.wait_closed()

    def ended(self) -> None:
        """Called once by the session's end: nothing else runs over this connection."""
        self._connection.abort()
        if self._proxy is not None:
            self._proxy.kill()
        self._forget(self)


class Shell(asyncssh.SSHClientSession[bytes]):
    """The command's channel: bytes go to the sink as they come, and it hears of the end once.

    The end may come before `login` has returned its session; it is then told
    right after.
    """

    def __init__(self, sink: SessionSink) -> None:
        self._sink = sink
        self._session: AsyncsshSession | None = None
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._reason = ""
        self._status: int | None = None
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, session: AsyncsshSession) -> None:
        """`login` is about to return this session."""
        self._session = session
        if self._closed:
            asyncio.get_running_loop().call_soon(self._tell)

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Bytes of standard output, or of standard error."""
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self._sink.stderr_received(data)
        else:
            self._sink.data_received(data)

    def exit_status_received(self, status: int) -> None:
        """The command ended by itself."""
        self._status = status
        self._reason = f"it ended with status {status}"

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """The command was killed."""
        self._reason = f"it was killed by SIG{signal}"

    def eof_received(self) -> bool:
        """No output can follow: wait a moment for an exit status, then close the channel."""
        self._timer = asyncio.get_running_loop().call_later(CLOSE_AFTER_EOF_S, self._close_channel)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, or the connection with it."""
        if self._timer is not None:
            self._timer.cancel()
        self._reason = self._reason or (f"the connection was lost: {exc}" if exc else "the connection ended")
        self._closed = True
        if self._session is not None:
            self._tell()

    def _close_channel(self) -> None:
        self._reason = self._reason or "it closed its output"
        if self._channel is not None:
            self._channel.close()

    def _tell(self) -> None:
        assert self._session is not None
        self._session.ended()
        self._sink.session_closed(self._reason, self._status)
