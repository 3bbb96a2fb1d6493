"""What workers are asked, by number, and who waits for the answer. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nile.cascade import Errand, Publish, Tell
from nile.cascade.work import Reach
from nile.events import Decision
from nile.sync.targets import count
from nile.topology.model import ROOT_ID

LOOPBACK = "127.0.0.1"
"""Where a way that was opened by `reach` begins, at its giver."""

Errands = Iterator[Errand]
Answer = Callable[[dict[str, Any], float], Errands]
"""Takes a message, in which `from` is who says it, and the time."""


class Asking:
    """Numbers questions, and gives each answer to whoever asked."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, Answer]] = {}
        self._last = 0

    def ask(self, node_id: int, do: str, fields: dict[str, Any], answer: Answer | None) -> Tell:
        """Have a worker do something; None: it has nothing to answer."""
        self._last = number = self._last + 1
        if answer is not None:
            self._waiting[number] = (node_id, answer)
        return Tell(node_id, {"n": number, "do": do, **fields})

    def decide(self, text: str, answer: Answer) -> Publish:
        """Have this in the store, and then an answer, as if the root's worker had given it.

        It has a `code` and a `reason` where the store can't take it.
        """
        self._last = number = self._last + 1
        self._waiting[number] = (ROOT_ID, answer)
        return Publish(Decision(text, number=number))

    def reach(self, giver: int, taker: int, port: int, answer: Answer) -> Reach:
        """Have a way opened from one node to a port of another: its agent answers, not its worker."""
        self._last = number = self._last + 1
        self._waiting[number] = (giver, answer)
        return Reach(number, giver, taker, port)

    def heard(self, node_id: int, message: dict[str, Any], t: float) -> Errands:
        """An answer, or one of several; raises ValueError where another one was asked."""
        number = count(message["n"])
        if number > self._last:
            raise ValueError("an answer to what nobody was asked")
        asked, answer = self._waiting.get(number, (node_id, None))
        if asked != node_id:
            raise ValueError("an answer to what another was asked")
        if answer is None or message.get("alive") is True:  # it is at it
            return
        if message.get("more") is not True:
            del self._waiting[number]
        yield from answer({**message, "from": node_id}, t)
