"""Enter at the terminal of a run: whoever looks on wants to know who is still out."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios
import time

LOOK_S = 0.1
"""So often it is looked, however much happens."""


class Enter:
    """Sees an empty line that is typed. What else is typed is meant for the shell, and left to it.

    The terminal stays as it is: it hands over whole lines, and shows them itself.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._fd = sys.stdin.fileno() if wanted else -1
        self._looked = 0.0

    def pressed(self) -> bool:
        """Was it pressed since this was asked last?"""
        now = time.monotonic()
        if self._fd < 0 or now - self._looked < LOOK_S:
            return False
        self._looked = now
        try:
            return self._is_ours() and self._typed() == 1 and os.read(self._fd, 1) == b"\n"
        except OSError:  # the terminal is gone
            self._fd = -1
            return False

    def _is_ours(self) -> bool:
        """Is something there, and are we in the foreground? Else who reads is stopped (SIGTTIN)."""
        if not select.select([self._fd], [], [], 0)[0]:
            return False
        return os.tcgetpgrp(self._fd) == os.getpgrp()

    def _typed(self) -> int:
        """How many bytes of whole lines wait."""
        return int.from_bytes(fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4), sys.byteorder)
