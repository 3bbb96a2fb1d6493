"""How a command is stopped: pure; sent as source, for most commands end by themselves.

SIGTERM, a grace, SIGKILL again and again until nothing of it lives; what does
so two seconds later is given up. Whoever was seen alive from the beginning on
is named in the result, with what became of it.
"""

from nile.agent import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple

STUCK_S = 2.0  # SIGKILL is repeated for so long, then survivors are named and given up
MOST_SEEN = 100  # processes that are remembered: one may fork without end
KILLED, SURVIVED = 1, 2  # what became of a process; one that may stay has 0


class Stopping:
    """The end of one command, from `now` on, when all of it is sent SIGTERM; `alive` are known so far."""

    def __init__(self, alive: "Sequence[Tuple[int, str]]", now: float, grace_s: float) -> None:
        self._term_at = now
        self._kill_at = 0.0
        self._grace_s = grace_s
        self._seen: "Dict[int, str]" = dict(alive[:MOST_SEEN])

    def hurry(self, grace_s: float, now: float) -> None:
        """Let no more than `grace_s` pass from now on."""
        self._grace_s = min(self._grace_s, now - self._term_at + grace_s)

    def signal(self, alive: "Sequence[Tuple[int, str]]", exited: bool, now: float) -> "Optional[int]":
        """What to send to those that are `alive`, (pid, name): a signal, 0 for none, None when it is over.

        `exited`: the status of the command's own process is known. That comes first.
        """
        for pid, name in alive:
            if len(self._seen) < MOST_SEEN:
                self._seen[pid] = name
        if now < self._term_at + self._grace_s if alive else not exited:
            return 0
        self._kill_at = self._kill_at or now
        return core.KILL if alive and now < self._kill_at + STUCK_S else None

    def ends(self, alive: "Sequence[Tuple[int, str]]") -> "List[List[object]]":
        """Whoever was seen, as [pid, name, what became of it]; survivors first."""
        left = [[pid, name, SURVIVED] for pid, name in alive]
        there = {pid for pid, _ in alive}
        return left + [[pid, name, KILLED] for pid, name in sorted(self._seen.items()) if pid not in there]
