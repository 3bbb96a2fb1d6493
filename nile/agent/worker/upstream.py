"""A node's connection from its predecessor: bytes go straight into the ring."""

import select

from nile.agent.worker import segments
from nile.agent.worker.sealing import pending, turned
from nile.agent.worker.segments import Broken, Segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.meeting import Connection
    from nile.agent.worker.streams import Received

CHUNK = 1024 * 1024  # bytes read at a time: less costs more, in system calls and switches
WORD_S = 0.05  # after which it is said what has changed, however little it is


class Upstream:
    """Reads until the end. `came()` is called after every chunk, `over(code, reason)` once it is closed.

    Codes: `end` (all is here, the hash is right, and the predecessor was told),
    `abort`, `gone` (it hasn't got what we want any more), `corrupt` (the hash
    is wrong), `broken`, `protocol`.
    """

    def __init__(
        self,
        loop: "Loop",
        connection: "Connection",
        stream: "Received",
        step: int,
        came: "Callable[[], None]",
        over: "Callable[[str, str], None]",
    ) -> None:
        """`connection` is ours from now on; nothing happens before the first `allow`."""
        self._loop = loop
        self._socket = connection
        self._ring = stream.ring
        self._step = step
        self._came = came
        self._over = over
        self._segments = Segments(self._ring.head)
        self._ceiling = 0
        self._mask = -1
        self._until = 0
        self._said = (-1, -1)  # received and granted, when we said it last
        self._words = b""
        self._timer = -1
        self._wake = -1
        self._ended = False

    def allow(self, until: int, ceiling: int) -> None:
        """The predecessor may send up to `until`; nothing may be written from `ceiling` on."""
        self._until = max(until, self._until, self._ring.head)
        self._ceiling = ceiling
        received, granted = self._said
        if received < 0 or max(self._ring.head - received, self._until - granted) >= self._step:
            self._say()
        elif self._timer < 0 and (self._ring.head, self._until) != self._said:
            self._timer = self._loop.at(self._loop.now() + WORD_S, self._say)
        self._watch()

    def close(self) -> None:
        """Look at it no more; `over` isn't called."""
        self._loop.forget(self._timer)
        self._loop.forget(self._wake)
        if self._socket.fileno() >= 0:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()

    def _end(self, code: str, reason: str) -> None:
        self.close()
        self._over(code, reason)

    # What we say

    def _say(self) -> None:
        """Say how far we are, unless the kernel hasn't taken yet what we said before."""
        self._loop.forget(self._timer)
        self._timer = -1
        if self._ended:
            return
        if not self._words:
            self._said = (self._ring.head, self._until)
            self._segments.granted = self._until
            self._words = segments.state(segments.STATE, *self._said)
        self._flush()

    def _flush(self) -> None:
        try:
            self._words = self._words[self._socket.send(self._words) :]
        except BlockingIOError:
            pass
        except OSError:
            self._words = b""  # reading tells what happened to it

    def _watch(self) -> None:
        reads = self._ring.head < self._ceiling or not self._segments.left
        writes = self._words or turned(self._socket)
        mask = (select.POLLIN if reads and not self._ended else 0) | (select.POLLOUT if writes else 0)
        if mask != self._mask and self._socket.fileno() >= 0:
            self._mask = mask
            self._loop.watch(self._socket.fileno(), mask, self._ready)
        if mask & select.POLLIN and self._wake < 0 and pending(self._socket):
            self._wake = self._loop.at(self._loop.now(), self._awake)

    def _awake(self) -> None:
        """There is something to read, and nobody else would tell."""
        self._wake = -1
        if self._mask & select.POLLIN:
            self._read()
            self._watch()

    # What it says

    def _ready(self, events: int) -> None:
        if self._words:
            self._flush()
            if self._ended and not self._words:
                self._end("end", "")
                return
            self.allow(self._until, self._ceiling)
        if self._mask & select.POLLIN:
            self._read()
        elif events & (select.POLLHUP | select.POLLERR):
            self._end("end" if self._ended else "broken", "the predecessor is gone")

    def _read(self) -> None:
        try:
            came = self._segment() if self._segments.left else self._word()
        except BlockingIOError:
            self._watch()
        except Broken as broken:
            self._end("protocol", str(broken))
        except OSError as error:
            self._end("broken", error.strerror or "the connection broke")
        else:
            if not came:
                self._end("broken", "the predecessor hung up")

    def _segment(self) -> bool:
        """Read a part of a segment; False at the connection's end."""
        end = min(self._ceiling, self._ring.head + min(self._segments.left, CHUNK))
        count = self._socket.recv_into(self._ring.space(end))
        if count:
            self._ring.wrote(count)
            self._segments.took(count)
            self._came()
        return count > 0

    def _word(self) -> bool:
        data = self._socket.recv(self._segments.wanted)
        told = self._segments.feed(data)
        if told is not None:
            self._told(*told)
        else:
            self._watch()
        return len(data) > 0

    def _told(self, mark: int, numbers: "list[int]", text: str) -> None:
        if mark == segments.GONE:
            self._end("gone", "it begins at %d" % numbers[0])
        elif mark == segments.ABORT:
            self._end("abort", text or "aborted")
        elif numbers[1] != self._ring.crc:
            self._end("corrupt", "the hash of %d bytes is wrong" % self._ring.head)
        else:
            self._ended = True
            self._words += segments.state(segments.THROUGH, self._ring.head, self._until)
            self._flush()
            if self._words:
                self._watch()
            else:
                self._end("end", "")
