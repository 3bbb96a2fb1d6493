"""What a run asks its user, at the terminal: an answer is what is typed once the question is there.

In the background (`&`, or Ctrl-Z and `bg`) it can't be answered: who touches the
terminal there is stopped, the root's heartbeats too. It is asked anew in the foreground.
"""

from __future__ import annotations

import os
import select
import sys
import termios
from collections.abc import Callable

from nile.cli.enter import in_foreground


class Question:
    """One question of yes or no; `say` shows text."""

    def __init__(self, text: str, number: int, say: Callable[[str], None]) -> None:
        self._text = text
        self._say = say
        self.number = number
        self._asked = False
        """Where it can be answered."""
        self._ask()

    def _ask(self) -> None:
        from nile.report.text import visible

        self._asked = self._is_ours()
        if self._asked:
            try:
                termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before is meant for others
            except termios.error:
                pass  # only a run whose user can be asked has questions; its terminal may be gone by now
        self._say(f"nile: {visible(self._text)}; go on? [y/N] ")

    def _is_ours(self) -> bool:
        try:
            return in_foreground(sys.stdin.fileno())
        except OSError:  # the terminal is gone, which is an answer, too
            return True

    def answer(self) -> bool | None:
        """What the user has typed, once it is a line: nobody waits for it, for a Ctrl-C is an answer too."""
        if not self._is_ours():
            self._asked = False
            return None
        if not self._asked:
            self._ask()
        if not select.select([sys.stdin], [], [], 0)[0]:
            return None
        # Not by way of sys.stdin, which would take in the lines behind it, too.
        word = os.read(sys.stdin.fileno(), 1024).decode(errors="replace").strip().lower()
        if word not in ("", "y", "yes", "n", "no"):
            self._ask()
            return None
        return word.startswith("y")
