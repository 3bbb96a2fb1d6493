"""The cascade machine: `apply(input, now) -> [action]`; its state changes nowhere else.

`now` is in seconds, from any origin; the first input is `Started`. Frames come
from nodes, so nothing in them is believed before it was checked: who may speak
for whom, and of which attachment (epoch), types and sizes.
"""

from __future__ import annotations

from typing import Any

from nile.agent import wire
from nile.agent.relay import UNBOUND
from nile.agent.wire import Frame, WireError
from nile.cascade.actions import Action, Adopt, Carry, Finish, Publish, Send, Sign
from nile.cascade.hosts import (
    Host,
    Judgement,
    State,
    code_of,
    integer,
    judge_failed,
    judge_lost,
    judge_outcome,
    text,
)
from nile.cascade.inputs import (
    Committed,
    FrameReceived,
    Input,
    Interrupted,
    Signed,
    Started,
    StdinEnded,
    StdinRead,
    Ticked,
)
from nile.cascade.orders import WINDOW, CascadeOptions, entry, shared
from nile.cascade.slots import Slots
from nile.cascade.stdin import StdinBroadcast
from nile.events import Code, HostOutput, HostStarted, HostUp, Notice, RunEnded, RunStarted, Verdict
from nile.topology.model import ROOT_ID, ROOT_NAME, Plan

STREAMS = ("stdout", "stderr")
ORPHANED_S = 5.0
"""After the grace of a cancelled run: how long hosts have to report before they are given up."""


