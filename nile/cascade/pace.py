"""How fast a run under way goes on, as its user sets it: logins of each node, commands, a pause. Pure.

Every relay is told (PACE), and again with each heartbeat, for those that are attached
meanwhile; one that becomes a relay hears of it with the first host that it gets. A
pause keeps back hosts that nobody was at. Who was there is logged in to again however
paused the run is: an agent that lost its link waits for that, and its lease goes on.
So are gateways: those that run no command, and any that is the only way left to such
an agent, which starts its own after the pause.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade.actions import Action, Publish, Send
from nile.cascade.hosts import Host
from nile.cascade.slots import Gate
from nile.events import Paced
from nile.options import Pacing

PAUSED, RESUMED = "paused: no further logins and starts", "resumed"


class Pace(Gate):
    """What holds now. It is the gate before the slots for logins, too.

    `known`: every node has it with its plan. Else another root set it, and some may not know it.
    """

    def __init__(self, now: Pacing, *, known: bool) -> None:
        self._now = now
        self._known = known

    @property
    def paused(self) -> bool:
        """Is nothing to begin that hasn't?"""
        return bool(self._now.paused)

    def may_start(self, host: Host) -> bool:
        """May somebody log in to it now?"""
        return not self._now.paused or host.urgent

    def begin(self) -> list[Action]:
        """The run goes on below another root."""
        return [*([self._told(PAUSED)] if self.paused else []), *self.beat()]

    def steer(self, wanted: Pacing) -> list[Action]:
        """The user wants it to be so from now on, as far as it says anything."""
        before = self._now
        said = {each.name: getattr(wanted, each.name) for each in fields(wanted)}
        self._now = replace(before, **{name: value for name, value in said.items() if value is not None})
        if self._now == before:
            return []
        self._known = False
        return [self._told(_words(before, self._now)), *self.beat()]

    def beat(self) -> list[Action]:
        """A heartbeat goes out."""
        return [] if self._known else [Send(Frame(wire.PACE, body=wire.dumps(self._body)))]

    @property
    def news(self) -> dict[str, Any]:
        """What a relay is to be told that may not have heard of it, if anything."""
        return {} if self._known else self._body

    @property
    def _body(self) -> dict[str, Any]:
        return {"parallel": self._now.parallel, "paused": self.paused}

    def _told(self, words: str) -> Publish:
        return Publish(Paced(words, pacing=self._now))


def _words(before: Pacing, now: Pacing) -> str:
    """What changed."""
    said = []
    if now.paused != before.paused:
        said.append(PAUSED if now.paused else RESUMED)
    if now.parallel != before.parallel:
        said.append(f"each node runs {now.parallel} logins at a time")
    if now.fanout != before.fanout:
        said.append(f"the command runs on {now.fanout} hosts at one time")
    return "; ".join(said)
