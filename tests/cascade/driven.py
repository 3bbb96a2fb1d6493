"""A cascade that is told by hand what happens: no agents, no links, no time of its own."""

from __future__ import annotations

from typing import Any

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade import Cascade, CascadeOptions
from nile.cascade.actions import Action, Adopt, Publish, Send
from nile.cascade.inputs import FrameReceived, Started, Steered, Ticked
from nile.events import HostResult
from nile.options import ExecOptions, Pacing
from nile.topology.model import Plan


class Driven:
    """The cascade of a plan, at a time that only the test moves on; all nodes are asked."""

    def __init__(self, plan: Plan, **options: Any) -> None:
        names = tuple(node.host for node in plan.nodes)
        run = CascadeOptions(
            "run", ExecOptions("true", **options), {n: {"host": n} for n in names}, names, 0.0
        )
        self.cascade = Cascade(plan, run)
        self.now = 0.0
        self.actions = self.cascade.apply(Started(), 0.0)

    def say(self, kind: int, origin: int, epoch: int, body: dict[str, object]) -> list[Action]:
        """A frame comes from a node, or (origin 0) from the root's own relay."""
        return self._apply(FrameReceived(Frame(kind, origin, epoch, (), wire.dumps(body))))

    def up(self, node_id: int, epoch: int = 1) -> list[Action]:
        """A node's agent says hello."""
        return self.say(wire.HELLO, node_id, epoch, {})

    def runs(self, node_id: int, epoch: int = 1) -> list[Action]:
        """Its command began."""
        return self.say(wire.STARTED, node_id, epoch, {})

    def stands(self, node_id: int, epoch: int, children: dict[int, int]) -> list[Action]:
        """An agent that was attached anew says so; `children` are those up below it: id -> epoch."""
        below = [[child, each, "up"] for child, each in children.items()]
        return self.say(wire.STATE, node_id, epoch, {"trace": "alive", "held": False, "children": below})

    def broke(self, parent: int, child: int, epoch: int = 1, reason: str = "it broke") -> list[Action]:
        """A link is lost, says the parent, which was attached once."""
        body: dict[str, object] = {"child": child, "epoch": epoch, "code": "link", "reason": reason}
        return self.say(wire.LOST, parent, 1 if parent else 0, body)

    def failed(self, parent: int, child: int, epoch: int, code: str) -> list[Action]:
        """A login came to nothing, says the parent, which was attached once."""
        body: dict[str, object] = {"child": child, "epoch": epoch, "code": code, "reason": f"so: {code}"}
        return self.say(wire.FAILED, parent, 1 if parent else 0, body)

    def steer(self, pacing: Pacing) -> list[Action]:
        """The user wants it to go on otherwise."""
        return self._apply(Steered(pacing))

    def pass_time(self, seconds: float) -> list[Action]:
        """Let time go by, tick by tick."""
        end, actions = self.now + seconds, list[Action]()
        while self.now < end:
            self.now += 1.0
            actions += self._apply(Ticked())
        return actions

    def _apply(self, event: FrameReceived | Steered | Ticked) -> list[Action]:
        actions = self.cascade.apply(event, self.now)
        self.actions += actions
        return actions


def placed(actions: list[Action]) -> list[tuple[int, int, int]]:
    """(parent, child, epoch) for all whom somebody is told to log in to."""
    found = []
    for action in actions:
        if isinstance(action, Adopt):
            found += [(0, entry["id"], entry["epoch"]) for entry in action.entries]
        elif isinstance(action, Send) and action.frame.type == wire.ADOPT:
            entries = action.frame.fields()["entries"]
            found += [(action.frame.path[-1], entry["id"], entry["epoch"]) for entry in entries]
    return found


def results(actions: list[Action]) -> dict[str, HostResult]:
    """The verdicts among them, by host."""
    events = [action.event for action in actions if isinstance(action, Publish)]
    return {event.host: event for event in events if isinstance(event, HostResult)}
