"""What all renderers are: subscribers that write what they are told, and decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nile.events import Event


class Renderer(Protocol):
    """Shows the events of one run, in their order, on a stream."""

    def handle(self, event: Event) -> None:
        """Show an event. Raises what writing raises (BrokenPipeError where the reader went away)."""

    def finish(self) -> None:
        """Show what is still held. No event follows; also called where the run broke off."""


class Several:
    """Several renderers as one; each gets every event, in the order given."""

    def __init__(self, renderers: Sequence[Renderer]) -> None:
        self._renderers = tuple(renderers)

    def handle(self, event: Event) -> None:
        """Show an event in each of them."""
        for renderer in self._renderers:
            renderer.handle(event)

    def finish(self) -> None:
        """Finish each of them."""
        for renderer in self._renderers:
            renderer.finish()
