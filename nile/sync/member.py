"""A host of a chain (see chain). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nile.agent.worker.ring import APPLIER, SUCCESSOR
from nile.sync.targets import Target

STILL = 0.5
"""A member stands still, that did so for this part of the time between two reports."""


@dataclass(slots=True, eq=False)
class Member:
    """A host of the chain. `feeder`: who passes the stream on to it, or None for the root."""

    target: Target
    feeder: Member | None
    number: int = 0
    """Of the question by which it joined."""
    asked: int = 0
    """The number of the last question where it waits for its feeder."""
    secret: bytes = b""
    link: int = 0
    """The number of the words by which its feeder was told where it waits."""
    told_last: bool = False
    inside: bool = True
    complete: bool = False
    """It has everything, and knows that,"""
    complete_s: float = 0.0
    """since then."""
    digest_due: bool = False
    """It waits to be told the digest of all of it."""
    due_s: float | None = None
    """By when it has to answer."""
    failed: int = 0
    """Ways to it that came to nothing."""
    held_s: float = float("-inf")
    """When it last said that it is held up,"""
    held_since_s: float = float("-inf")
    """when it first said so, of what lasts until now,"""
    own_fault_s: float = float("-inf")
    """and when it last said that it is by its own disk."""
    waits_for: str = ""
    """Because of whom it stood still between its last two reports: its applier, its successor, or nobody;"""
    report_s: float = float("-inf")
    """when the last one came, and what it said of these."""
    report: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def reports(self, progress: dict[str, Any], t: float) -> None:
        """It says how far it is; raises KeyError, TypeError or ValueError."""
        now = tuple(float(progress[name]) for name in ("at", "applier_s", "successor_s"))
        span, applier, successor = (after - before for after, before in zip(now, self.report, strict=True))
        still = {APPLIER: applier, SUCCESSOR: successor}
        most = max(still, key=lambda who: still[who])
        self.waits_for = most if still[most] > STILL * span > 0 else ""
        self.report_s, self.report = t, (now[0], now[1], now[2])
