"""Asking the user for what nobody else may see."""

from __future__ import annotations

import getpass
import os
import select
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nile.cli.enter import LOCAL_FLAGS, in_foreground
from nile.errors import CredentialsError

KEY_WANTED = "a passphrase is needed"
KEY_REMEDY = "load the key into an ssh-agent, or run this on a terminal"


def ask_secret(prompt: str, wanted: str = KEY_WANTED, remedy: str = KEY_REMEDY) -> str:
    """Ask on the terminal, without showing what is typed; raises CredentialsError where there is none."""
    try:
        # Without a terminal getpass would read standard input, which may be the data for the hosts.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return getpass.getpass(prompt)
    except (EOFError, OSError) as error:
        raise CredentialsError(f"{wanted} and nobody can be asked", remedy=remedy) from error


class Password:
    """A password that a run wants of its user while it goes on: typed at the terminal, and not shown.

    `say` shows text. Nobody waits for it: a Ctrl-C is an answer, too. In the background it can't be typed,
    and is asked for anew in the foreground (see `nile.cli.question`). Raises OSError without a terminal.
    """

    def __init__(self, prompt: str, say: Callable[[str], None]) -> None:
        self._prompt = prompt
        self._say = say
        self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        self._before: list[Any] | None = None
        """How the terminal was, while it shows nothing."""
        self._ask()

    def _ask(self) -> None:
        if not in_foreground(self._fd):
            return
        shown = termios.tcgetattr(self._fd)
        hidden = list(shown)
        hidden[LOCAL_FLAGS] = (hidden[LOCAL_FLAGS] | termios.ICANON | termios.ISIG) & ~termios.ECHO
        termios.tcsetattr(self._fd, termios.TCSAFLUSH, hidden)  # what was typed before is meant for others
        self._before = shown
        self._say(self._prompt)

    def typed(self) -> str | None:
        """The line, once there is one; "" where the user gives none."""
        try:
            if not in_foreground(self._fd):
                self._before = None
                return None
            if self._before is None:
                self._ask()
                return None
            if not select.select([self._fd], [], [], 0)[0]:
                return None
            line = os.read(self._fd, 4096)
        except (OSError, termios.error):  # the terminal is gone
            return ""
        return line.rstrip(b"\n").decode(errors="surrogateescape")

    def close(self) -> None:
        """Have the terminal as it was."""
        with suppress(OSError, termios.error):
            if self._before is not None and in_foreground(self._fd):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
        os.close(self._fd)
