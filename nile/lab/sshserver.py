"""The SSH server inside a loopback host: it treats a command as OpenSSH's sshd treats it.

Own session, clean environment, pipes tied straight to the command; exit status
and signal sent when the command has ended *and* its output is at its end; a
client that goes away takes the pipes with it, not the command.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from nile.lab.login import HostConfig
from nile.lab.sshsession import CommandSession

SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
"""From asm-generic/socket.h; Python has no names for them."""

ENCRYPTION = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
)
KEY_EXCHANGE = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
BACKLOG = 128


@dataclass
class HostServer:
    """What a host's process holds: its configuration, connections and commands."""

    config: HostConfig
    connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)
    commands: dict[int, CommandSession] = field(default_factory=dict)
    """By pid, until they ended."""

    def reap(self) -> None:
        """Collect every child that ended: commands, and orphans that this subreaper inherited."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            command = self.commands.pop(pid, None)
            if command is not None:
                command.process_ended(status)

    def sockets(self) -> list[socket.socket]:
        """Every connection's socket."""
        found = (connection.get_extra_info("socket") for connection in self.connections)
        return [sock for sock in found if sock is not None]


class _Server(asyncssh.SSHServer):
    """One connection's callbacks."""

    def __init__(self, host: HostServer, keys: asyncssh.SSHAuthorizedKeys) -> None:
        self._host = host
        self._keys = keys
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._host.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._host.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        """Public keys only, and only for the lab's user."""
        if self._connection is not None and username == self._host.config.user:
            self._connection.set_authorized_keys(self._keys)
        return True

    def session_requested(self) -> CommandSession:
        return CommandSession(self._host.config, self._host.commands)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """TCP forwarding (`ssh -J`, `ssh -W`) is allowed, as sshd does by default."""
        return True


def set_deaf(sockets: list[socket.socket], deaf: bool) -> None:
    """Make the kernel drop, or no longer drop, whatever arrives at sockets: no answer, no reset.

    A socket filter (a classic BPF program that keeps nothing) needs no privilege
    on most kernels; on a listening socket it swallows connection attempts too.
    Where it is forbidden, the kernel still accepts connections for the stopped
    server, and nobody ever answers on them.
    """
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, 0 bytes
    filter_ = struct.pack("HL", 1, ctypes.addressof(program))
    for sock in sockets:
        try:
            if deaf:
                sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
            else:
                sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        except OSError:
            continue  # closed meanwhile, had none, or may have none


async def serve(config: HostConfig, listener: socket.socket, control: socket.socket) -> None:
    """Be a host until `control` ends.

    `listener` is bound, not yet listening. On `control` each byte is a request,
    answered by the same byte once it is done: `?` are you listening, `c` cut,
    `m` mend.
    """
    loop = asyncio.get_running_loop()
    host = HostServer(config)
    loop.add_signal_handler(signal.SIGCHLD, host.reap)
    keys = asyncssh.read_authorized_keys(str(config.authorized_keys))
    acceptor = await asyncssh.listen(
        sock=listener,
        backlog=BACKLOG,
        server_factory=lambda: _Server(host, keys),
        server_host_keys=[str(config.host_key)],
        encryption_algs=list(ENCRYPTION),
        kex_algs=list(KEY_EXCHANGE),
        compression_algs=None,
        encoding=None,
        line_editor=False,
        password_auth=False,
        kbdint_auth=False,
        agent_forwarding=False,
        x11_forwarding=False,
        gss_host=None,
    )
    ended = loop.create_future()
    loop.add_reader(control, _answer, host, listener, control, ended)
    try:
        await ended
    finally:
        acceptor.close()


def _answer(
    host: HostServer, listener: socket.socket, control: socket.socket, ended: asyncio.Future[None]
) -> None:
    request = control.recv(1)
    if request in (b"c", b"m"):
        set_deaf([listener, *host.sockets()], request == b"c")
    if request:
        control.send(request)
    elif not ended.done():
        ended.set_result(None)


def run_host(config: HostConfig, listener: socket.socket, control: socket.socket) -> None:
    """The body of a host's process, just forked from the supervisor; returns when it is to end."""
    for directory in (config.home, config.scratch):
        directory.mkdir(parents=True, exist_ok=True)
    Path("/proc/self/comm").write_text(f"lab-{config.name}")
    asyncio.run(serve(config, listener, control))
