"""The run's end of the control socket: a thread that waits for neither the run nor its terminal."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nile.control.standing import Standing
from nile.control.words import MOST_QUESTION, Status, Stop, line, question
from nile.events import Event

TURN_S = 5.0
"""How long one who came may keep others waiting: to ask, and to take the answer."""
_CREDENTIALS = struct.Struct("3i")


class Control:
    """Answers for a run while it is `serving`: at a socket, `directory`/RUN.

    Give `observe` all events. Where there can be no socket, `trouble` says why, and the run goes on without.
    """

    def __init__(self, directory: Path, run: str) -> None:
        self._directory = directory
        self._run = run
        self._standing = Standing()
        self._lock = threading.Lock()
        self.trouble = ""

    def observe(self, events: Sequence[Event]) -> None:
        """These happened; from any one thread."""
        with self._lock:
            self._standing.take(events)

    @contextlib.contextmanager
    def serving(self, stop: Callable[[float], None]) -> Iterator[None]:
        """Answer, in a thread of its own, in which `stop(grace_s)` is called."""
        with contextlib.ExitStack() as stack:
            try:
                listener = stack.enter_context(_listen(self._directory, self._run))
            except OSError as error:
                self.trouble = f"{self._directory}: {error.strerror or error}"
                yield
                return
            woken, waker = (stack.enter_context(end) for end in socket.socketpair())
            arguments = (listener, woken, stop)
            thread = threading.Thread(target=self._serve, args=arguments, name="nile-control", daemon=True)
            thread.start()
            try:
                yield
            finally:
                (self._directory / self._run).unlink(missing_ok=True)
                waker.close()
                thread.join()

    def _serve(self, listener: socket.socket, woken: socket.socket, stop: Callable[[float], None]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while woken not in [key.fileobj for key, _ in selector.select()]:
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        self._talk(connection, stop)

    def _talk(self, connection: socket.socket, stop: Callable[[float], None]) -> None:
        """One question of one who came: who looks on for long comes again, and keeps nobody waiting."""
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] not in (0, os.geteuid()):
            return
        connection.settimeout(TURN_S)
        with connection.makefile("rb") as words:
            connection.sendall(line(self._answer(words.readline(MOST_QUESTION), stop)))

    def _answer(self, said: bytes, stop: Callable[[float], None]) -> dict[str, Any]:
        try:
            asked = question(said)
        except ValueError as error:
            return {"error": str(error)}
        match asked:
            case Status():
                with self._lock:
                    return self._standing.status(time.time())
            case Stop(grace_s):
                stop(grace_s)
                return {"ok": True}


def _listen(directory: Path, run: str) -> socket.socket:
    """A socket of that name, in a directory that only its user can enter.

    Who begins a run, or has taken it over, is its only root: a socket that is there was left by a dead one.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / run).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with entered(directory) as place:
            listener.bind(f"{place}/{run}")
        (directory / run).chmod(0o600)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def entered(directory: Path) -> Iterator[str]:
    """A name for the directory that is short enough for a socket's address, which has 108 bytes.

    Raises OSError where it isn't this user's alone.
    """
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(0, "others may enter it")
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
