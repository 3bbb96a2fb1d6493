"""The command's standard input, as the root sends it. Travels with the plan of a run that has any."""

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nile.agent.loop import Agent


class Feed:
    """Writes as far as the command takes it, and tells how far; nobody waits for one that takes no more."""

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self._fd = -1
        self._begun = False
        self._queue: "list[bytes]" = []
        self._taken = 0
        self._ends = False

    def begin(self, fd: int) -> None:
        """The command runs, and reads from the pipe behind `fd`."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._begun = True
        self._write()

    def add(self, data: bytes) -> None:
        """More from the root; nothing is its end."""
        self._queue.append(data)
        self._ends = not data
        if self._begun:
            self._write()

    def _write(self) -> None:
        if self._fd < 0:
            self._gone()
            return
        while self._queue and self._queue[0]:
            try:
                count = os.write(self._fd, self._queue[0])
            except BlockingIOError:
                self._agent.watch(self._fd, select.POLLOUT, lambda _: self._write())
                return
            except OSError:
                self._gone()
                return
            self._taken += count
            self._queue[0] = self._queue[0][count:]
            if not self._queue[0]:
                del self._queue[0]
            self.tell(self._taken)
        if self._ends:
            self._gone()
        else:
            self._agent.unwatch(self._fd)

    def _gone(self) -> None:
        del self._queue[:]
        if self._fd >= 0:
            self._agent.drop(self._fd)
            self._fd = -1
            self.tell(1 << 62)

    def tell(self, taken: int) -> None:
        """The command has taken so many bytes."""
        self._agent.perform(self._agent.core.input_taken(taken))
