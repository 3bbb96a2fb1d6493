"""A relay between the root, which it trusts, and children that send what they like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from nile.agent import wire
from nile.agent.channel import OWN
from nile.agent.child import GONE, LOGIN, UP, WAITING
from nile.agent.handshake import Bundle
from nile.agent.relay import SLEPT_S, Relay
from nile.agent.wire import Decoder, Frame
from tests.fuzz.choices import Choices
from tests.fuzz.model import Model, walk

OWN_ID = 1
PARALLEL = 2
SILENCE_S, CONNECT_S = 2.8, 5.0
MAGIC = "00000000"
IDS = range(2, 10)
CHANNEL_TYPES = (wire.OPENED, wire.CARRY, wire.GRANT, wire.CLOSE)
CODES = ("refused", "dropped", "startups", "authentication", "connect-timeout")


def entry(node_id: int, epoch: int, children: Iterable[int], below: Iterable[int], permit: bool) -> Any:
    """A child's part of the plan."""
    return {
        "id": node_id, "epoch": epoch, "permit": permit, "relay": bool(children), "connect": CONNECT_S,
        "again": False, "login": {}, "below": list(below),
        "children": [entry(each, 1, (), (), permit) for each in children],
    }  # fmt: skip


def ids(part: dict[str, Any]) -> Iterator[int]:
    """All whom such a part is about."""
    yield part["id"]
    yield from part["below"]
    for child in part["children"]:
        yield from ids(child)


