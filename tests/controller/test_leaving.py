"""What becomes of the commands when nobody can look at a run any more."""

from __future__ import annotations

import pytest

from nile.agent import wire
from nile.agent.wire import Frame
from nile.events import HostUp
from tests.controller.puppet import CHILD, Puppet, PuppetTransport, engine


class Graces:
    """The relay of a run that goes on until it is cancelled; it notes with what grace."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.transport = PuppetTransport(self._frame)

    def _frame(self, puppet: Puppet, frame: Frame) -> None:
        if frame.type == wire.CANCEL:
            self.heard.append(frame.fields()["grace"])
            body = {"child": CHILD, "epoch": 1, "code": "cancelled", "reason": "cancelled", "attempts": 0}
            puppet.say(wire.FAILED, body)


def test_a_display_that_fails_leaves_commands_their_grace() -> None:
    """A terminal that hung up is no reason to SIGKILL a package manager."""
    relay = Graces()

    def look() -> None:
        for event in engine(relay.transport).events(grace_s=7.0):
            if isinstance(event, HostUp):
                raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="terminal is gone"):
        look()
    assert relay.heard == [7.0]
