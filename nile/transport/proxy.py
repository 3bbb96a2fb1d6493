"""ProxyCommand and ProxyJump at the root: a command whose standard input and output lead to the host."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from nile.transport.base import ResolvedLogin
from nile.transport.text import printable
from nile.transport.tokens import expand

MAX_COMPLAINT = 300
STRICT = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "VerifyHostKeyDNS=no",
    "ControlMaster=no",
    "ControlPath=none",
    "LogLevel=ERROR",
    "GSSAPIDelegateCredentials=no",
)
"""What a jump host's ssh is told, whatever ssh_config says."""
DIRECT = "none"
"""In place of a first hop: the next one is logged in to directly, whatever ssh_config has of a ProxyJump."""


def jump_command(jump: str, config: Path | None = None, *, key_exchange: bool = False) -> str:
    """The ProxyCommand that a ProxyJump stands for, as ssh makes one, but strict and without prompts.

    Each of several hops is a ProxyCommand of the next: `-J` makes one with none
    of these options. Tokens in `jump` stay what they are: `jump-%h` stands for a
    jump host for each host. `key_exchange`: ssh knows of one by GSSAPI.
    """
    options = (*STRICT, "GSSAPIKeyExchange=no") if key_exchange else STRICT
    return _nested([hop.strip().removeprefix("ssh://") for hop in jump.split(",")], options, config, "%")


def _nested(hops: Sequence[str], options: Sequence[str], config: Path | None, sign: str) -> str:
    """The command of the last hop; `sign` is a percent sign for it, doubled by each command around it."""
    *before, last = hops
    user, _, place = last.replace("%%", sign * 2).rpartition("@")
    host, port = host_and_port(place)
    words = ["ssh", *(word for option in options for word in ("-o", option))]
    words += ["-F", str(config).replace("%", sign * 2)] if config is not None else []
    words += ["-l", user] if user else []
    words += ["-p", port] if port else []
    if before == [DIRECT]:
        words += ["-o", "ProxyJump=none"]
    elif before:
        words += ["-o", f"ProxyCommand={_nested(before, options, config, sign * 2)}"]
    return f"{shlex.join(words)} -W '[{sign}h]:{sign}p' -- {shlex.quote(host)}"


def host_and_port(place: str) -> tuple[str, str]:
    """Of a hop, without its user; the port is empty where it has none."""
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        return host, rest.lstrip(":")
    if place.count(":") == 1:
        host, _, port = place.partition(":")
        return host, port
    return place, ""


class Proxy:
    """A running proxy command. Use as `proxy, sock = await Proxy.open(...)`; the socket is the caller's."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: IO[bytes]) -> None:
        self._process = process
        self._stderr = stderr

    @classmethod
    async def open(cls, command: str, login: ResolvedLogin) -> tuple[Proxy, socket.socket]:
        """Start `command`, its tokens expanded for `login`, by the user's shell; raises OSError."""
        expanded = expand(
            command,
            {
                "h": login.hostname_root,
                "n": login.host,
                "k": login.host_key_alias,
                "p": str(login.port),
                "r": login.user,
            },
        )
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            stderr.close()
            raise
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    os.environ.get("SHELL") or "/bin/sh",
                    "-c",
                    f"exec {expanded}",
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=stderr,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            stderr.close()
            raise
        ours.setblocking(False)
        return cls(process, stderr), ours

    def complaint(self) -> str:
        """The last line that it wrote to standard error."""
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - MAX_COMPLAINT))
        lines = self._stderr.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return printable(said[-1]) if said else ""

    def kill(self) -> None:
        """Kill it and what it started; the event loop reaps it."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    async def close(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        await self._process.wait()
        self._stderr.close()