class RelayModel(Model):
    """No child speaks for others or to others, nothing raises, each login has its permit and its end."""

    STEPS: ClassVar[tuple[str, ...]] = (
        "shake", "shake", "shake", "hello", "hello", "hello", "say", "say", "say", "say", "say", "rubbish",
        "close", "permit", "adopt", "adopt_below", "forget", "forget_below", "forward", "broadcast", "cancel",
        "open_channel", "say_channel", "say_channel", "take", "overrun", "wait", "wait", "sleep", "reattach",
        "parent_lost",
    )  # fmt: skip

    def __init__(self, choices: Choices) -> None:
        self.now = 1.0
        self.choices: Choices | None = choices
        self.epoch = 1
        self.last_nonce = 0
        self.epochs = dict.fromkeys(IDS, 0)
        self.owner: dict[int, int] = {}
        """Who may speak for whom: the child by the node."""
        self.permits: set[tuple[int, int]] = set()
        self.open: dict[int, str] = {}
        """Logins and links that there are, with their nonces."""
        self.heard: dict[int, Decoder | None] = {}
        """What each child makes of the bytes it gets; None before its bundle is through."""
        self.ended: set[tuple[int, int]] = set()
        self.reports: Counter[int] = Counter()
        self.orphan = False
        self.speaking = 0
        """The child that was heard last."""
        shared = {"parallel": PARALLEL, "silence": SILENCE_S}
        bundle = Bundle([("nile.agent.start", b"pass")], (), MAGIC)
        self.relay = Relay((OWN_ID, self.epoch), shared, bundle, lambda: 0.5, self._nonce)
        self._adopt([self._entry(2, [5, 6], True), self._entry(3, [], True), self._entry(4, [7], False)])

    def _nonce(self) -> str:
        self.last_nonce += 1
        return f"nonce{self.last_nonce}"

    def _entry(self, node_id: int, children: list[int], permit: bool) -> dict[str, Any]:
        self.epochs[node_id] += 1
        if permit:
            self.permits.add((node_id, self.epochs[node_id]))
        below = (8,) if node_id == 4 else ()
        return dict(entry(node_id, self.epochs[node_id], children, below, permit))

    @property
    def over(self) -> bool:
        return self.orphan

    # Children.

    def _child(self, choices: Choices, *states: str) -> int | None:
        able = [child for child in sorted(self.open) if self.relay.children[child].state in states]
        return choices.pick(able) if able else None

    def shake(self, choices: Choices) -> None:
        """The first stage announces itself, or does something else."""
        child = self._child(choices, LOGIN)
        if child is not None:
            good = f"banner\n{self.open[child]} py {MAGIC} 3.11.2\n".encode()
            odd = (
                f"\n{self.open[child]} sh\n".encode(),
                f"\n{self.open[child]} py\n".encode(),
                choices.blob(300),
            )
            self._data(child, choices.pick((*([good] * 9), *odd)))

    def hello(self, choices: Choices) -> None:
        child = self._child(choices, LOGIN, UP)
        if child is not None:
            self._data(child, Frame(wire.HELLO, choices.pick((0, child)), body=wire.dumps({})).encode())

    def say(self, choices: Choices) -> None:
        """A frame of any kind, in anybody's name."""
        child = self._child(choices, LOGIN, UP)
        if child is None:
            return
        kind = choices.pick((*sorted(wire.UP_TYPES), *sorted(wire.DOWN_TYPES), wire.WINDOW, 99))
        origin = choices.pick((child, child, *IDS, 0, OWN_ID, 2**32 - 1))
        path = choices.pick(((), (), (), (2,), (3, 5)))
        body = wire.dumps(choices.value()) if choices.once_in(2) else choices.blob(40)
        times = choices.pick((1, 1, 1, 40))
        self._data(child, Frame(kind, origin, choices.number(0, 3), path, body * times).encode() * times)

    def open_channel(self, choices: Choices) -> None:
        """One of the relay's own, to a child."""
        child = self._child(choices, UP)
        if child is not None:
            self.relay.channels[OWN + choices.number(0, 5)] = child

    def say_channel(self, choices: Choices) -> None:
        """Something of a channel of the relay's own, in anybody's name. It takes no room of the link."""
        child = self._child(choices, UP)
        if child is None:
            return
        number = choices.pick((OWN, OWN + 1, OWN + 2, OWN + 3, OWN + 6, 2**32 - 1))
        body = number.to_bytes(4, "big") + choices.blob(20)
        frame = Frame(choices.pick(CHANNEL_TYPES), choices.pick((child, child, *IDS)), 1, (), body)
        link = self.relay.children[child].link
        assert link is not None
        held = link._received - link._taken
        self._data(child, frame.encode())
        assert self.relay.children[child].link is not link or link._received - link._taken == held

    def rubbish(self, choices: Choices) -> None:
        child = self._child(choices, LOGIN, UP)
        if child is not None and choices.once_in(3):
            self._data(child, choices.blob(60))

    def _data(self, child: int, data: bytes) -> None:
        """Whatever it is, it concerns nobody but this child."""
        self.speaking = child
        asleep = self.relay._slept_s(self.now) > SLEPT_S
        others = {each: self._queued(each) for each in self.relay.children if each != child}
        effects = self.relay.data(child, data, self.now)
        for name, *arguments in effects if not asleep else ():
            if name in ("flush", "write", "hangup"):
                assert arguments[0] == child
            elif name == "pass":
                assert arguments[1] == child
        assert asleep or others == {each: self._queued(each) for each in others}
        self.perform(effects)

    def _queued(self, child: int) -> tuple[int, int]:
        """How much waits to be sent to it; a login that begins or ends has nothing yet."""
        link = self.relay.children[child].link
        return (link.waiting(), sum(map(len, link._bulk.values()))) if link is not None else (0, 0)

    def close(self, choices: Choices) -> None:
        child = self._child(choices, LOGIN, UP)
        if child is not None:
            self._close(child, choices.pick(CODES), choices.once_in(2))

    def _close(self, child: int, code: str, retry: bool) -> None:
        del self.open[child]
        self._unreach(child)
        self.perform(self.relay.closed(child, code, "closed", retry, self.now))

    # The root.

    def permit(self, choices: Choices) -> None:
        child = self.relay.children.get(choices.pick(IDS))
        epoch = child.epoch if child is not None and choices.once_in(2) else choices.number(0, 3)
        node_id = child.id if child is not None else choices.pick(IDS)
        self.permits.add((node_id, epoch))
        self._root(Frame(wire.PERMIT, body=wire.dumps({"child": node_id, "epoch": epoch})))

    def adopt(self, choices: Choices) -> None:
        node_id = choices.pick(IDS)
        self.epochs[node_id] += choices.number(0, 1) - 1  # what is there already may come again
        self.epochs[node_id] = max(0, self.epochs[node_id])
        others = [each for each in IDS if each != node_id and choices.once_in(6)]
        self._adopt([self._entry(node_id, others, not choices.once_in(3))])

    def _adopt(self, entries: list[dict[str, Any]]) -> None:
        for each in entries:
            known = self.relay.children.get(each["id"])
            if known is not None and known.state in (LOGIN, UP) and known.epoch >= each["epoch"]:
                continue
            self._disown(each["id"])
            self.owner.update(dict.fromkeys(ids(each), each["id"]))
            self.ended.discard((each["id"], each["epoch"]))
        self._root(Frame(wire.ADOPT, body=wire.dumps({"entries": entries, "code": False})))

    def _disown(self, child: int) -> None:
        self.owner = {node: owner for node, owner in self.owner.items() if owner != child}

    def adopt_below(self, choices: Choices) -> None:
        child = self._child(choices, UP)
        if child is not None:
            part = entry(choices.pick([each for each in IDS if each != child]), 1, (), (), True)
            self.owner.update(dict.fromkeys(ids(part), child))
            path = choices.pick(((child,), (child, 5)))
            body = {"entries": [part], "code": choices.once_in(2)}
            self._root(Frame(wire.ADOPT, 0, 1, path, wire.dumps(body)))

    def forget(self, choices: Choices) -> None:
        child = choices.pick(IDS)
        if child in self.relay.children:
            self._disown(child)
        self._root(Frame(wire.FORGET, body=wire.dumps({"children": [child], "below": [child], "stays": []})))

    def forget_below(self, choices: Choices) -> None:
        child = self._child(choices, UP)
        if child is not None:
            node = choices.pick(IDS)
            path = (child,) if choices.once_in(2) else (child, 5)
            stays = [child] if choices.once_in(3) else []
            if not stays and self.owner.get(node) == child and node not in path:
                del self.owner[node]
            body = {"children": [node], "below": [node], "stays": stays}
            self._root(Frame(wire.FORGET, 0, 1, path, wire.dumps(body)))

    def forward(self, choices: Choices) -> None:
        kind = choices.pick((wire.START, wire.ACK, wire.CARRY, wire.END, wire.SIGNED))
        path = tuple(choices.pick(IDS) for _ in range(choices.number(1, 3)))
        left: list[int] = []
        frame = Frame(kind, 0, 1, path, choices.blob(20))
        self.perform(self.relay.frame(frame, self.now, lambda: left.append(1)))
        child = self.relay.children.get(path[0])
        if child is None or child.state != UP:
            assert left == [1], "what is dropped takes no room"

    def broadcast(self, choices: Choices) -> None:
        self._root(Frame(choices.pick((wire.BEAT, wire.STDIN)), body=wire.dumps(1)))

    def cancel(self, choices: Choices) -> None:
        if choices.once_in(3):
            self._root(Frame(wire.CANCEL, body=wire.dumps({"grace": 1.0})))

    def _root(self, frame: Frame) -> None:
        self.perform(self.relay.frame(frame, self.now))

    # The relay's own.

    def take(self, choices: Choices) -> None:
        if self.relay.children:
            self.perform(
                self.relay.take(choices.pick(sorted(self.relay.children)), choices.number(0, 1 << 20))
            )

    def overrun(self, choices: Choices) -> None:
        child = self._child(choices, UP)
        if child is not None:
            self.perform(self.relay.overrun(child, self.now))

    def wait(self, choices: Choices) -> None:
        self._pass(choices.pick((0.1, 0.5, 1.0)))

    def sleep(self, choices: Choices) -> None:
        """It was stopped meanwhile: the first thing that it hears may be anything."""
        self.now += choices.pick((0.5, 1.0, 2.0, 5.0, 60.0)) if choices.once_in(3) else 0.0

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        self.perform(self.relay.tick(self.now))

    def reattach(self, choices: Choices) -> None:
        if choices.once_in(3):
            self.epoch += 1
            self.perform(self.relay.attached(self.epoch))

    def parent_lost(self, choices: Choices) -> None:
        if choices.once_in(8):
            self.finish()

    # Effects.

    def perform(self, effects: Iterable[tuple[Any, ...]]) -> None:
        """In order, each as the loop would."""
        for name, *arguments in effects:
            getattr(self, f"_do_{name}")(*arguments)

    def _do_up(self, frame: Frame) -> None:
        if frame.type == wire.HELLO:
            child = self.relay.children[frame.origin]
            assert (child.state, frame.epoch) == (UP, child.epoch)
            return
        assert (frame.origin, frame.epoch, frame.path) == (OWN_ID, self.epoch, ())
        body = frame.fields()
        if frame.type == wire.REPORT:
            self.reports[body["child"]] += 1
            assert self.reports[body["child"]] == 1
        elif frame.type in (wire.FAILED, wire.LOST):
            about = body["child"], body["epoch"]
            assert about not in self.ended, "it ends twice"
            self.ended.add(about)
        else:
            assert frame.type == wire.LOGIN

    def _do_pass(self, frame: Frame, child: int) -> None:
        assert frame.type in wire.UP_TYPES
        assert not frame.path
        assert self.owner.get(frame.origin) == child, "it speaks for another"
        assert frame.type not in CHANNEL_TYPES or frame.body[:1] < b"\x80", "that was for the relay"

    def _do_reached(self, frame: Frame) -> None:
        assert frame.type in CHANNEL_TYPES
        child = self.relay.channels[int.from_bytes(frame.body[:4], "big")]
        assert child == frame.origin == self.speaking, "of a channel that leads to another"

    def _do_login(self, child: int, command: str) -> None:
        assert child not in self.open, "two logins at a time"
        epoch = self.relay.children[child].epoch
        assert (child, epoch) in self.permits
        self.open[child] = command.split()[-1]
        self.heard[child] = None

    def _do_write(self, child: int, data: bytes) -> None:
        assert data.partition(b"\n")[0].isdigit()
        self.heard[child] = Decoder(wire.MAX_FRAME_DOWN)

    def _do_flush(self, child: int) -> None:
        link = self.relay.children[child].link
        while link is not None and link.pending():
            self._hears(child, link.pull(self.now))

    def _hears(self, child: int, data: bytes) -> None:
        decoder = self.heard[child]
        assert decoder is not None, "the bundle comes first"
        for frame in decoder.feed(data):
            assert frame.origin == 0, "it passes on what came from below"
            assert frame.type in wire.DOWN_TYPES | wire.LINK_TYPES

    def _do_hangup(self, child: int) -> None:
        self.open.pop(child, None)
        self._unreach(child)

    def _unreach(self, child: int) -> None:
        channels = self.relay.channels
        self.relay.channels = {number: other for number, other in channels.items() if other != child}

    # What holds.

    def check(self) -> None:
        states = Counter(child.state for child in self.relay.children.values())
        assert states[LOGIN] <= PARALLEL
        for child in self.relay.children.values():
            assert child.state in (WAITING, LOGIN, UP, GONE)
            assert (child.id in self.open) or child.state != UP
            if child.link is not None:
                assert len(child.link.rest()) <= 4 + wire.MAX_FRAME_UP
            if child.handshake is not None:
                assert len(child.handshake._buffer) <= 1000
        assert self.relay.next_tick_s(self.now) > 0

    def finish(self) -> None:
        """No parent any more: nothing of its own is left open."""
        self.perform(self.relay.parent_lost())
        self.orphan = True
        assert not self.open


def walk_relay(data: bytes) -> None:
    """The same for a fuzzer's bytes."""
    walk(RelayModel, data)
