"""A terminal for a `nile`, and what it shows."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import threading
from collections.abc import Iterator

from tests.cluster.running import Done, Nile, Running
from tests.lab.helpers import eventually


class Terminal:
    """A pseudo-terminal that a `nile` may have as its own; what it shows is gathered in `shown`."""

    def __init__(self) -> None:
        self._master, self.fd = pty.openpty()
        self.shown = b""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._ended.is_set() or select.select([self._master], [], [], 0)[0]:
            if select.select([self._master], [], [], 0.05)[0]:
                self.shown += os.read(self._master, 65536)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._master)
        os.close(self.fd)


def on_terminal(nile: Nile, terminal: Terminal, *words: str) -> Running:
    """`nile exec` with these words."""
    return command_on_terminal(nile, terminal, *nile.exec_words(*words))


def command_on_terminal(nile: Nile, terminal: Terminal, *words: str) -> Running:
    """Any command of `nile`. It is told by the terminal alone how large that is, not by who runs tests."""
    return Running(
        subprocess.Popen(
            ["setsid", "--ctty", *nile.argv(*words)],
            stdin=terminal.fd,
            stdout=terminal.fd,
            stderr=terminal.fd,
            env={key: value for key, value in nile.environment().items() if key not in ("COLUMNS", "LINES")},
        )
    )


@contextlib.contextmanager
def typing(nile: Nile, terminal: Terminal, words: tuple[str, ...], *lines: str) -> Iterator[Running]:
    """Any command of `nile`, once these passwords of sudo were typed; its standard output is apart."""
    argv = ["setsid", "--ctty", *nile.argv(*words)]
    process = subprocess.Popen(
        argv, stdin=terminal.fd, stdout=subprocess.PIPE, stderr=terminal.fd, env=nile.environment()
    )
    try:
        for number, text in enumerate(lines, 1):

            def asked(times: int = number) -> bool:
                return terminal.shown.count(b"sudo's password") >= times or process.poll() is not None

            eventually(asked, "it asks", 30.0)
            terminal.type(text.encode() + b"\n")
        yield Running(process)
    finally:
        process.kill()
        process.communicate()


def typed(nile: Nile, terminal: Terminal, words: tuple[str, ...], *lines: str) -> Done:
    """The same, to its end; its standard error is all that the terminal shows."""
    with typing(nile, terminal, words, *lines) as running:
        done = running.wait()
    return Done(done.code, done.stdout, terminal.shown)
