"""Whether what was given something to do stands still.

Whoever waits for more of its input does nothing either, and isn't to blame for
that: its time begins anew as long as it `waits`.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Optional, Tuple

    from nile.agent.worker.loop import Loop

    Looked = Tuple[int, ...]

_LOOKS = 4  # in the time that it may stand still, at least
LOOK_S = 5.0


class Standstill:
    """Looks time and again; `still()` is called once, where nothing was done for `most_s`.

    `done()` gives what changes while anything goes on, `waits()` whether there is nothing for it to do now.
    `moved()` is called whenever it was looked (every LOOK_S at the latest) and seen to have done
    anything since the last time.
    """

    def __init__(
        self,
        loop: "Loop",
        most_s: float,
        done: "Callable[[], Looked]",
        still: "Callable[[], None]",
        moved: "Optional[Callable[[], None]]" = None,
        waits: "Optional[Callable[[], bool]]" = None,
    ) -> None:
        self._loop = loop
        self._most_s = most_s
        self._done = done
        self._still = still
        self._moved = moved
        self._waits = waits
        self._seen: "Looked" = ()  # it has only begun: a look at all processes would say nothing
        self._since = loop.now()
        self._timer = -1
        self._look_later()

    def given_all(self, most_s: float) -> None:
        """Nothing more comes: it waits for nothing, and may stand still no longer than that."""
        self._waits = None
        self._most_s = min(self._most_s, most_s)
        self._since = self._loop.now()
        self._loop.forget(self._timer)
        self._look_later()

    def stop(self) -> None:
        """Look no more."""
        self._loop.forget(self._timer)

    def _look_later(self) -> None:
        self._timer = self._loop.at(self._loop.now() + min(LOOK_S, self._most_s / _LOOKS), self._look)

    def _look(self) -> None:
        seen = self._done()
        if seen != self._seen:
            self._seen, self._since = seen, self._loop.now()
            if self._moved is not None:
                self._moved()
        elif self._waits is not None and self._waits():
            self._since = self._loop.now()
        elif self._loop.now() - self._since >= self._most_s:
            self._still()
            return
        self._look_later()


def done_by(session: int) -> "Looked":
    """How much the processes of this session have computed, read and written, and called for that."""
    done = [0] * 5
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[3]) != session:
                continue
            done[0] += int(fields[11]) + int(fields[12])
            with open("/proc/%s/io" % name, "rb") as file:
                lines = file.read().split(b"\n")
        except OSError:
            continue  # it has ended, or isn't ours to look at
        for at, line in enumerate(lines[:4]):
            done[1 + at] += int(line.rpartition(b" ")[2])
    return tuple(done)
