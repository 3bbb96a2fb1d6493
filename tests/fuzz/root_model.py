"""The root, its own relay, cascade and ledger, against agents of which any may be hostile."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, ClassVar

from nile.agent import wire
from nile.agent.child import LOGIN, UP
from nile.agent.handshake import Bundle
from nile.agent.relay import Relay
from nile.agent.wire import Frame
from nile.cascade import (
    Action,
    Adopt,
    Carry,
    Cascade,
    CascadeOptions,
    Finish,
    FrameReceived,
    Input,
    Interrupted,
    Publish,
    ReadStdin,
    Send,
    Sign,
    Signed,
    Started,
    StdinEnded,
    StdinRead,
    Ticked,
)
from nile.cascade.hosts import Contact, Host
from nile.cascade.ledger import Credit, Ledger
from nile.cascade.orders import WINDOW
from nile.events import Event, HostOutput, HostResult, HostStarted, Notice, RunEnded
from nile.options import ExecOptions, Limits, Timeouts
from nile.topology.model import HostSpec, Plan, PlanNode
from tests.fuzz.choices import Choices
from tests.fuzz.model import Model, walk

PARENTS = (0, 0, 0, 1, 1, 2, 2, 4, 4)
HOSTS = range(1, len(PARENTS) + 1)
ORIGINS = (*HOSTS, len(PARENTS) + 1, 77)
MAGIC = "00000000"
CONNECT_S, LEASE_S, COMMAND_S, GRACE_S = 2.0, 6.0, 5.0, 1.0
MOST_GRACE_S = 3.0
DARK_MOST_S, MUTE_MOST_S = 300, 900
MOST_NOTICES = 12 * len(PARENTS)
CODES = ("refused", "dropped", "startups", "authentication", "connect-timeout", "host-key-changed", "unbound",
         "no-python", "link", "signing", "rubbish")  # fmt: skip
OUTCOME: dict[str, Any] = {
    "rc": 0, "signal": None, "cause": None, "error": None, "left": [], "stdout": 0, "stderr": 0,
}  # fmt: skip
STREAMS = ("stdout", "stderr")


def any_plan(choices: Choices) -> Plan:
    """Nine hosts in three stages; some only relay, some are behind a gateway, one may be a spare."""
    stages = [0]
    for parent in PARENTS:
        stages.append(stages[parent] + 1)
    silent = choices.pick((0, 0, 2, 4))
    nodes = tuple(
        PlanNode(
            number, f"h{number}", parent, stages[number], number != silent,
            tuple(child for child in HOSTS if PARENTS[child - 1] == number),
        )
        for number, parent in enumerate(PARENTS, start=1)
    )  # fmt: skip
    specs = {node.host: HostSpec(node.host, node.host, node.host) for node in nodes}
    spares: tuple[PlanNode, ...] = ()
    if choices.once_in(3):
        gates: tuple[str, ...] = ("h1",)
        if choices.once_in(2):
            spares = (PlanNode(len(nodes) + 1, "spare", 0, 0, asked=False),)
            specs["spare"] = HostSpec("spare", "spare", "spare")
            gates = ("h1", "spare")
        for name in ("h4", "h5", "h8", "h9"):
            specs[name] = HostSpec(name, name, name, via=gates)
    limits = Limits(branches=4, parallel=choices.pick((1, 3)), logins=choices.pick((None, None, 2)), stages=3)
    timeouts = Timeouts(connect_s=CONNECT_S, lease_s=LEASE_S, command_s=COMMAND_S)
    return Plan(nodes, specs, limits, timeouts, spares=spares)


class RootModel(Model):
    """Whatever comes: no exception, one verdict a host, nothing after it, no second start, and an end."""

    STEPS: ClassVar[tuple[str, ...]] = (
        "greet", "greet", "greet", "login_fails", "link_ends", "honest", "honest", "honest", "honest", "honest",
        "honest", "forged", "forged", "forged", "noise", "rubbish", "sign", "stdin", "commit", "commit",
        "interrupt", "tick", "tick", "wait",
    )  # fmt: skip

    def __init__(self, choices: Choices) -> None:
        self.now = 100.0
        plan = any_plan(choices)
        what = ExecOptions(
            "x", choices.pick((None, None, 2)), stdin=choices.once_in(4), grace_s=GRACE_S,
            idempotent=choices.once_in(4),
        )  # fmt: skip
        self.what, self.plan = what, plan
        self.ending = choices.pick(("dark", "refused", "interrupted", "mute"))
        everyone = (*plan.nodes, *plan.spares)
        asked = tuple(node.host for node in plan.asked())
        options = CascadeOptions("run", what, {node.host: {} for node in everyone}, asked, 0.0)
        self.cascade = Cascade(plan, options)
        self.hosts: dict[int, Host] = self.cascade._tree.hosts
        bundle = Bundle([("nile.agent.start", b"pass")], (), MAGIC)
        self.relay = Relay((0, 0), self.cascade.shared(), bundle, lambda: 0.5, self._nonce)
        self.ledger = Ledger()
        self.last_number = self.last_nonce = 0
        self.inbox: deque[tuple[Input, Credit | None]] = deque()
        self.pumping = False
        self.todo: deque[tuple[Any, ...]] = deque()
        self.open: dict[int, str] = {}
        self.asks: list[Sign] = []
        self.reads: list[int] = []
        self.told_epochs: Counter[int] = Counter()
        self.committed: Counter[tuple[str, str]] = Counter()
        self.ends: Counter[tuple[str, str]] = Counter()
        self.started: dict[str, int] = {}
        """Hosts that said so, with the attachment in which they did."""
        self.claims: dict[str, str] = {}
        """What each agent last said that it had found, where it says that it holds the command."""
        self.results: dict[str, HostResult] = {}
        self.notices = 0
        self.ended: RunEnded | None = None
        self.finished = False
        self.names = {node.host for node in plan.asked()}
        self.give(Started())

    def _nonce(self) -> str:
        self.last_nonce += 1
        return f"nonce{self.last_nonce}"

    @property
    def over(self) -> bool:
        return self.finished

    # One queue in, one apply.

    def give(self, event: Input, credit: Credit | None = None) -> None:
        """Apply it, once all before it is done."""
        self.inbox.append((event, credit))
        if self.pumping:
            return
        self.pumping = True
        while self.inbox:
            each, owed = self.inbox.popleft()
            for action in self.cascade.apply(each, self.now):
                owed = self.act(action, owed)
            if owed is not None:
                self.effects(self.relay.take(owed.child_id, owed.size))
        self.pumping = False

    def act(self, action: Action, credit: Credit | None) -> Credit | None:
        """Perform one action; the credit that is still nobody's."""
        assert not self.finished, "something follows the end"
        match action:
            case Send(frame):
                self._check_send(frame)
                self.effects(self.relay.frame(frame, self.now))
            case Adopt(entries):
                for entry in entries:
                    self._check_place(entry)
                self.effects(self.relay.adopt(list(entries), self.now))
            case Carry(entry):
                self._check_place(entry)
                self.effects(self.relay.adopt([entry], self.now))
            case Publish(event, node_id):
                self._check_event(event)
                owner = credit if isinstance(event, HostOutput) else None
                self.last_number = self.ledger.add(event, node_id, owner)
                return None if owner is not None else credit
            case Sign():
                assert self.hosts[action.child_id].parent == action.relay_id
                self.asks.append(action)
            case ReadStdin(size):
                assert 0 < size <= 2 * wire.CHUNK
                self.reads.append(size)
            case Finish():
                self.finished = True
        return credit

    def effects(self, effects: Iterable[tuple[Any, ...]]) -> None:
        """Perform what the root's relay wants; what that brings about waits its turn."""
        busy = bool(self.todo)
        self.todo += effects
        while self.todo and not busy:
            name, *arguments = self.todo[0]
            self._effect(name, arguments)
            self.todo.popleft()

    def _effect(self, name: str, arguments: list[Any]) -> None:
        if name == "up":
            self.give(FrameReceived(arguments[0]))
        elif name == "pass":
            frame, child = arguments
            size = len(frame.body) if frame.type in wire.BULK else 0
            self.give(FrameReceived(frame), Credit(child, size) if size else None)
        elif name == "login":
            assert arguments[0] not in self.open
            self.open[arguments[0]] = arguments[1].split()[-1]
        elif name == "hangup":
            self.open.pop(arguments[0], None)
        elif name == "flush":
            link = self.relay.children[arguments[0]].link
            while link is not None and link.pending():
                link.pull(self.now)

    # What agents send.

    def _top(self, choices: Choices, *states: str) -> int | None:
        able = [child for child in sorted(self.open) if self.relay.children[child].state in states]
        return choices.pick(able) if able else None

    def greet(self, choices: Choices) -> None:
        """A login of the root's succeeds, or a child of a relay says hello."""
        child = self._top(choices, LOGIN)
        if child is not None:
            hello = Frame(wire.HELLO, body=wire.dumps({"uptime": choices.pick((0.5, 1e6))}))
            self.data(child, f"\n{self.open[child]} py {MAGIC} 3.11.2\n".encode() + hello.encode())
            return
        host = self.hosts[choices.pick(sorted(self.hosts))]
        if host.parent and self.hosts[host.parent].contact is Contact.UP:
            body = {"child": host.id, "epoch": host.epoch, "attempt": 1}
            self.say(Frame(wire.LOGIN, self.cascade._tree.link_parent(host), 1, (), wire.dumps(body)))
            self.say(Frame(wire.HELLO, host.id, host.epoch, (), wire.dumps({"uptime": 1e6})))

    def login_fails(self, choices: Choices) -> None:
        child = self._top(choices, LOGIN)
        if child is not None:
            self._close(child, choices.pick([code for code in CODES if code != "unbound"]), choices.once_in(2))

    def link_ends(self, choices: Choices) -> None:
        child = self._top(choices, UP)
        if child is not None and choices.once_in(2):
            self._close(child, "link", False)

    def _close(self, child: int, code: str, retry: bool) -> None:
        del self.open[child]
        self.effects(self.relay.closed(child, code, "closed", retry, self.now))

    def data(self, child: int, data: bytes) -> None:
        """Bytes of one of the root's own children."""
        if child in self.open:
            self.effects(self.relay.data(child, data, self.now))

    def say(self, frame: Frame) -> None:
        """By the way that leads from its origin to the root, if there is one; else as if there were."""
        if frame.type == wire.STATE:
            self._note_claim(frame)
        route = self.cascade.route(frame.origin) if frame.origin in self.hosts else ()
        top = route[0] if route else 0
        if top in self.open and self.relay.children[top].state == UP:
            self.data(top, frame.encode())
        elif frame.origin:
            self.give(FrameReceived(frame))

    def _note_claim(self, frame: Frame) -> None:
        if frame.origin in self.hosts:
            try:
                trace = str(frame.fields().get("trace"))
            except wire.WireError:
                return
            self.claims[self.hosts[frame.origin].name] = trace

    def honest(self, choices: Choices) -> None:
        """What an agent in this place would say."""
        frame = self._plausible(choices)
        if frame is not None:
            self.say(frame)

    def forged(self, choices: Choices) -> None:
        """Nearly what an agent in this place would say."""
        frame = self._plausible(choices)
        if frame is None:
            return
        what = choices.number(0, 4)
        if what == 0:
            frame.origin = choices.pick(ORIGINS)
        elif what == 1:
            frame.epoch = choices.pick((0, frame.epoch + 1, max(0, frame.epoch - 1), 2**32 - 1))
        elif what == 2 and frame.type == wire.OUTPUT:
            offset = choices.pick((0, 1, 2**63, 2**64 - 1))
            frame.body = wire.pack_output(choices.number(0, 1), offset, choices.blob(20))
        else:
            frame.body = wire.dumps(choices.mutated(frame.value() if frame.type != wire.OUTPUT else {}))
        self.say(frame)

    def noise(self, choices: Choices) -> None:
        """Any frame at all."""
        kind = choices.pick((*sorted(wire.UP_TYPES), wire.PLAN, wire.PING, wire.WINDOW, 99))
        body = wire.dumps(choices.value()) if choices.once_in(2) else choices.blob(30)
        self.say(Frame(kind, choices.pick(ORIGINS), choices.number(0, 3), (), body))

    def rubbish(self, choices: Choices) -> None:
        child = self._top(choices, LOGIN, UP)
        if child is not None and choices.once_in(3):
            self.data(child, choices.blob(60))

    def _plausible(self, choices: Choices) -> Frame | None:
        host = self.hosts[choices.pick(sorted(self.hosts))]
        if host.contact is Contact.UP:
            return self._of_host(host, choices)
        parent = self.cascade._tree.link_parent(host)
        if not parent:
            return None  # the root's own relay speaks for itself
        kind = choices.pick(
            (wire.LOGIN, wire.HELLO, wire.HELLO, wire.FAILED, wire.LOST, wire.SIGN, wire.REPORT)
        )
        if kind == wire.HELLO:
            return Frame(kind, host.id, host.epoch, (), wire.dumps({"uptime": choices.pick((0.1, 1e6))}))
        body = {
            "child": host.id, "epoch": host.epoch, "attempt": 1, "code": choices.pick(CODES), "reason": "why",
            "attempts": 1, "serial": 1, "binds": [b"bind"], "request": b"request", "type": 35, "origin": 3,
        }  # fmt: skip
        return Frame(kind, parent, 1, (), wire.dumps(body))

    def _of_host(self, host: Host, choices: Choices) -> Frame:
        kind = choices.pick(
            (
                wire.STARTED,
                wire.OUTPUT,
                wire.OUTPUT,
                wire.RESULT,
                wire.RESULT,
                wire.STATE,
                wire.STATE,
                wire.TAKEN,
            )
        )
        body: Any = {"pid": 1}
        if kind == wire.OUTPUT:
            stream = choices.number(0, 1)
            data = choices.pick((b"x", b"." * 500, b"." * wire.CHUNK))
            have = host.received[STREAMS[stream]]
            output = wire.pack_output(stream, have, data)
            return Frame(kind, host.id, host.epoch, (), output)
        if kind == wire.RESULT:
            body = {
                **OUTCOME,
                **host.received,
                "rc": choices.pick((0, 3)),
                "cause": choices.pick((None, "timeout")),
            }
        elif kind == wire.STATE:
            states = [
                [c, self.hosts[c].epoch, choices.pick(("up", "login", "waiting"))] for c in host.children
            ]
            body = {
                "trace": choices.pick(("none", "dead", "alive")),
                "held": choices.once_in(2),
                "children": states,
            }
        elif kind == wire.TAKEN:
            body = choices.pick((5, 1 << 20, 1 << 62))
        return Frame(kind, host.id, host.epoch, (), wire.dumps(body))

    # What the root's own side does.

    def sign(self, choices: Choices) -> None:
        if self.asks:
            ask = self.asks.pop(choices.number(0, len(self.asks) - 1))
            refused = choices.pick(("", "", "not planned"))
            self.give(Signed(ask, b"answer", choices.pick(("", "a note")), refused, choices.number(0, 1)))

    def stdin(self, choices: Choices) -> None:
        if self.reads:
            size = self.reads.pop()
            self.give(StdinRead(b"." * choices.number(1, size)) if choices.once_in(2) else StdinEnded())

    def commit(self, choices: Choices) -> None:
        self._commit()

    def _commit(self) -> None:
        for each in self.ledger.stored(self.last_number):
            name = self.hosts[each.node_id].name if each.node_id else ""
            self.committed[name, "stdout"], self.committed[name, "stderr"] = each.stdout, each.stderr
            self.give(each)
        for credit in self.ledger.shown(self.last_number):
            self.effects(self.relay.take(credit.child_id, credit.size))

    def interrupt(self, choices: Choices) -> None:
        if choices.once_in(6):
            self.give(Interrupted(choices.seconds(MOST_GRACE_S)))

    def tick(self, choices: Choices) -> None:
        self._second(not choices.once_in(6))

    def wait(self, choices: Choices) -> None:
        for _ in range(choices.number(2, 8)):
            self._second(True)

    def _second(self, pings: bool) -> None:
        self.now += 1.0
        if pings:
            for child in [each for each in self.open if self.relay.children[each].state == UP]:
                self.data(child, Frame(wire.PING).encode())
        self.effects(self.relay.tick(self.now))
        self.give(Ticked(self.ledger.settled))

    # What holds.

    def _check_place(self, entry: dict[str, Any]) -> None:
        """The root gives each attachment of a host an epoch, strictly increasing."""
        assert entry["epoch"] > self.told_epochs[entry["id"]]
        self.told_epochs[entry["id"]] = entry["epoch"]

    def _check_send(self, frame: Frame) -> None:
        assert frame.origin == 0
        assert frame.type in wire.DOWN_TYPES
        assert len(set(frame.path)) == len(frame.path) <= wire.MAX_HOPS
        assert len(frame.encode()) <= 1 << 20
        if frame.type == wire.ADOPT:
            for entry in frame.fields()["entries"]:
                self._check_place(entry)
        elif frame.type == wire.START:
            name = self.hosts[frame.path[-1]].name
            # In one attachment it is one agent, which knows better.
            again = self.started.get(name, frame.epoch) < frame.epoch and self.claims.get(name) != "alive"
            assert name in self.names
            assert self.what.idempotent or not again, f"{name} may run twice"

    def _check_event(self, event: Event) -> None:
        assert self.ended is None, "something follows the end"
        match event:
            case HostStarted(host):
                assert host not in self.started and host not in self.results
                self.started[host] = next(each.epoch for each in self.hosts.values() if each.name == host)
            case HostOutput(host, stream, offset, data):
                assert host in self.started and host not in self.results
                assert offset == self.ends[host, stream]
                self.ends[host, stream] += len(data)
                assert self.ends[host, stream] - self.committed[host, stream] <= WINDOW
            case HostResult(host, verdict):
                assert host in self.names and host not in self.results, (
                    f"{host} has another verdict: {verdict}"
                )
                assert len(event.reason) < 1000 and len(event.leftover) <= 100
                self.results[host] = event
            case Notice():
                self.notices += 1
                assert len(event.text) < 1000
            case RunEnded():
                self.ended = event
                counts = Counter(result.verdict for result in self.results.values())
                assert {verdict: count for verdict, count in event.counts.items() if count} == counts
                assert self.results.keys() == self.names

    def check(self) -> None:
        assert self.notices <= MOST_NOTICES
        assert len(self.reads) <= 1
        assert (
            sum(child.state == LOGIN for child in self.relay.children.values()) <= self.plan.limits.parallel
        )
        assert set(self.cascade.unfinished()) == self.names - self.results.keys()

    def finish(self) -> None:
        """Whatever state it is in, the run ends by itself in time."""
        if self.ending == "interrupted":
            self.give(Interrupted(MOST_GRACE_S))
        most_s = {"dark": DARK_MOST_S, "refused": DARK_MOST_S, "mute": MUTE_MOST_S, "interrupted": 20}[
            self.ending
        ]
        for _ in range(most_s):
            if self.finished:
                return
            for child in list(self.open) if self.ending in ("dark", "refused") else ():
                if self.relay.children[child].link is not None or self.ending == "refused":
                    self._close(child, "link" if self.relay.children[child].link else "refused", False)
            self._commit()
            self._second(True)
        raise AssertionError(f"no verdict of {self.cascade.unfinished()} after {most_s} s")


def walk_root(data: bytes) -> None:
    """The same for a fuzzer's bytes."""
    walk(RootModel, data)
