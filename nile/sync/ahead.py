"""A recording that begins while hosts still say what they have: most lack what the first one lacks. Pure.

It is made against nothing (see streaming), so no host has to do with it, and none is written to. Whoever
then wants the very same takes it over; where nobody does, it is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nile.sync.asking import Asking, Errands
from nile.topology.model import ROOT_ID

MOST = 256 << 20
"""Bytes: what is more takes its time in any case, and room at the root perhaps for nothing."""

Said = Callable[[dict[str, Any], float], Errands]


class Ahead:
    """At most one of a run. `begun`: has it been tried?"""

    def __init__(self, asking: Asking, secret: Callable[[], bytes]) -> None:
        self._asking = asking
        self._secret = secret
        self.begun = False
        self._number = 0
        self._fields: dict[str, Any] = {}
        self._said: list[dict[str, Any]] = []
        self._taker: Said | None = None

    def begin(self, fields: dict[str, Any]) -> Errands:
        """Record what these fields say (those of `record`, but for the secret)."""
        self.begun = True
        self._fields = fields
        tell = self._asking.ask(ROOT_ID, "record", {**fields, "secret": self._secret()}, self._heard)
        self._number = tell.message["n"]
        yield tell

    def take(self, fields: dict[str, Any], said: Said) -> int:
        """Its number, for whoever wants just that; 0: it is another one, or failed.

        What follows is told to `said`; what was said before `catch_up` brings.
        """
        if not self._number or fields != self._fields or any(each.get("code") for each in self._said):
            return 0
        number, self._number = self._number, 0
        self._taker = said
        return number

    def catch_up(self, t: float) -> Errands:
        """What was said before it was taken."""
        if self._taker is not None:
            said, self._said = self._said, []
            for message in said:
                yield from self._taker(message, t)

    def drop(self) -> Errands:
        """Nobody wants it."""
        number, self._number = self._number, 0
        if number:
            yield self._asking.ask(ROOT_ID, "forget", {"what": number}, None)

    def _heard(self, message: dict[str, Any], t: float) -> Errands:
        if self._taker is not None:
            yield from self._taker(message, t)
        else:
            self._said.append(message)