class Cascade:
    """The state of one run. `options.hosts` are the asked ones; every one of them gets one verdict."""

    def __init__(self, plan: Plan, options: CascadeOptions) -> None:
        self._plan = plan
        self._options = options
        ranks = {name: rank for rank, name in enumerate(options.hosts)}
        self._hosts = {node.id: Host(node, ranks.get(node.host, 0)) for node in plan.nodes}
        self._begun = 0.0
        self._beat = 0
        self._logins = Slots(plan.limits.logins)
        self._starts = Slots(options.exec.fanout)
        self._stdin = StdinBroadcast(options.exec.stdin, (host.id for host in self._asked()))
        for host in self._hosts.values():
            host.committed = not host.node.asked
            host.permitted = self._wanted(host) and not self._logins.bounded
        self._open = len(self._hosts)
        self._give_up_at: float | None = None
        self._finished = False
        self._reported: set[int] = set()

    def apply(self, event: Input, now: float) -> list[Action]:
        """The actions that follow from one input, in order."""
        if self._finished:
            return []
        if isinstance(event, Started):
            return self._start(now)
        actions = self._handle(event, now - self._begun)
        if self._give_up_at is None:
            actions += self._release()
            actions += self._stdin.more()
        if not self._open:
            self._finished = True
            actions += [Publish(self._summary(now - self._begun)), Finish()]
        return actions

    def unfinished(self) -> list[str]:
        """Asked hosts that have no verdict yet."""
        return [host.name for host in self._asked() if host.verdict is None]

    def _handle(self, event: Input, t: float) -> list[Action]:
        match event:
            case FrameReceived(frame):
                return self._frame(frame, t)
            case Committed():
                return self._committed(event)
            case Signed():
                return self._signed(event)
            case StdinRead(data):
                return self._stdin.data(data)
            case StdinEnded():
                return self._stdin.end()
            case Interrupted(grace_s):
                return self._interrupt(grace_s, t)
            case Ticked():
                return self._tick(t)
        return []

    # The beginning.

    def _start(self, now: float) -> list[Action]:
        self._begun = now
        relays = tuple(node.host for node in self._plan.nodes if not node.asked)
        started = RunStarted(
            run=self._options.run,
            command=self._options.exec.command,
            routes=self._plan.source,
            hosts=self._options.hosts,
            relays=relays,
            at=self._options.started_at,
        )
        top = tuple(self._entry(self._hosts[child]) for child in self._plan.children(ROOT_ID))
        self._offer_logins(ROOT_ID)
        return [Publish(started), Adopt(top), *self._release()]

    def shared(self) -> dict[str, Any]:
        """The part of the plan that is the same for every node."""
        return shared(self._plan, self._options)

    def _entry(self, host: Host) -> dict[str, Any]:
        return entry(self._plan, self._options, self._hosts, host)

    # Frames.

    def _frame(self, frame: Frame, t: float) -> list[Action]:
        try:
            if frame.type in (wire.LOGIN, wire.FAILED, wire.LOST, wire.SIGN, wire.REPORT):
                return self._from_parent(frame, t)
            host = self._hosts.get(frame.origin)
            if (
                host is None
                or frame.epoch != host.epoch
                or (host.verdict is not None and frame.type != wire.HELLO)
            ):
                return []
            return self._from_host(host, frame, t)
        except (WireError, KeyError, TypeError, ValueError) as error:
            return self._distrust(frame, str(error))

    def _from_parent(self, frame: Frame, t: float) -> list[Action]:
        """A relay speaks about one of its own children."""
        body = frame.fields()
        child = self._hosts.get(body["child"])
        if child is None or self._link_parent(child) != frame.origin:
            return self._distrust(frame, "it speaks about a host that isn't its child")
        if frame.type == wire.REPORT:
            return self._report(child, text(body["text"]), frame.origin)
        if body["epoch"] != child.epoch:
            return []
        if frame.type == wire.LOGIN:
            return self._login(child, t)
        if frame.type == wire.SIGN:
            return self._sign(child, body)
        never_up = child.t_ready_s is None and not child.ended
        if body["code"] == UNBOUND and never_up and not child.carried:
            return self._carry(child)
        return self._gone(child, frame.type == wire.FAILED, code_of(body["code"]), text(body["reason"]), t)

    def _report(self, child: Host, said: str, origin: int) -> list[Action]:
        """A relay dropped a child's frame; it says so once for each child."""
        if child.complained_of:
            return []
        child.complained_of = True
        return [Publish(Notice(said, self._name(origin)))]

    def _link_parent(self, child: Host) -> int:
        return ROOT_ID if child.carried else child.node.parent

    def _carry(self, child: Host) -> list[Action]:
        """Its parent's ssh can't bind a signature, so no signature leaves the root for this login."""
        child.carried = True
        child.epoch += 1
        child.state = State.PLANNED
        return [Carry(self._entry(child), child.node.parent)]

    def _from_host(self, host: Host, frame: Frame, t: float) -> list[Action]:
        if frame.type == wire.HELLO:
            return self._hello(host, t)
        if not self._may_speak(host, frame.type):
            return self._distrust(frame, "no command was started there")
        if frame.type == wire.OUTPUT:
            return self._output(host, frame.body, t)
        if frame.type == wire.STARTED and host.state is State.UP:
            host.state = State.RUNNING
            self._stdin.started(host.id)
            return [Publish(HostStarted(host.name, t), host.id)]
        if frame.type == wire.TAKEN:
            self._stdin.taken(host.id, integer(frame.value()))
        if frame.type == wire.RESULT:
            host.outcome = frame.fields()
            return self._conclude(host, t)
        return []

    def _may_speak(self, host: Host, kind: int) -> bool:
        """Of a command that had no start nothing is heard, but that it was cancelled before."""
        cancelled = kind == wire.RESULT and self._give_up_at is not None and host.alive
        return host.may_have_started or (host.node.asked and cancelled)

    def _login(self, child: Host, t: float) -> list[Action]:
        if child.state is State.PLANNED:
            child.state = State.LOGIN
            child.t_connect_s = t
        return []

    def _hello(self, host: Host, t: float) -> list[Action]:
        """An agent runs there. Its parent has sent it the plan by now."""
        if host.t_ready_s is not None or host.ended:
            return []
        host.t_ready_s = t
        host.t_connect_s = t if host.t_connect_s is None else host.t_connect_s
        self._logins.give_back(host)
        self._offer_logins(host.id)
        if host.verdict is None:
            host.state = State.UP
            self._ready(host)
        parent = self._name(host.node.parent)
        up = HostUp(host.name, parent, host.node.stage, host.t_connect_s, t)
        return [Publish(up, host.id), *self._settle(host)]

    def _ready(self, host: Host) -> None:
        """Its command starts at once, or when there is a slot for it."""
        if host.node.asked and self._starts.bounded:
            self._starts.offer(host.rank, host)
        else:
            host.may_have_started = host.node.asked

    def _output(self, host: Host, body: bytes, t: float) -> list[Action]:
        stream, offset, data = wire.unpack_output(body)
        name = STREAMS[stream]
        have = host.received[name]
        if offset != have or have + len(data) - host.acked[stream] > WINDOW:
            raise ValueError("output out of turn")
        host.received[name] = have + len(data)
        shown = Publish(HostOutput(host.name, name, offset, data), host.id)
        return [shown, *self._conclude(host, t)]

    def _conclude(self, host: Host, t: float) -> list[Action]:
        """The verdict, once the agent has said how it ended and all output has come."""
        if host.outcome is None or host.verdict is not None or not host.output_complete():
            return []
        return self._judge(host, judge_outcome(host.outcome, self._options.exec.leftover), t)

    def _judge(self, host: Host, judgement: Judgement, t: float) -> list[Action]:
        if host.verdict is not None or not host.node.asked:
            host.state = State.OVER
            return []
        host.verdict = judgement.verdict
        host.state = State.OVER
        self._starts.give_back(host)
        self._stdin.over(host.id)
        result = Publish(judgement.result(host, self._path(host), t), host.id)
        missing = host.output_missing()
        if not missing:
            return [result]
        lost = f"the last {missing} bytes that it printed were lost with the link"
        return [Publish(Notice(lost, host.name), host.id), result]

    # Broken branches.

    def _gone(self, host: Host, failed: bool, code: Code, reason: str, t: float) -> list[Action]:
        """A login failed, or a link was lost: the host is gone, and with it all that is below."""
        if host.ended:
            return []
        if failed and host.t_ready_s is None:
            if host.refused and code in (Code.AUTHENTICATION, Code.SIGNING):
                code, reason = Code.SIGNING, host.refused
            judgement = judge_failed(code, reason, self._options.remedy(code, host.name))
        else:
            judgement = self._judge_lost(host, code, reason)
        actions = self._judge(host, judgement, t)
        never_up = host.t_ready_s is None
        for child in host.node.children:
            actions += self._cut_off(self._hosts[child], host, never_up, code, reason, t)
        return [*actions, *self._ended(host)]

    def _judge_lost(self, host: Host, code: Code, reason: str) -> Judgement:
        if host.outcome is not None:  # only the tail of its output is missing
            return judge_outcome(host.outcome, self._options.exec.leftover)
        return judge_lost(host, code, reason)

    def _cut_off(
        self, host: Host, relay: Host, never_up: bool, code: Code, reason: str, t: float
    ) -> list[Action]:
        """What stood below a relay that is gone. If that was up, its subtree may have run unseen."""
        if host.ended:
            return []
        if not never_up and host.permitted and not self._starts.bounded:
            host.may_have_started = host.node.asked
        what = "was not reached" if never_up else "is gone"
        why = f"its relay {relay.name} {what}: {reason}"
        if code is Code.CANCELLED and not host.may_have_started:
            judgement = judge_failed(code, reason, "")
        else:
            judgement = self._judge_lost(host, Code.PARENT, why)
        actions = self._judge(host, judgement, t)
        for child in host.node.children:
            actions += self._cut_off(self._hosts[child], relay, never_up, code, reason, t)
        return [*actions, *self._ended(host)]

    def _distrust(self, frame: Frame, why: str) -> list[Action]:
        """A frame that breaks the rules is dropped, and reported once for each node."""
        if frame.origin in self._reported:
            return []
        self._reported.add(frame.origin)
        kind = wire.NAMES.get(frame.type, str(frame.type))
        return [Publish(Notice(f"a frame was dropped ({kind}): {why[:200]}", self._name(frame.origin)))]

    def _sign(self, child: Host, body: dict[str, Any]) -> list[Action]:
        relay = self._hosts.get(child.node.parent)
        binds, request = body["binds"], body["request"]
        if relay is None or child.state is not State.LOGIN or not isinstance(request, bytes):
            raise ValueError("a signature for no login")
        if not isinstance(binds, list) or not all(isinstance(bind, bytes) for bind in binds):
            raise ValueError("session-binds that are no bytes")
        left = len(relay.node.children) - relay.signatures
        relay.signatures += 1
        return [Sign(child.id, integer(body["serial"]), tuple(binds), request, left)]

    def _signed(self, event: Signed) -> list[Action]:
        child = self._hosts[event.child_id]
        relay = self._hosts[child.node.parent]
        relay.signatures += event.spent - 1
        child.refused = event.refused
        note: list[Action] = [Publish(Notice(event.note))] if event.note else []
        body = {"serial": event.serial, "answer": event.answer}
        return [*note, self._send(relay.id, wire.SIGNED, body)]

    # Slots: permits for logins, starts of commands.

    def _offer_logins(self, parent_id: int) -> None:
        """A parent that is up could log in to its children, once they are permitted."""
        if self._logins.bounded:
            for child in self._plan.children(parent_id):
                if self._wanted(self._hosts[child]):
                    self._logins.offer(child, self._hosts[child])

    def _wanted(self, host: Host) -> bool:
        return not (self._options.relays_only and host.node.asked)

    def _release(self) -> list[Action]:
        actions: list[Action] = []
        for host in self._logins.grant():
            host.permitted = True
            actions.append(self._send(host.node.parent, wire.PERMIT, {"child": host.id, "epoch": host.epoch}))
        for host in self._starts.grant():
            host.may_have_started = True
            actions.append(self._send(host.id, wire.START, {}))
        return actions

    # The store, time, and the end.

    def _committed(self, event: Committed) -> list[Action]:
        host = self._hosts[event.node_id]
        host.acked = (event.stdout, event.stderr)
        if event.result and not host.committed:
            host.committed = True
            self._count_down(host)
            return self._settle(host)
        if host.ended or host.verdict is not None:
            return []
        return [self._send(host.id, wire.ACK, {"stdout": event.stdout, "stderr": event.stderr})]

    def _tick(self, t: float) -> list[Action]:
        self._beat += 1
        actions: list[Action] = [Send(Frame(wire.BEAT, body=wire.dumps(self._beat)))]
        if self._give_up_at is not None and t >= self._give_up_at:
            for host in self._hosts.values():
                actions += self._give_up(host, t)
        return actions

    def _interrupt(self, grace_s: float, t: float) -> list[Action]:
        self._give_up_at = t + grace_s + ORPHANED_S
        return [Send(Frame(wire.CANCEL, body=wire.dumps({"grace": grace_s})))]

    def _give_up(self, host: Host, t: float) -> list[Action]:
        """A cancelled host that doesn't report."""
        actions: list[Action] = []
        if host.node.asked and host.verdict is None:
            reason = "cancelled, but its end was not seen in time"
            if host.may_have_started:
                actions = self._judge(host, self._judge_lost(host, Code.CANCELLED, reason), t)
            else:
                actions = self._judge(host, judge_failed(Code.CANCELLED, "cancelled", ""), t)
        return actions if host.alive else [*actions, *self._ended(host)]

    def _settle(self, host: Host) -> list[Action]:
        """Agents end bottom-up, each once its verdict is in the store and nothing is below it any more."""
        over = host.verdict is not None or not host.node.asked
        below = any(not self._hosts[child].ended for child in host.node.children)
        if not (host.alive and host.committed and over) or below:
            return []
        return [self._send(host.id, wire.END, {}), *self._ended(host)]

    def _ended(self, host: Host) -> list[Action]:
        """The agent was told to end, or is gone."""
        if host.ended:
            return []
        host.ended = True
        self._logins.give_back(host)
        self._starts.give_back(host)
        self._count_down(host)
        parent = host.node.parent
        return self._settle(self._hosts[parent]) if parent else []

    def _count_down(self, host: Host) -> None:
        if host.ended and host.committed:
            self._open -= 1

    def _summary(self, t: float) -> RunEnded:
        counts = dict.fromkeys(Verdict, 0)
        for host in self._asked():
            if host.verdict is not None:
                counts[host.verdict] += 1
        return RunEnded(self._options.run, counts, t, self._give_up_at is not None)

    # Helpers.

    def _asked(self) -> list[Host]:
        return [host for host in self._hosts.values() if host.node.asked]

    def _send(self, node_id: int, kind: int, body: dict[str, Any]) -> Send:
        epoch = self._hosts[node_id].epoch if node_id else 0
        return Send(Frame(kind, 0, epoch, self.route(node_id), wire.dumps(body)))

    def route(self, node_id: int) -> tuple[int, ...]:
        """Ids from the root's own link down to a node."""
        hops: list[int] = []
        while node_id != ROOT_ID:
            hops.append(node_id)
            node_id = self._link_parent(self._hosts[node_id])
        return tuple(reversed(hops))

    def _path(self, host: Host) -> tuple[str, ...]:
        return self._plan.path(host.id)

    def _name(self, node_id: int) -> str:
        return self._hosts[node_id].name if node_id in self._hosts else ROOT_NAME
