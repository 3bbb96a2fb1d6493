"""Enter at the terminal of a run: whoever looks on wants to know who is still out."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import sys
import termios
import time

LOOK_S = 0.1
"""So often it is looked, however much happens."""
LOCAL_FLAGS = 3
"""Where `termios.tcgetattr` has them."""


class Enter:
    """Sees that lines came to those that wait. Only an empty one is taken: others are meant for the shell.

    The terminal stays as it is: it hands over whole lines, and shows them itself.
    Where it doesn't, another program (`| less`) reads its keys.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._fd = sys.stdin.fileno() if wanted else -1
        self._looked = 0.0
        self._waiting = 0

    def pressed(self) -> bool:
        """Was it pressed since this was asked last?"""
        now = time.monotonic()
        if self._fd < 0 or now - self._looked < LOOK_S:
            return False
        self._looked = now
        try:
            before, self._waiting = self._waiting, self._typed()
            if self._waiting == 1 and os.read(self._fd, 1) == b"\n":
                self._waiting = 0
                return True
        except (OSError, termios.error):  # the terminal is gone
            self._fd = -1
            return False
        return self._waiting > before

    def _typed(self) -> int:
        """How many bytes of whole lines wait that are ours to take."""
        if not (select.select([self._fd], [], [], 0)[0] and in_foreground(self._fd)):
            return 0
        if not termios.tcgetattr(self._fd)[LOCAL_FLAGS] & termios.ICANON:
            return 0
        return int.from_bytes(fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4), sys.byteorder)


def in_foreground(fd: int) -> bool:
    """May this process read and set the terminal? Else it is stopped for it (SIGTTIN, SIGTTOU)."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError as error:
        if error.errno == errno.ENOTTY:  # one that stops nobody, for it isn't that of our session
            return True
        raise
