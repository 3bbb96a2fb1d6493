"""When a node of a chain is held up, by whom, and how it knows. No input or output.

A node says so itself, where it has the figures: the root can't ask every node
many times a second. It is held up by its applier, or by its successor, if over
the last seconds

  - it stood still because of that one for STILL of the time, and
  - that one took nothing at all, or less than 1/SLOW of the best rate that
    this node has seen in this stream. A chain that was always as slow is held
    up by nobody.

What the best rate was: of the applier, the best between two looks. Of the
successor, only what goes beyond what it may keep for its own applier, which
is a ring: at first all rings are filled as fast as the wire allows, and where
every disk is slower than a wire this says nothing of anybody. It does say
something of a wire: where the successor would take far more than comes to it,
all that it took counts. So a root, which has no applier, knows that the first
host has become slow before a ring was filled.

A host that was always slow can't tell by itself, and says nothing. Its
predecessor does: its own applier has shown that the stream can be faster. And
so do those above that one: the last one in the chain names the cause.
"""

from nile.agent.worker.ring import APPLIER, SUCCESSOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    from nile.agent.worker.reports import Progress

WINDOW_S = 2.0
LOOKS = 4  # in a window
KEPT = 60  # looks: how far back the best rate of a successor is sought
STILL = 0.6
SLOW = 3


class Taker:
    """One that takes what a node has, as it was seen time and again: `best` is in bytes/s."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._seen: "List[Tuple[float, float, int, bool]]" = []
        self._said = float("-inf")
        self.best = 0.0
        self._wire = 0.0  # the same with what it keeps

    def forget(self) -> None:
        """It isn't there now, or it wasn't looked at: what follows begins anew, but `best` remains."""
        del self._seen[:]

    def see(self, now: float, stood_s: float, offset: int, keeps: int, free: bool) -> None:
        """It has taken all before `offset`, of which `keeps` bytes say nothing of how fast it is.

        `stood_s`: how long the node has stood still because of it, up to now; `free`: it would take far more.
        """
        if self._seen:
            last, _, known, _ = self._seen[-1]
            if offset < known or now - last > 2 * self._window_s / LOOKS:
                self.forget()  # it is another one; or nobody looked, and it may be that we held ourselves up
        for since, _, before, _ in self._seen:
            if now - since >= self._window_s / LOOKS / 2:  # in less, what is in a pipe is much
                self.best = max(self.best, (offset - before - keeps) / (now - since))
                self._wire = max(self._wire, (offset - before) / (now - since))
        self._seen = self._seen[1 - KEPT :] + [(now, stood_s, offset, free)]

    def judge(self, best: float) -> str:
        """Why the node is held up by it, if the best rate was `best`; "": it isn't, or it was just said."""
        now, stood_s, offset, _ = self._seen[-1]
        earlier = [seen for seen in self._seen if seen[0] <= now - self._window_s]
        if not earlier or now - self._said < self._window_s:
            return ""
        since, stood_before_s, before, _ = earlier[-1]
        if all(free for _, _, _, free in self._seen[len(earlier) - 1 :]):
            best = max(best, self._wire)
        span, stood, moved = now - since, stood_s - stood_before_s, offset - before
        if stood < STILL * span or (moved and moved * SLOW >= best * span):
            return ""
        self._said = now
        figures = (stood, span, moved / span / 1e6, best / 1e6)
        return "it stood still for %.1f of %.1f s, at %.2f MB/s; the best was %.2f" % figures


class Holdup:
    """Whether a node is held up: `look` once in `every_s`."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self.every_s = window_s / LOOKS
        self._takers = {APPLIER: Taker(window_s), SUCCESSOR: Taker(window_s)}

    def look(
        self, now: float, progress: "Progress", keeps: "Dict[str, int]", free: bool = False
    ) -> "Optional[Tuple[str, str, int]]":
        """Who holds the node up, why, and at which offset; None: nobody, or it was just said.

        `keeps`: for whoever is there now, how many bytes it may keep without having applied them.
        `free`: the successor would take far more than comes to it.
        """
        stood = {APPLIER: progress.applier_s, SUCCESSOR: progress.successor_s}
        taken = {APPLIER: progress.applied, SUCCESSOR: progress.forwarded}
        for who, taker in self._takers.items():
            if who in keeps:
                taker.see(now, stood[who], taken[who], keeps[who], free and who == SUCCESSOR)
            else:
                taker.forget()
        best = max(taker.best for taker in self._takers.values())
        for who in keeps:
            why = self._takers[who].judge(best)
            if why:
                return who, why, taken[who]
        return None
