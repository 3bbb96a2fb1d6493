"""The destination of a run on this host, while the run has it."""

import time

from nile.agent.worker import target
from nile.agent.worker.lock import Busy, Lock
from nile.agent.worker.receiving import sweep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple


class Place:
    """Made, locked and cleaned where it is to be written (`write`); else only looked at."""

    def __init__(self, dest: bytes, temporary: bytes, write: bool) -> None:
        self.dest = dest
        self.temporary = temporary
        self._write = write
        self._lock: "Optional[Lock]" = None
        self._prepared: "Optional[target.Prepared]" = None

    def take(self) -> "Optional[Tuple[str, str]]":
        """Have it for this run; or why not, and the remedy, where another run has it. Raises OSError."""
        if not self._write:
            return None
        self._prepared = target.prepare(self.dest, True)
        self._lock = Lock(self.dest)
        busy = self._lock.acquire()
        if busy is not None:
            return "another run writes there%s" % by(busy), "wait until it has ended, or stop it"
        target.clean(self._lock)
        return None

    def close(self) -> None:
        """What the run was to do there is done."""
        self._prepared = None  # it stays, empty or not
        if self._lock is not None:
            self._lock.release()

    def abandon(self) -> None:
        """It wasn't: nothing of ours stays but what came whole."""
        ours = self._lock is not None and self._lock.held
        if ours:
            sweep(self.dest, self.temporary)
        if self._prepared is not None and (ours or self._lock is None):
            self._prepared.undo()
        if self._lock is not None:
            self._lock.release()


def by(busy: Busy) -> str:
    """Whose run has it, since when, as far as is known: words for a reason."""
    words = []
    if busy.user is not None:
        words.append(" of %s" % busy.user)
    if busy.since is not None:
        words.append(" since %s" % time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(busy.since)))
    if busy.run is not None:
        words.append(" (run %s)" % busy.run[:8])
    return "".join(words)
