"""The cascade machine: `apply(input, now) -> [action]`; its state changes nowhere else.

`now` is in seconds, from any origin; the first input is `Started`. Frames come
from nodes, so nothing in them is believed before it was checked: who may speak
for whom, and of which attachment (epoch), types and sizes.
"""

from __future__ import annotations

from typing import Any

from nile.agent import wire
from nile.agent.core import STREAMS
from nile.agent.relay import UNBOUND
from nile.agent.wire import Frame, WireError
from nile.cascade.actions import Action, Adopt, Carry, Finish, Publish, Send
from nile.cascade.elevation import Elevation
from nile.cascade.ends import Ends
from nile.cascade.heritage import inherit
from nile.cascade.hosts import Contact, Host
from nile.cascade.inputs import (
    Answered,
    Attested,
    Committed,
    Concluded,
    FrameReceived,
    Input,
    Interrupted,
    Limited,
    Listening,
    PasswordGiven,
    Recorded,
    RootSaid,
    RootWorkerEnded,
    Signed,
    Slept,
    Started,
    StdinEnded,
    StdinRead,
    Steered,
    Ticked,
    Vouched,
    frame_name,
)
from nile.cascade.mending import Mender
from nile.cascade.orders import WINDOW, CascadeOptions, Orders
from nile.cascade.outstanding import Outstanding, outstanding
from nile.cascade.permits import Permits
from nile.cascade.placing import PENDING
from nile.cascade.reins import Reins
from nile.cascade.stdin import StdinBroadcast
from nile.cascade.tasks import Tasks
from nile.cascade.tree import Tree
from nile.cascade.verdicts import Judgement, integer, text, told
from nile.cascade.work import Work
from nile.events import HostOutput, HostStarted, HostUp, Notice, RunGoesOn, RunStarted, Verdict
from nile.options import Pacing
from nile.topology.model import ROOT_ID, Plan

BEATS_TO_NOTE = 4
"""Heartbeats from one note that the root lives to the next."""
ORPHANED_S = 5.0
"""After the grace of a cancelled run: how long hosts have to report before they are given up."""


