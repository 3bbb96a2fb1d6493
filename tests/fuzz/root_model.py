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
from nile.events import Event, HostOutput, HostResult, HostStarted, HostUp, Notice, RunEnded
from nile.options import ExecOptions
from tests.fuzz.choices import Choices
from tests.fuzz.model import Model, walk
from tests.fuzz.speech import CODES, HOSTS, PARENTS, any_plan, plausible

ORIGINS = (*HOSTS, len(PARENTS) + 1, 77)
MAGIC = "00000000"
GRACE_S = 1.0
MOST_GRACE_S = 3.0
DARK_MOST_S, MUTE_MOST_S = 300, 900
MOST_NOTICES = 12 * len(PARENTS)


class RootModel(Model):
    """Whatever comes: no exception, one verdict a host, nothing after it, no second start, and an end."""

    STEPS: ClassVar[tuple[str, ...]] = (
        *(["greet"] * 3), *(["honest"] * 6), *(["forged"] * 3), "login_fails", "link_ends", "noise",
        "rubbish", "flood", "sign", "stdin", "commit", "commit", "interrupt", "tick", "tick", "wait",
    )  # fmt: skip

    def __init__(self, choices: Choices) -> None:
        self.now = 100.0
        plan = any_plan(choices)
        what = ExecOptions(
            "x", choices.pick((None, 2)), stdin=choices.once_in(4), grace_s=GRACE_S,
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
            stale = self._stale(each)
            for action in self.cascade.apply(each, self.now):
                if isinstance(action, Publish) and isinstance(
                    action.event, HostUp | HostStarted | HostOutput
                ):
                    assert action.event.host != stale, "a former attachment is heard"
                owed = self.act(action, owed)
            if owed is not None:
                self.effects(self.relay.take(owed.child_id, owed.size))
        self.pumping = False

    def _stale(self, event: Input) -> str | None:
        """The host that such a frame is of, in an attachment that is over, or wasn't begun."""
        if isinstance(event, FrameReceived) and event.frame.origin in self.hosts:
            host = self.hosts[event.frame.origin]
            return host.name if event.frame.epoch != host.epoch else None
        return None

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
        """Perform what the root's relay wants, as nile.controller.branches does."""
        for name, *arguments in effects:
            self._effect(name, arguments)

    def _effect(self, name: str, arguments: list[Any]) -> None:
        if name == "up":
            self.give(FrameReceived(arguments[0]))
        elif name == "pass":
            frame, child = arguments
            size = len(frame.body) if frame.type in wire.BULK else 0
            self.give(FrameReceived(frame), Credit(child, size) if size else None)
        elif name == "login":
            child, command = arguments
            if child not in self.open and self.relay.children[child].state == LOGIN:
                self.open[child] = command.split()[-1]
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
            self._close(
                child, choices.pick([code for code in CODES if code != "unbound"]), choices.once_in(2)
            )

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
        frame = plausible(self.cascade._tree, choices)
        if frame is not None:
            self.say(frame)

    def forged(self, choices: Choices) -> None:
        """Nearly what an agent in this place would say."""
        frame = plausible(self.cascade._tree, choices)
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

    def flood(self, choices: Choices) -> None:
        """More output than may be under way."""
        up = [host for host in self.hosts.values() if host.contact is Contact.UP]
        if up and choices.once_in(2):
            host = choices.pick(up)
            for _ in range(12):
                body = wire.pack_output(0, host.received["stdout"], b"." * wire.CHUNK)
                self.say(Frame(wire.OUTPUT, host.id, host.epoch, (), body))

    def rubbish(self, choices: Choices) -> None:
        child = self._top(choices, LOGIN, UP)
        if child is not None and choices.once_in(3):
            self.data(child, choices.blob(60))

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
                assert host not in self.started
                assert host not in self.results
                self.started[host] = next(each.epoch for each in self.hosts.values() if each.name == host)
            case HostOutput(host, stream, offset, data):
                assert host in self.started
                assert host not in self.results
                assert offset == self.ends[host, stream]
                self.ends[host, stream] += len(data)
                assert self.ends[host, stream] - self.committed[host, stream] <= WINDOW
            case HostResult(host, verdict):
                assert host in self.names
                assert host not in self.results, f"{host} has another verdict: {verdict}"
                assert len(event.reason) < 1000
                assert len(event.leftover) <= 100
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
        for child_id, nonce in self.open.items():
            child = self.relay.children[child_id]
            assert child.state in (LOGIN, UP), "a login that nobody waits for"
            assert child.handshake is not None
            assert child.handshake._mark.split() == [nonce.encode()]
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
