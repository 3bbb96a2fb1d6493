"""What a node passes on: to its successor over a connection, to its applier over a pipe."""

import _socket as socket
import fcntl
import os
import select

from nile.agent.worker import segments
from nile.agent.worker.sealing import Sealed, pending, turned
from nile.agent.worker.segments import Broken, States

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Tuple

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.meeting import Connection
    from nile.agent.worker.streams import Stream

    Head = Tuple[int, Callable[[bytes], str]]

BURST = 4 * 1024 * 1024  # bytes after which others get their turn
GREETING_S = 5.0  # for a successor to say what it wants
THROUGH_S = 30.0  # for one that was sent everything to get on, and at last to say that it has it
LINGER_S = 2.0  # for a successor to take our last word
PIPE = 256 * 1024  # bytes that a pipe should hold, where the system allows that
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ; fcntl has it from 3.10 on
_MSG_MORE = getattr(socket, "MSG_MORE", 0)


class Applier:
    """The pipe to what applies the stream. `failed(reason)` is called once, when it takes no more."""

    def __init__(
        self,
        loop: "Loop",
        fd: int,
        stream: "Stream",
        ready: "Callable[[], None]",
        failed: "Callable[[str], None]",
        head: "Optional[Head]" = None,
        forged: "Optional[Callable[[str], None]]" = None,
    ) -> None:
        """`fd` is ours from now on. `ready()` is called when `pump` may go on.

        It gets nothing before so many bytes as `head` says were seen, and that says nothing against
        them: else `forged(why)` is called.
        """
        self._loop = loop
        self._fd = fd
        self._stream = stream
        self._ready = ready
        self._failed = failed
        self._head = head
        self._forged = forged
        self._blocked = False
        self.applied = 0
        os.set_blocking(fd, False)
        try:
            fcntl.fcntl(fd, _SET_PIPE_SIZE, PIPE)
        except OSError:
            pass  # a user may have so much in all pipes; or it is none

    @property
    def open(self) -> bool:
        """Does it take bytes?"""
        return self._fd >= 0

    def pump(self, end: int) -> None:
        """Give it what it takes of the bytes before `end`."""
        if self._head is not None and not self._begins_well(end):
            return
        stop = min(end, self.applied + BURST)
        try:
            while self.open and self.applied < stop:
                self.applied += self._stream.write(self._fd, self.applied, stop)
            self._block(self.applied < end)
        except BlockingIOError:
            self._block(True)
        except (OSError, ValueError) as error:
            self.close()
            self._failed(getattr(error, "strerror", None) or str(error))

    def _begins_well(self, end: int) -> bool:
        """Is it known what it begins with, and is that as it should be?"""
        assert self._head is not None
        size, judge = self._head
        total = self._stream.total
        if end < size and (total is None or total >= size):
            return False
        wrong = judge(bytes(self._stream.part(0, size)) if end >= size else b"")
        if not wrong:
            self._head = None
        elif self._forged is not None:
            self._forged(wrong)
        return not wrong

    def close(self) -> None:
        """It gets no more: it sees the end."""
        if self._fd >= 0:
            self._block(False)
            os.close(self._fd)
            self._fd = -1

    def _block(self, blocked: bool) -> None:
        if blocked and not self._blocked:
            self._loop.watch(self._fd, select.POLLOUT, lambda _: self._ready())
        elif self._blocked and not blocked:
            self._loop.unwatch(self._fd)
        self._blocked = blocked


