"""The run's end of the control socket: a thread that waits for neither the run nor its terminal."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nile.cascade import Outstanding
from nile.control.standing import Standing
from nile.control.words import MOST_QUESTION, Conclude, Limit, Pace, Status, Stop, line, question
from nile.events import NO_PACING, Event
from nile.options import Pacing, RateLimits

TURN_S = 5.0
"""How long one who came may keep others waiting: to ask, and to take the answer. The end waits for none."""
PAUSE_S = 0.2
"""For a descriptor to become free, where there is none for who comes."""
_CREDENTIALS = struct.Struct("3i")


class Control:
    """Answers for a run while it is `serving`: at a socket, `directory`/RUN.

    Give `observe` all events. Where there can be no socket, `trouble` says why, and the run goes on without.
    """

    def __init__(self, directory: Path, run: str, pacing: Pacing = NO_PACING) -> None:
        """`pacing`: how fast it goes on from the beginning."""
        self._directory = directory
        self._run = run
        self._standing = Standing(run, pacing)
        self._lock = threading.Lock()
        self._conclude: Callable[[], None] | None = None
        self._limit: Callable[[RateLimits], None] | None = None
        self._steer: Callable[[Pacing], str] | None = None
        self._outstanding: Callable[[], Sequence[Outstanding]] = tuple
        self.trouble = ""

    def status(self) -> dict[str, Any]:
        """Where the run stands: see `Standing.status`."""
        outstanding = self._outstanding()
        with self._lock:
            return self._standing.status(time.time(), outstanding)

    def observe(self, events: Sequence[Event]) -> None:
        """These happened; from any one thread."""
        with self._lock:
            self._standing.take(events)

    @contextlib.contextmanager
    def serving(
        self,
        stop: Callable[[float], None],
        conclude: Callable[[], None] | None = None,
        limit: Callable[[RateLimits], None] | None = None,
        steer: Callable[[Pacing], str] | None = None,
        outstanding: Callable[[], Sequence[Outstanding]] = tuple,
    ) -> Iterator[None]:
        """Answer, in a thread of its own, in which all of these are called.

        `stop(grace_s)`, `conclude()`, `limit(rates)`; `steer(pacing)`, which says why it can't be done, if
        it can't; `outstanding()`, which says what hosts wait for. Who asks for
        what isn't given is refused.
        """
        self._conclude, self._limit = conclude, limit
        self._steer, self._outstanding = steer, outstanding
        with contextlib.ExitStack() as stack:
            try:
                listener = stack.enter_context(_listen(self._directory, self._run))
                bound = (self._directory / self._run).lstat()
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
                _remove(self._directory / self._run, bound)
                waker.close()
                thread.join()

    def _serve(self, listener: socket.socket, woken: socket.socket, stop: Callable[[float], None]) -> None:
        while _ready(listener, select.POLLIN, woken):
            try:
                connection, _ = listener.accept()
            except (
                OSError
            ):  # it is gone again; or there is no descriptor for it, and it would be told at once
                _ready(woken, select.POLLIN, woken, time.monotonic() + PAUSE_S)
                continue
            with connection, contextlib.suppress(OSError):
                self._talk(_Talk(connection, woken), stop)

    def _talk(self, talk: _Talk, stop: Callable[[float], None]) -> None:
        """One question of one who came: who looks on for long comes again, and keeps nobody waiting."""
        if talk.uid in (0, os.geteuid()):
            talk.say(line(self._answer(talk.hear(), stop)))

    def _answer(self, said: bytes, stop: Callable[[float], None]) -> dict[str, Any]:
        try:
            asked = question(said)
        except ValueError as error:
            return {"error": str(error)}
        match asked:
            case Status():
                return self.status()
            case Stop(grace_s):
                stop(grace_s)
                return {"ok": True}
            case Conclude() if self._conclude is not None:
                self._conclude()
                return {"ok": True}
            case Limit(limits) if self._limit is not None:
                self._limit(limits)
                return {"ok": True}
            case Pace(pacing) if self._steer is not None:
                trouble = self._steer(pacing)
                return {"error": trouble} if trouble else {"ok": True}
            case _:
                return {"error": "this run can't do that"}


class _Talk:
    """With one who came, for no longer than a turn, and not beyond the run's end, which `woken` tells.

    Raises TimeoutError once it is over, and any other OSError where the connection breaks.
    """

    def __init__(self, connection: socket.socket, woken: socket.socket) -> None:
        self._connection = connection
        self._woken = woken
        self._until = time.monotonic() + TURN_S
        connection.setblocking(False)

    @property
    def uid(self) -> int:
        """The user who came."""
        said = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(said)[1])

    def hear(self) -> bytes:
        """A line, or as much of it as a question may have, or as came before the end."""
        said = b""
        while b"\n" not in said and len(said) < MOST_QUESTION:
            self._wait(select.POLLIN)
            came = self._connection.recv(MOST_QUESTION)
            if not came:
                break
            said += came
        return said.partition(b"\n")[0][:MOST_QUESTION]

    def say(self, words: bytes) -> None:
        """All of it."""
        left = memoryview(words)
        while left:
            try:
                left = left[self._connection.send(left) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)

    def _wait(self, mask: int) -> None:
        if not _ready(self._connection, mask, self._woken, self._until):
            raise TimeoutError


def _ready(watched: socket.socket, mask: int, woken: socket.socket, until: float = math.inf) -> bool:
    """Wait until that one is ready as `mask` says; False: not by then, or the run is over."""
    poll = select.poll()
    poll.register(watched, mask)
    poll.register(woken, select.POLLIN)
    left_s = max(0.0, until - time.monotonic())
    ready = dict(poll.poll(None if until == math.inf else math.ceil(1000 * left_s)))
    return watched.fileno() in ready and woken.fileno() not in ready


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


def _remove(socket_file: Path, bound: os.stat_result) -> None:
    """Unless it is a successor's by now. As long as ours is open, no other file has its number."""
    with contextlib.suppress(OSError):
        if os.path.samestat(socket_file.lstat(), bound):
            socket_file.unlink()


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
