"""Work that takes long: every few seconds it is said that it gets on, and it ends once nobody wants it.

While a worker looks at files it reads nothing of what it is told, and doesn't
see that its input has ended. An agent that ends ends its worker by a signal,
but not if it is killed itself. So a timer looks: it goes as long as `announced`
says that there is such work.
"""

import _signal as signal
import select

TICK_S = 1.0  # between two looks
SAID = 5  # looks from one word that it gets on to the next
PIECE = 1 << 16  # bytes that are read count as one thing that was looked at


class Gone(BaseException):
    """Nobody wants any more what is being done."""


class Work:
    """How much this process has looked at: files and the like, and blocks of their contents.

    There is one: all work is done by one thread, and the timer is that of the process.
    """

    def __init__(self) -> None:
        self.done = 0
        self.busy = False
        self._looks = 0

    def announced(self) -> "_Timed":
        """While this lasts, the timer goes."""
        return _Timed(self, True)

    def told(self) -> "_Timed":
        """As `announced`, but it isn't broken into: what was begun is being cleaned up."""
        return _Timed(self, False)

    def leave(self) -> None:
        """The timer goes no more."""
        self.busy = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def look(self) -> bool:
        """The timer has gone off: whether it is time to say how far it is. Raises Gone."""
        if self.busy and _is_closed(0):
            raise Gone
        self._looks += 1
        return self._looks % SAID == 0

    def stop(self) -> None:
        """A signal tells the process to end. Raises Gone where it is at something."""
        if self.busy:
            raise Gone


class _Timed:
    """The timer goes within, and stops where it wasn't going before; `breaks`: work may be broken into."""

    def __init__(self, work: Work, breaks: bool) -> None:
        self._work = work
        self._breaks = breaks
        self._before = work.busy

    def __enter__(self) -> None:
        work = self._work
        self._before = work.busy
        try:
            if self._breaks or not work.busy:
                work.busy = work.busy or self._breaks
                signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if not self._before:
            self._work.leave()


def _is_closed(fd: int) -> bool:
    """Has whoever writes to it gone? What was written before may still be there."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


WORK = Work()