class Cascade:
    """The state of one run. `options.hosts` are the asked ones; every one of them gets one verdict."""

    def __init__(self, plan: Plan, options: CascadeOptions) -> None:
        self._plan = plan
        self._options = options
        self._tree = Tree(plan, {name: rank for rank, name in enumerate(options.hosts)})
        tasks = Tasks(options.exec)
        self._reins = Reins(plan, options, self._tree, tasks)
        self._orders = Orders(plan, options, self._tree, self._reins.pace, tasks)
        self._begun = 0.0
        self._beat = 0
        heritage = options.heritage
        self._logins, self._starts = slots = self._reins.slots
        self._stdin = StdinBroadcast(options.exec.stdin, (host.id for host in self._asked()))
        if heritage is not None:
            inherit(self._tree, heritage, self._starts)
            self._beat = heritage.first_beat
        self._mender = Mender(plan, options, self._tree, self._orders, slots, self._stdin)
        self._ends: Ends = self._mender.ends
        self._work = Work(options.job, options.worker, self._tree, self._orders.frame, self._decide)
        self._elevation = Elevation(options.exec.outfit.sudo, self._orders.frame)
        self._permits = Permits(options, self._tree, self._orders, slots)
        self._unsettled_at = 0.0
        self._interrupted = False
        """By the user."""
        self._give_up_at: float | None = None
        self._cancel: Send | None = None
        self._finished = False
        self._reported: set[int] = set()

    def apply(self, event: Input, now: float) -> list[Action]:
        """The actions that follow from one input, in order."""
        if self._finished:
            return []
        if isinstance(event, Started):
            return self._start(now)
        t = now - self._begun
        actions = self._handle(event, t)
        actions += self._mender.mend(t, ticked=isinstance(event, Ticked))
        if self._ends.judged:
            actions += self._elevation.judged(self._ends.judged, t)
        actions += self._look_out(t)
        if self._ends.judged:
            actions += self._work.verdicts(self._ends.judged, t)
        if self._give_up_at is None:
            actions += self._permits.release(t)
            actions += self._stdin.more()
        if not self._ends.open:
            self._finished = True
            summary = self._ends.summary(t, interrupted=self._interrupted)
            actions += [Publish(summary), Finish()]
        return actions

    def unfinished(self) -> list[str]:
        """Asked hosts that have no verdict yet."""
        return [host.name for host in self._asked() if host.verdict is None]

    def outstanding(self) -> list[Outstanding]:
        """Who has no verdict yet, and why."""
        return outstanding(self._tree, self._reins.pace)

    def refuses(self, pacing: Pacing) -> str:
        """Why the user can't have it go on so; "" where that can be had."""
        if self._finished:
            return "it has just ended"
        if self._give_up_at is not None:
            return "it is ending: nothing begins any more, and what runs is ended"
        return self._reins.refuses(pacing)

    def shared(self) -> dict[str, Any]:
        """The part of the plan that is the same for every node."""
        return self._orders.shared()

    def received(self) -> dict[int, tuple[int, int]]:
        """How many bytes of stdout and stderr are in the store, by id: those that a former root received."""
        return {host.id: host.acked for host in self._tree.hosts.values() if any(host.acked)}

    def route(self, node_id: int) -> tuple[int, ...]:
        """Ids from the root's own link down to a node."""
        return self._tree.route(node_id)

    def _handle(self, event: Input, t: float) -> list[Action]:
        match event:
            case FrameReceived(frame):
                return self._frame(frame, t)
            case Committed():
                return self._committed(event)
            case Signed():
                return self._permits.signed(event)
            case StdinRead(data):
                return self._stdin.data(data)
            case StdinEnded():
                return self._stdin.end()
            case Answered(_, yes) if self._reins.caution.asking:
                return self._reins.caution.answered(yes)
            case PasswordGiven(secret, why):
                return self._elevation.given(secret, why, t)
            case (
                RootSaid()
                | RootWorkerEnded()
                | Listening()
                | Answered()
                | Recorded()
                | Vouched()
                | Attested()
                | Slept()
            ):
                return self._work.handle(event, t)
            case Concluded():
                return self._work.concluded(t)
            case Limited(limits):
                return self._work.limited(limits, t)
            case Steered(pacing) if self._give_up_at is None:
                return self._reins.steer(pacing, self._mender, t)
            case Interrupted(grace_s):
                self._interrupted = True
                return self._interrupt(grace_s, t)
            case Ticked(settled):
                return self._tick(t, settled)
        return []

    def _start(self, now: float) -> list[Action]:
        heritage = self._options.heritage
        self._begun = now - (heritage.elapsed_s if heritage else 0.0)
        relays = tuple(node.host for node in self._plan.nodes if not node.asked)
        started = RunStarted(
            run=self._options.run,
            command=self._options.exec.command,
            routes=self._plan.source,
            hosts=self._options.hosts,
            relays=relays,
            at=self._options.started_at,
            settings=self._options.exec.told(),
            scripts={script.sha256: script.text for script in self._options.exec.all_scripts()},
            commands=self._options.exec.per_host,
        )
        if heritage:
            t = heritage.elapsed_s
            self._mender.healer.hold(self._reins.pace.paused, t)
            inherited = [
                *self._reins.pace.begin(),
                *self._reins.caution.inherit(),
                *self._mender.inherit(t),
                *self._look_out(t),
            ]
            return [Publish(started), *inherited, *self._permits.release(t)]
        top = tuple(self._orders.entry(self._tree[child]) for child in self._tree.top)
        self._permits.offer_below(ROOT_ID)
        return [Publish(started), *self._work.begin(0.0), Adopt(top), *self._permits.release(0.0)]

    # Frames.

    def _frame(self, frame: Frame, t: float) -> list[Action]:
        try:
            if frame.type in (wire.LOGIN, wire.FAILED, wire.LOST, wire.SIGN, wire.REPORT):
                return self._from_parent(frame, t)
            host = self._tree.hosts.get(frame.origin)
            if host is None or frame.epoch != host.epoch:
                return []
            return self._from_host(host, frame, t)
        except (WireError, KeyError, TypeError, ValueError) as error:
            return self._distrust(frame, str(error))

    def _from_parent(self, frame: Frame, t: float) -> list[Action]:
        """A relay speaks about one of its own children."""
        body = frame.fields()
        child = self._tree.hosts.get(body["child"])
        if child is not None and frame.type != wire.REPORT and 0 < integer(body["epoch"]) < child.epoch:
            return []  # a former parent, which doesn't know yet
        if child is None or self._tree.link_parent(child) != frame.origin:
            return self._distrust(frame, "it speaks about a host that isn't its child")
        if not self._tree.attached(frame.origin):
            return []
        if frame.type == wire.REPORT:
            return self._report(child, f"{frame_name(body['type'])} from {child.name}", frame.origin, body)
        if body["epoch"] != child.epoch:
            return []
        if frame.type == wire.LOGIN:
            return self._login(child, t)
        if frame.type == wire.SIGN:
            return self._permits.sign(child, body)
        never_up = child.contact in PENDING and not child.ended
        if body["code"] == UNBOUND and never_up and child.carrier is None:
            return self._carry(child)
        return self._gone(child, frame.type == wire.FAILED, body, t)

    def _report(self, child: Host, what: str, relay: int, body: dict[str, Any]) -> list[Action]:
        """A relay dropped a child's frame; it says so once for each child."""
        origin = integer(body["origin"])
        hung_there = origin in self._tree.hosts and child.id in self._tree[origin].former
        if child.complained_of or hung_there:  # what was on its way when it moved is no lie
            return []
        child.complained_of = True
        said = f"{what} was dropped: it may not speak for node {origin}"
        return [Publish(Notice(said, self._tree.name(relay)))]

    def _login(self, child: Host, t: float) -> list[Action]:
        if child.contact is Contact.WAITING:
            child.contact = Contact.LOGIN
            self._mender.healer.begun(child, t)
            if child.t_connect_s is None:
                child.t_connect_s = t
        elif child.contact is Contact.LOGIN and self._tree.link_parent(child) == ROOT_ID:
            self._mender.healer.begun(child, t)  # it had to wait for its turn, and is as good as begun now
        return []

    def _gone(self, host: Host, failed: bool, body: dict[str, Any], t: float) -> list[Action]:
        """A login failed, or a link was lost."""
        if host.ended or host.contact is Contact.NONE:
            return []
        code, reason = told(body["code"], body["reason"])
        failed = failed and host.contact is not Contact.UP
        if failed:
            host.admitted = False  # no agent there had its plan yet
        if self._give_up_at is not None and not self._tree.waiting_below(host):
            return self._ends.dismiss(host, code, reason, t)
        return self._mender.gone(host, failed, code, reason, t)

    def _carry(self, child: Host) -> list[Action]:
        """Its parent's ssh can't bind a signature, so no signature leaves the root for this login."""
        child.carrier = child.parent
        child.attach_anew()
        child.contact = Contact.WAITING
        return [Carry(self._orders.entry(child), child.parent)]

    def _from_host(self, host: Host, frame: Frame, t: float) -> list[Action]:
        if frame.type == wire.HELLO:
            return self._hello(host, frame.body, t)
        if frame.type == wire.STATE:
            return self._state(host, frame, t)
        if frame.type == wire.REACHED:  # of a relay, whose own copy may be done
            return self._work.reached(host.id, frame.fields(), t)
        if host.verdict is not None or host.ended:
            return []
        if not self._may_speak(host, frame.type):
            return self._distrust(frame, "no command was started there")
        host.heard_s = t
        if frame.type == wire.OUTPUT:
            return self._output(host, frame.body, t)
        if frame.type == wire.STARTED:
            body = frame.fields()
            if body.get("pid") == 0:
                return self._elevation.begun(host, asks=body.get("asks") is True, t=t)
            return self._started(host, t)
        if frame.type == wire.TAKEN:
            return self._taken(host, integer(frame.value()))
        if frame.type == wire.RESULT:
            host.outcome = frame.fields()
            return self._ends.conclude(host, t)
        return []

    def _may_speak(self, host: Host, kind: int) -> bool:
        """Of a command that had no start nothing is heard, but that it was cancelled before."""
        cancelled = kind == wire.RESULT and self._give_up_at is not None and host.alive
        return host.may_have_started or (host.node.asked and cancelled)

    def _hello(self, host: Host, body: bytes, t: float) -> list[Action]:
        """An agent runs there. Its parent has sent it the plan by now."""
        if host.contact is Contact.UP or not self._may_attach(host):
            return []
        host.met(_uptime(wire.loads(body)), t)
        return self._attached(host, t)

    def _may_attach(self, host: Host) -> bool:
        """Is somebody to log in to it, with whom there is contact? What is out of contact is placed anew."""
        return host.ended or (host.contact in PENDING and self._tree.attached(self._tree.link_parent(host)))

    def _attached(self, host: Host, t: float) -> list[Action]:
        host.contact = Contact.UP
        host.attached_s = t
        host.admitted = False
        self._logins.give_back(host)
        self._mender.healer.up(host, t)
        if host.ended:
            return [self._orders.send(host.id, wire.END, {})]
        if host.t_ready_s is None:
            host.t_ready_s = t
            host.t_connect_s = t if host.t_connect_s is None else host.t_connect_s
            if not host.may_have_started or not host.held:
                self._ready(host)
        # Whoever waits there lost its turn with the link, if there was one.
        for each in self._tree.below(host):
            if each.contact is Contact.UP:
                self._permits.offer_below(each.id)
        up = HostUp(
            host.name,
            self._tree.name(host.parent),
            self._tree.stage(host.id),
            host.t_connect_s or t,
            host.t_ready_s,
        )
        return [Publish(up, host.id), *self._ends.settle(host)]

    def _ready(self, host: Host) -> None:
        """Its command starts at once, or when there is a slot for it."""
        if host.over:
            return
        if host.held:
            self._starts.offer(host.turn, host)
        else:
            host.may_have_started = True

    def _state(self, host: Host, frame: Frame, t: float) -> list[Action]:
        """An agent that was attached anew says what it is doing, and whom it has below it."""
        body = frame.fields()
        if host.ended:
            return [self._orders.send(host.id, wire.END, {})]
        if not host.state_due:
            return self._distrust(frame, "nobody asked where it stands")
        stale = integer(body.get("ask", 0)) != host.ask
        if stale or (host.contact is not Contact.UP and not self._may_attach(host)):
            return []
        trace, held, listed = text(body["trace"]), body["held"] is True, _states(body["children"])
        host.state_due = host.answer_due = False
        host.resumed, host.heard_s = True, t
        host.shell = host.shell or body.get("shell") is True  # a root before this one has learnt it
        if up_s := _uptime(body):  # said with more care than in the hello
            host.dated(up_s, t)
        actions: list[Action] = [] if host.contact is Contact.UP else self._attached(host, t)
        actions.append(self._acknowledge(host))  # what was said meanwhile went nowhere
        if news := self._reins.pace.news:
            actions.append(self._orders.send(host.id, wire.PACE, news))
        actions += self._mender.reconcile(host, listed, t)  # first: with its start it may be gone
        actions += self._mender.claimed(host, trace, held, t)
        actions += self._work.again(host)
        return [*actions, *self._ends.settle(host)]

    def _output(self, host: Host, body: bytes, t: float) -> list[Action]:
        stream, offset, data = wire.unpack_output(body)
        name = STREAMS[stream]
        have = host.received[name]
        if offset != have and host.resumed:
            if not offset < have < offset + len(data):
                return []  # it comes again, or it came before
            data, offset = data[have - offset :], have
        if offset != have or have + len(data) - host.acked[stream] > WINDOW:
            raise ValueError("output out of turn")
        host.received[name] = have + len(data)
        begun = self._started(host, t)
        if self._work.has_job and name == "stdout":  # no record has it that it would have to wait for
            host.acked = (host.received[name], host.acked[1])
            said = [self._acknowledge(host), *self._work.output(host, data, t)]
            return [*begun, *said, *self._ends.conclude(host, t)]
        shown = Publish(HostOutput(host.name, name, offset, data), host.id)
        return [*begun, shown, *self._ends.conclude(host, t)]

    def _started(self, host: Host, t: float) -> list[Action]:
        """Its command runs, or ran: what it prints says so too, where the agent's word got lost."""
        if host.started:
            return []
        host.started = True
        host.start_s = t if host.start_s is None else host.start_s
        host.leaving = self._options.exec.disruptive
        self._stdin.started(host.id)
        said = Publish(HostStarted(host.name, t), host.id)
        return [said, *self._elevation.started(host, t), *self._work.started(host, t)]

    def _taken(self, host: Host, offset: int) -> list[Action]:
        self._stdin.taken(host.id, offset)
        return self._work.taken(host, offset)

    def _distrust(self, frame: Frame, why: str) -> list[Action]:
        """A frame that breaks the rules is dropped, and reported once for each node."""
        if frame.origin in self._reported:
            return []
        self._reported.add(frame.origin)
        said = f"a frame was dropped ({frame_name(frame.type)}): {why[:200]}"
        return [Publish(Notice(said, self._tree.name(frame.origin)))]

    def _decide(self, host: Host, judgement: Judgement, t: float) -> list[Action]:
        """A job's verdict. Once the run is to end, what workers say of their end is no reason of its own."""
        if self._give_up_at is not None and judgement.verdict is not Verdict.OK:
            return []
        return self._ends.decide(host, judgement, t)

    # The store, time, and the end.

    def _committed(self, event: Committed) -> list[Action]:
        host = self._tree[event.node_id]
        host.acked = (host.acked[0] if self._work.has_job else event.stdout, event.stderr)
        if event.result:
            return self._ends.committed(host)
        if host.ended or host.verdict is not None or not self._tree.attached(host.id):
            return []
        return [self._acknowledge(host)]

    def _acknowledge(self, host: Host) -> Action:
        return self._orders.send(host.id, wire.ACK, dict(zip(STREAMS, host.acked, strict=True)))

    def _tick(self, t: float, settled: bool) -> list[Action]:
        self._beat += 1
        if not settled:
            self._unsettled_at = t
        actions: list[Action] = [
            Send(Frame(wire.BEAT, body=wire.dumps(self._beat))),
            *self._reins.pace.beat(),
        ]
        if self._beat % BEATS_TO_NOTE == 0:
            actions.append(Publish(RunGoesOn(interrupted=self._interrupted)))
        if self._cancel is not None:
            actions.append(self._cancel)  # again and again, for those that are attached meanwhile
        if self._give_up_at is not None and t >= self._give_up_at:
            for host in self._tree.hosts.values():
                actions += self._ends.cancelled(host, t)
        hosts = self._tree.hosts.values()
        for host in [each for each in hosts if each.verdict is None]:
            actions += self._ends.overdue(host, self._unsettled_at, t)
        return [*actions, *self._work.tick(t)]

    def _interrupt(self, grace_s: float, t: float) -> list[Action]:
        self._give_up_at = t + grace_s + ORPHANED_S
        self._mender.healer.ending = True
        self._cancel = Send(Frame(wire.CANCEL, body=wire.dumps({"grace": grace_s})))
        actions = [
            *self._work.interrupted(t),
            Publish(RunGoesOn(interrupted=self._interrupted)),
            self._cancel,
        ]
        for host in self._tree.hosts.values():
            if host.absence is not None or (host.contact is Contact.NONE and not host.may_have_started):
                actions += self._ends.cancelled(host, t)
        return actions

    def _look_out(self, t: float) -> list[Action]:
        """What follows from the verdicts that were given just now: perhaps nobody starts any more."""
        if self._give_up_at is not None:
            return []
        actions = self._reins.judged(self._ends.judged, self._mender, t)
        if ends := self._reins.ends:
            return [*actions, *ends, *self._interrupt(self._options.exec.grace_s, t)]
        return actions

    def _asked(self) -> list[Host]:
        return [host for host in self._tree.hosts.values() if host.node.asked]


def _uptime(said: Any) -> float:
    """What a HELLO or a STATE says of how long the host has been up, in seconds; 0 where it says nothing."""
    value = said.get("uptime") if isinstance(said, dict) else None
    return float(value) if isinstance(value, float) and value > 0 else 0.0


def _states(value: object) -> dict[int, tuple[int, str]]:
    """What an agent says of its children: id -> (epoch, state); raises TypeError or ValueError."""
    if not isinstance(value, list):
        raise TypeError("children that are no list")
    return {integer(child): (integer(epoch), text(state)) for child, epoch, state in value}
