"""A run that goes on without its terminal.

A child begins it, and asks at the terminal what it has to ask. Once the run has
begun it leaves: a session of its own, nothing on its standard input, and what
it shows goes to a file. Who waited for it then returns, with 0.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from nile.events import Event, SwarmProgress

if TYPE_CHECKING:
    from nile.report import Screen


class Leaving:
    """The child's end: `leave` once the run of that id has begun. `log(id)`: where it goes on."""

    def __init__(self, waiting: int, log: Callable[[str], Path]) -> None:
        self._waiting = waiting
        self._log = log
        self.into: Path | None = None
        """Where it shows what it does, once it has left."""

    def leave(self, run_id: str) -> None:
        """Go on without the terminal."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.into = path = self._log(run_id)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.setsid()
        for fd, into in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(fd, into)
        os.close(nothing)
        os.close(log)
        os.write(self._waiting, run_id.encode())
        os.close(self._waiting)

    def forget(self) -> None:
        """What it showed isn't needed: the store has all of it."""
        if self.into is not None:
            self.into.unlink(missing_ok=True)


class Departure:
    """A renderer that shows nothing: once a swarm is under way, it has the run go on by itself.

    But not while it `asks` the user something, who answers at the terminal.
    """

    def __init__(self, screen: Screen, run_id: str, leaving: Leaving, asks: Callable[[], bool]) -> None:
        self._screen = screen
        self._run_id = run_id
        self._leaving: Leaving | None = leaving
        self._asks = asks

    def handle(self, event: Event) -> None:
        """The first word of the swarm comes once its seed runs; others follow."""
        if isinstance(event, SwarmProgress) and self._leaving is not None and not self._asks():
            self._screen.detach()
            leaving, self._leaving = self._leaving, None
            leaving.leave(self._run_id)

    def finish(self) -> None:
        """Nothing is held."""


def launch(work: Callable[[Leaving], int], log: Callable[[str], Path], begun: Callable[[str], None]) -> int:
    """Do `work` in a child; the exit code.

    It is 0 once the run has left, which `begun(run id)` tells the user; else that of the child, which has
    said why, or had nothing to stay for. Returns in both processes.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # Ctrl-Z: who stands still never leaves
    reader, writer = os.pipe()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED | {signal.SIGINT})
    pid = os.fork()
    if not pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(reader)
        return work(Leaving(writer, log))
    os.close(writer)
    with os.fdopen(reader, "rb") as words, _Passing(pid):
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        run_id = words.read().decode()
        if not run_id:
            return _end_of(pid)
    signal.signal(signal.SIGTSTP, before)
    begun(run_id)
    return 0


_PASSED = frozenset({signal.SIGTERM, signal.SIGHUP})


class _Passing:
    """Meanwhile signals are the child's: Ctrl-C reaches it anyway, what is sent here is passed on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for signum in _PASSED:
            signal.signal(signum, self._pass)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        for signum in _PASSED:
            signal.signal(signum, signal.SIG_DFL)

    def _pass(self, signum: int, _: FrameType | None) -> None:
        os.kill(self._pid, signum)


def _end_of(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
