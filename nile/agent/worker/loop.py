"""What a worker waits for: descriptors, children of its own, times. One thread, and nothing in it blocks."""

import _signal as signal
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Tuple

    Ended = Callable[[Optional[int], Optional[int]], None]


class Loop:
    """Calls back, until `stop`. Times are seconds of `now()`."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._ready: "Dict[int, Callable[[int], None]]" = {}
        self._children: "Dict[int, Ended]" = {}
        self._timers: "List[Tuple[float, int, Callable[[], None]]]" = []
        self._number = 0
        self._soon: "List[Callable[[], None]]" = []
        self._stopped = False
        self._woken, self._wake = os.pipe()
        for fd in (self._woken, self._wake):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.watch(self._woken, select.POLLIN, self._reap)

    @staticmethod
    def now() -> float:
        """Seconds, from any origin."""
        return time.monotonic()

    def watch(self, fd: int, mask: int, handler: "Callable[[int], None]") -> None:
        """Call `handler(events)` whenever `fd` is ready as `mask` says (select.POLLIN, POLLOUT)."""
        self._ready[fd] = handler
        self._poll.register(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; it stays open."""
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def child(self, pid: int, ended: "Ended") -> None:
        """Call `ended(exit status or None, signal or None)` once this child of ours is over."""
        self._children[pid] = ended

    def at(self, when: float, handler: "Callable[[], None]") -> int:
        """Call `handler()` then; gives a number to `forget` it by."""
        self._number += 1
        self._timers.append((when, self._number, handler))
        self._timers.sort(key=lambda timer: timer[:2])
        return self._number

    def soon(self, act: "Callable[[], None]") -> None:
        """Call `act()` once nothing else is being called: for a signal, which comes in the middle of it."""
        self._soon.append(act)

    def forget(self, number: int) -> None:
        """Don't call this handler of `at`."""
        self._timers = [timer for timer in self._timers if timer[1] != number]

    def close(self) -> None:
        """Give back what is ours: signals are no longer looked at."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.unwatch(self._woken)
        for fd in (self._woken, self._wake):
            os.close(fd)

    def stop(self) -> None:
        """Have `run` return."""
        self._stopped = True

    def run(self) -> None:
        """Wait and call back, until `stop`."""
        while not self._stopped:
            for fd, events in self._poll.poll(self._wait_ms()):
                handler = self._ready.get(fd)
                if handler is not None:
                    handler(events)
            while self._timers and self._timers[0][0] <= self.now() and not self._stopped:
                self._timers.pop(0)[2]()
            while self._soon and not self._stopped:
                self._soon.pop(0)()

    def _wait_ms(self) -> "Optional[int]":
        if not self._timers:
            return None
        return max(0, int((self._timers[0][0] - self.now()) * 1000) + 1)

    def _reap(self, _: int) -> None:
        os.read(self._woken, 4096)
        for pid in list(self._children):
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                done, status = pid, 255 << 8
            if done:
                ended = self._children.pop(pid)
                if os.WIFSIGNALED(status):
                    ended(None, os.WTERMSIG(status))
                else:
                    ended(os.WEXITSTATUS(status), None)
