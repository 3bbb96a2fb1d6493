"""What the root concludes from what an agent says that was attached anew."""

from __future__ import annotations

from typing import Any

import pytest

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade import Cascade
from nile.cascade.actions import Action, Adopt, Publish, Send
from nile.cascade.inputs import FrameReceived, Started
from nile.cascade.orders import CascadeOptions
from nile.controller.prepare import plan_login
from nile.events import HostResult, Verdict
from nile.options import ExecOptions, Kex, Limits, Signing, SshClient, Timeouts
from nile.topology.model import HostSpec, Plan, PlanNode
from nile.transport.base import ResolvedLogin

UP_FOR_S = 1000.0


class Run:
    """One host below the root, whose link breaks in its first attachment before it says that it started."""

    def __init__(self) -> None:
        plan = Plan(
            (PlanNode(1, "h1", 0, 1, True),), {"h1": HostSpec("h1", "h1", "h1")}, Limits(), Timeouts()
        )
        nobody = SshClient.OPENSSH, Kex.FAST, Signing.AUTO
        login = plan_login(ResolvedLogin("h1", "h1", "h", 22, "me", "h", (), (), (), *nobody))
        options = CascadeOptions("run", ExecOptions("true"), {"h1": login}, ("h1",), 0.0)
        self.cascade = Cascade(plan, options)
        self.now = 0.0
        self.cascade.apply(Started(), self.now)
        self.says_hello(1)
        lost = {"child": 1, "epoch": 1, "code": "link", "reason": "it broke", "attempts": 1}
        self.now = 5.0
        (placed,) = self.hears(wire.LOST, lost, 0, 0)
        assert isinstance(placed, Adopt)
        assert placed.entries[0]["epoch"] == 2

    def hears(self, kind: int, body: dict[str, Any], origin: int, epoch: int) -> list[Action]:
        frame = Frame(kind, origin, epoch, (), wire.dumps(body))
        return self.cascade.apply(FrameReceived(frame), self.now)

    def says_hello(self, epoch: int) -> None:
        self.hears(wire.LOGIN, {"child": 1, "epoch": epoch, "attempt": 1}, 0, 0)
        self.hears(wire.HELLO, {"uptime": UP_FOR_S + self.now}, 1, epoch)


@pytest.mark.parametrize("known_for_s", [UP_FOR_S, 0.5])
def test_a_command_is_started_again_only_where_memory_would_know_of_a_first_start(known_for_s: float) -> None:
    """A container may have forgotten, while the kernel below it went on."""
    run = Run()
    run.says_hello(2)
    said = {"trace": "none", "held": True, "children": [], "uptime": known_for_s}
    actions = run.hears(wire.STATE, said, 1, 2)
    started = [each for each in actions if isinstance(each, Send) and each.frame.type == wire.START]
    results = [
        each.event for each in actions if isinstance(each, Publish) and isinstance(each.event, HostResult)
    ]
    if known_for_s == UP_FOR_S:
        assert (len(started), results) == (1, [])
    else:
        assert started == []
        assert [(result.verdict, result.reason) for result in results] == [
            (Verdict.LOST, "it was booted anew after its command may have started")
        ]
