"""A terminal at which a test types."""

from __future__ import annotations

import os
import pty
import select
import sys

import pytest

from nile.cli.question import Question


class Keys:
    """A terminal that is this process's standard input; `said` is what it was shown."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._master, slave = pty.openpty()
        self.stdin = os.fdopen(slave)
        self.said: list[str] = []
        monkeypatch.setattr(sys, "stdin", self.stdin)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)
        shown = b""
        while shown.count(b"\n") < keys.count(b"\n"):  # its echo: the keys have arrived
            shown += os.read(self._master, 1024)

    def press(self, keys: bytes) -> None:
        """Where a program reads them one by one, and nothing is shown."""
        os.write(self._master, keys)
        assert select.select([self.stdin], [], [], 30.0)[0]

    def ask(self, text: str = "delete all") -> Question:
        return Question(text, 1, self.said.append)

    def close(self) -> None:
        os.close(self._master)
        self.stdin.close()
