"""One connection with both its ends, over pipes that deliver in any pieces; and ends that cheat."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from nile.agent import wire
from nile.agent.link import BULK_WINDOW, CONTROL_STEP, PING_S, Link
from nile.agent.wire import CHUNK, Frame, WireError
from tests.fuzz.choices import Choices
from tests.fuzz.model import Model, walk

LIMIT = wire.MAX_FRAME_UP
CONTROL = (wire.STARTED, wire.RESULT, wire.TAKEN, wire.BEAT, 99)
OUTSTANDING = BULK_WINDOW + 2 * CHUNK


class End:
    """One end, and what it sent and got."""

    def __init__(self, origins: range) -> None:
        self.link = Link(LIMIT, 0.0)
        self.pipe = bytearray()
        """Bytes that it wrote and that haven't arrived."""
        self.sent: dict[object, list[bytes]] = {origin: [] for origin in origins}
        self.left = 0
        """Bulk frames whose `sent` was called."""
        self.got: Counter[object] = Counter()
        self.holds: list[int] = []
        """Sizes of bulk that came in and is still in memory."""


class LinkModel(Model):
    """Frames arrive whole, in order by origin and once, within the window; rubbish is a WireError."""

    STEPS: ClassVar[tuple[str, ...]] = (
        "send_bulk", "send_bulk", "send_control", "pull", "deliver", "deliver", "take", "wait", "cheat",
    )  # fmt: skip

    def __init__(self, choices: Choices) -> None:
        self.ends = (End(range(1, 4)), End(range(4, 6)))
        self.now = 0.0
        self.broken = False

    @property
    def over(self) -> bool:
        return self.broken

    def send_bulk(self, choices: Choices) -> None:
        end = choices.pick(self.ends)
        origin = choices.pick(sorted(each for each in end.sent if isinstance(each, int)))
        size = choices.number(0, CHUNK)

        def left() -> None:
            end.left += 1

        for _ in range(choices.number(1, 6)):
            body = wire.pack_output(0, len(end.sent[origin]), b"." * size)
            end.sent[origin].append(body)
            end.link.send(Frame(wire.OUTPUT, origin, 1, (), body), left)

    def send_control(self, choices: Choices) -> None:
        end = choices.pick(self.ends)
        body = choices.blob(60) * choices.pick((1, 1, 1, 2000))
        end.sent.setdefault("control", []).append(body)
        end.link.send(Frame(choices.pick(CONTROL), 9, 0, (), body))

    def pull(self, choices: Choices) -> None:
        end = choices.pick(self.ends)
        for _ in range(choices.number(1, 6)):
            self._pull(end)

    def _pull(self, end: End) -> None:
        waited = end.link.waiting()
        data = end.link.pull(self.now)
        assert bool(data) or not end.link.pending()
        assert len(data) <= max(CONTROL_STEP, CHUNK + 64)
        assert end.link.waiting() == max(0, waited - CONTROL_STEP), "control frames go first"
        end.pipe += data

    def deliver(self, choices: Choices) -> None:
        near = choices.number(0, 1)
        sender, receiver = self.ends[near], self.ends[1 - near]
        size = choices.pick((1, 7, 1000, CHUNK, 1 << 20))
        data = bytes(sender.pipe[:size])
        del sender.pipe[:size]
        self.arrive(sender, receiver, receiver.link.receive(data, self.now))

    def arrive(self, sender: End, receiver: End, frames: list[Frame]) -> None:
        """Each frame is the next of its origin."""
        for frame in frames:
            bulk = frame.type in wire.BULK
            key: object = frame.origin if bulk else "control"
            assert frame.body == sender.sent[key][receiver.got[key]]
            receiver.got[key] += 1
            if bulk:
                receiver.holds.append(len(frame.body))

    def take(self, choices: Choices) -> None:
        end = choices.pick(self.ends)
        for _ in range(choices.number(1, 20)):
            if end.holds:
                end.link.take(end.holds.pop(0))

    def wait(self, choices: Choices) -> None:
        self.now += choices.seconds(2 * PING_S)
        for end in self.ends:
            before = end.link.waiting()
            end.link.tick(self.now)
            assert end.link.waiting() - before in (0, len(Frame(wire.PING).encode()))

    def cheat(self, choices: Choices) -> None:
        """Bytes or frames of one that keeps to nothing; the link may end, and nothing else may."""
        if not choices.once_in(8):
            return
        end = choices.pick(self.ends)
        data = choices.blob(200)
        if choices.once_in(2):
            kind = choices.pick((wire.WINDOW, wire.OUTPUT, wire.PING, wire.RESULT))
            body = wire.dumps(choices.value()) if kind == wire.WINDOW else data
            data = Frame(kind, choices.number(0, 9), 1, (), body).encode() * choices.pick((1, 300, 3000))
        try:
            for at in range(0, len(data), step := choices.pick((1, 50, 1 << 20))):
                end.link.receive(data[at : at + step], self.now)
        except WireError:
            pass
        else:
            assert end.link._received - end.link._taken <= OUTSTANDING
        assert len(end.link.rest()) <= 4 + LIMIT
        self.broken = True

    def check(self) -> None:
        for end in self.ends:
            assert sum(end.holds) <= OUTSTANDING

    def finish(self) -> None:
        """Whoever takes what comes gets all of it."""
        for _ in range(10_000):
            if not any(end.link.pending() or end.pipe for end in self.ends):
                break
            for sender, receiver in (self.ends, self.ends[::-1]):
                sender.pipe += sender.link.pull(self.now)
                self.arrive(sender, receiver, receiver.link.receive(bytes(sender.pipe), self.now))
                sender.pipe.clear()
                for size in receiver.holds:
                    receiver.link.take(size)
                receiver.holds.clear()
        for sender, receiver in (self.ends, self.ends[::-1]):
            assert {key: len(sent) for key, sent in sender.sent.items() if sent} == receiver.got
            assert sender.left == sum(len(sent) for key, sent in sender.sent.items() if key != "control")


def walk_link(data: bytes) -> None:
    """The same for a fuzzer's bytes."""
    walk(LinkModel, data)
