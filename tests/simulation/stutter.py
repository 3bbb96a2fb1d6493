"""A node that says things twice, and again when nobody asks any more: it may change nothing."""

from __future__ import annotations

from collections.abc import Callable

from nile.agent.wire import Frame
from nile.simulation.agent import SimAgent

AGAIN_S = (0.0, 0.4, 5.0)


class Stuttering(SimAgent):
    """Repeats every frame of its own, at once and later: by then it may have another parent, and epoch."""

    def up(self, frame: Frame, left: Callable[[], None] | None = None) -> None:
        """Queue a frame, and its doubles."""
        super().up(frame, left)
        if left is None and self.alive:
            for seconds in AGAIN_S:
                self.clock.after(seconds, super().up, frame)
