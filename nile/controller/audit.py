"""What syslog is told of a run: who has it run what, and on how many hosts.

One line at the root, with the command; and, by the agents (`nile.agent.minder`), on each host one when the
command starts and one when it ends, with its hash. Values of variables, and what is typed, are in none.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nile.agent import minder
from nile.options import ExecOptions

MOST_TEXT = 4000
LOGIN_UID = Path("/proc/self/loginuid")
_NOBODY = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Audit:
    """`by` is user@machine; `sha256` that of the line, or of the script."""

    by: str
    sha256: str

    @classmethod
    def of(cls, options: ExecOptions) -> Audit:
        """Of a run that this process begins, or goes on with."""
        script = options.outfit.script
        line = hashlib.sha256(options.command.encode(errors="surrogateescape")).hexdigest()
        return cls(f"{real_user()}@{socket.gethostname()}", script.sha256 if script else line)

    def say(self, run: str, hosts: Sequence[str], options: ExecOptions, *, again: bool) -> None:
        """The root's own line."""
        minder.say(self.text(run, hosts, options, again=again))

    def text(self, run: str, hosts: Sequence[str], options: ExecOptions, *, again: bool) -> str:
        """One line, whatever is in the command."""
        command = json.dumps(options.command[:MOST_TEXT])
        word = "attach" if again else "run"
        return f"run={run} root by={self.by} hosts={len(hosts)} sha256={self.sha256} {word} command={command}"


def real_user() -> str:
    """Who logged in here, as the kernel remembers it across su and sudo; else whose process this is."""
    try:
        login = int(LOGIN_UID.read_text())
    except (OSError, ValueError):
        login = _NOBODY
    own = os.getuid()
    if login in (_NOBODY, own):
        return _name(own)
    return f"{_name(login)}({_name(own)})"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