class Downstream:
    """The connection to a successor, once it was met.

    `changed()` is called when it has said how far it is; `over(code, reason)`
    once, when it is closed: `through` (it has all, and the hash was right),
    `aborted` (it was told, or couldn't be), `gone` (it wants what the stream
    hasn't got any more), `broken`, `protocol`, `timeout`.
    """

    def __init__(
        self,
        loop: "Loop",
        connection: "Connection",
        stream: "Stream",
        changed: "Callable[[], None]",
        over: "Callable[[str, str], None]",
    ) -> None:
        """`connection` is ours from now on."""
        self._loop = loop
        self._socket = connection
        self._stream = stream
        self._changed = changed
        self._over = over
        self._states = States()
        self._words = b""
        self._left = 0  # bytes of the present segment that are still to go
        self._begun = False  # it was answered
        self.room = 0  # the most that it ever granted us beyond what it had
        self._parting = ("", "")
        self._last_words = b""
        self._awaited = -1  # what it had when it was looked last, once it was sent everything
        self._more = False  # there was more to send than one burst
        self._mask = 0
        self._timer = loop.at(
            loop.now() + GREETING_S, lambda: self._end("timeout", "it didn't say its offset")
        )
        self._watch()

    @property
    def taken(self) -> "Optional[int]":
        """What it has acknowledged; None as long as, or once, it isn't to be waited for."""
        return self._states.received if self._states.greeted and not self._parting[0] else None

    @property
    def free(self) -> bool:
        """Would it take far more than we could send? Then it waits for the wire, and not for its disk."""
        return self._states.granted - self._states.sent > self.room // 2

    @property
    def sent(self) -> int:
        """The offset up to which it was sent."""
        return self._states.sent

    def close(self) -> None:
        """Look at it no more; `over` isn't called."""
        self._loop.forget(self._timer)
        if self._socket.fileno() >= 0:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def abort(self, reason: str) -> None:
        """Tell it that nothing of the stream may be used, after the segment that is on its way; then part."""
        if not self._parting[0] and self._states.total is None:
            self._part("aborted", reason)
            self.pump()

    def pump(self) -> None:
        """Send what goes."""
        stop = self._states.sent + BURST
        self._more = False
        try:
            while self._words or self._left or self._next():
                if self._words:
                    more = _MSG_MORE if self._left else 0
                    self._words = self._words[self._socket.send(self._words, more) :]
                else:
                    self._segment()
                if self._states.sent >= stop:
                    self._more = True
                    break
        except BlockingIOError:
            pass
        except Broken as broken:
            self._end("protocol", str(broken))
            return
        except (OSError, ValueError) as error:
            self._broke(getattr(error, "strerror", None) or str(error))
            return
        self._watch()

    # What it is sent

    def _segment(self) -> None:
        states = self._states
        end = states.sent + self._left
        if isinstance(self._socket, Sealed):
            count = self._socket.send(self._stream.part(states.sent, end))
        else:
            count = self._stream.write(self._socket.fileno(), states.sent, end)
        states.sent += count
        self._left -= count

    def _next(self) -> bool:
        """Begin the next segment or word; False if there is none now."""
        if self._parting[0]:
            words, self._last_words = self._last_words, b""
            self._words = words
            return bool(words)
        states, stream = self._states, self._stream
        if not self._begun or states.total is not None:
            return False
        length = min(stream.head, states.granted) - states.sent
        if length > 0:
            self._left = min(length, segments.MOST_SEGMENT)
            self._words = segments.segment(self._left)
        elif stream.total is not None and states.sent >= stream.total:
            if states.sent > stream.total:
                raise Broken("it wants %d of %d bytes" % (states.sent, stream.total))
            states.total = stream.total
            self._words = segments.word(segments.END, stream.total, stream.crc)
            self._await_through()
        return bool(self._words)

    def _await_through(self) -> None:
        """It was sent everything: it has to get on, and to say in the end that it has it.

        Nobody would be held up by one that doesn't, nor be done.
        """
        if self._awaited >= self._states.received:
            self._end("timeout", "it was sent everything, and doesn't say that it has it")
            return
        self._awaited = self._states.received
        self._loop.forget(self._timer)
        self._timer = self._loop.at(self._loop.now() + THROUGH_S, self._await_through)

    def _part(self, code: str, reason: str) -> None:
        """Say why, then let it hang up first: with bytes unread, an end of ours would be a reset."""
        gone = code == "gone"
        self._last_words = (
            segments.word(segments.GONE, self._stream.begin) if gone else segments.abort(reason)
        )
        self._parting = (code, reason)
        self._loop.forget(self._timer)
        self._timer = self._loop.at(self._loop.now() + LINGER_S, lambda: self._end(code, reason))

    def _watch(self) -> None:
        """Wait for what it says, and for room if we have something to say."""
        if self._socket.fileno() < 0:
            return
        waits = self._words or self._left or self._more or turned(self._socket)
        mask = select.POLLIN | (select.POLLOUT if waits else 0)
        if mask != self._mask:
            self._mask = mask
            self._loop.watch(self._socket.fileno(), mask, self._ready)

    # What it says

    def _ready(self, events: int) -> None:
        if events & select.POLLOUT:
            self.pump()
        if self._socket.fileno() >= 0 and (events & ~select.POLLOUT or turned(self._socket)):
            self._read()
        while self._socket.fileno() >= 0 and pending(self._socket):
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(4096)
            if data and not self._parting[0]:
                self._states.feed(data)
        except BlockingIOError:
            self._watch()
            return
        except Broken as broken:
            self._end("protocol", str(broken))
            return
        except OSError as error:
            self._broke(error.strerror or "the connection broke")
            return
        if not data:
            self._broke("it hung up")
        elif self._states.through:
            self._end("through", "")
        elif not self._parting[0]:
            self._heard()

    def _heard(self) -> None:
        """It said how far it is, for the first time or anew."""
        if not self._states.greeted:
            return
        self.room = max(self.room, self._states.granted - self._states.received)
        if not self._begun:
            self._begun = True
            self._loop.forget(self._timer)
            if self._states.received < self._stream.begin:
                which = (self._states.received, self._stream.begin)
                self._part("gone", "it wants %d, and we have what begins at %d" % which)
            else:
                self._words = segments.word(segments.FROM, self._states.received)
        self.pump()
        self._changed()

    def _broke(self, reason: str) -> None:
        self._end(*(self._parting if self._parting[0] else ("broken", reason)))

    def _end(self, code: str, reason: str) -> None:
        self.close()
        self._over(code, reason)
