"""The agent core between a root, which may err, and a command with processes that do what they like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from nile.agent import core, wire
from nile.agent.core import DRAINING, ENDED, HELD, IDLE, KILL, RUNNING, STOPPING, STREAMS, Core
from nile.agent.stopping import STUCK_S
from nile.agent.wire import CHUNK, Frame, WireError
from tests.fuzz.choices import Choices
from tests.fuzz.model import Model, walk

FATAL = (WireError, TypeError, KeyError, ValueError, AttributeError)
"""What a root's body of the wrong form may raise: the agent ends by it, and its warden cleans up."""
ALLOWED = {
    (IDLE, HELD), (IDLE, RUNNING), (HELD, RUNNING), (HELD, ENDED), (RUNNING, STOPPING), (RUNNING, DRAINING),
    (RUNNING, ENDED), (STOPPING, DRAINING), (STOPPING, ENDED), (DRAINING, ENDED),
}  # fmt: skip
MOST_GRACE_S = 10.0
WINDOW = 600
ID = 7


class CoreModel(Model):
    """At most one start, contiguous output within its window, one result; after its lease it leaves."""

    STEPS: ClassVar[tuple[str, ...]] = (
        "plan", "start", "acknowledge", "stdin", "cancel", "beat", "beat", "end", "resume", "stale",
        "write", "write", "close_stream", "main_exits", "fork", "daemon_ends", "input_taken",
        "parent_lost", "wait", "wait", "any_frame",
    )  # fmt: skip

    def __init__(self, choices: Choices) -> None:
        self.choices: Choices | None = choices
        self.now = 0.0
        self.lease_s = 5.0
        self.core = Core(self.now, self.lease_s)
        self.body: dict[str, Any] = self._any_plan(choices)
        self.renewed = 0.0
        self.beat_number = -1
        self.told_start = False
        self.spawns = self.results = self.claims = 0
        self.main = 0
        """Its pid, while the kernel knows it; 0: never started, or reaped."""
        self.processes: dict[int, str] = {}
        self.immortal: set[int] = set()
        self.last_pid = 100
        self.pipes = {name: bytearray() for name in STREAMS}
        self.printed = {name: bytearray() for name in STREAMS}
        """All that the agent read, from offset `base` on."""
        self.base = dict.fromkeys(STREAMS, 0)
        self.open: set[str] = set()
        self.reading: set[str] = set()
        self.draining = False
        self.left: tuple[bool, bool] | None = None
        self.died = False
        self.poisoned = False
        """The root said something odd, and what follows from it is no fault of the agent."""
        if not choices.once_in(4):
            self.plan(choices)

    @property
    def over(self) -> bool:
        return self.left is not None or self.died

    def _any_plan(self, choices: Choices) -> dict[str, Any]:
        job = {
            "command": "x",
            "timeout": choices.pick((None, None, 3.0)),
            "leftover": choices.pick(("keep", "kill", "fail")),
            "stdin": True,
        }
        shared = {
            "lease": choices.pick((6.0, 15.0)), "grace": choices.pick((0.0, 2.0)), "window": WINDOW,
            "job": job, "orphan": choices.pick(("adopt", "adopt", "kill", "finish")), "deaf": 3.0,
        }  # fmt: skip
        have = {name: choices.pick((0, 0, 5)) for name in STREAMS}
        again = choices.once_in(4)
        node = {
            "id": ID, "epoch": choices.number(1, 3), "asked": not choices.once_in(8), "again": again,
            "hold": choices.once_in(3), "have": have if again else dict.fromkeys(STREAMS, 0),
        }  # fmt: skip
        return {"shared": shared, "node": node}

    # What the root says.

    def tell(self, frame: Frame) -> list[tuple[Any, ...]]:
        """Hand over a frame and perform what comes of it; one of the right form never raises."""
        late = self._lease_over()
        before = self.core.epoch
        try:
            effects = self.core.frame(frame, self.now)
        except FATAL:
            if not self.poisoned:
                raise
            self.died = True
            return []
        if late and not self.poisoned:
            assert all(each[0] in ("kill", "leave") for each in effects), "it obeys what was queued"
        elif not self.poisoned:
            self._note_renewal(frame, before)
        self.perform(effects)
        return effects

    def _note_renewal(self, frame: Frame, before: int) -> None:
        if frame.type == wire.PLAN and self.core.epoch > before:
            self.renewed = self.now
            if not before:
                self.lease_s = self.body["shared"]["lease"]
        if frame.type == wire.BEAT:
            number = frame.value()
            if isinstance(number, int) and number > self.beat_number:
                self.beat_number, self.renewed = number, self.now

    def _frame(self, kind: int, value: object, epoch: int | None = None) -> Frame:
        return Frame(kind, 0, self.core.epoch if epoch is None else epoch, (), wire.dumps(value))

    def plan(self, choices: Choices) -> None:
        if self.core.epoch:
            up = choices.number(0, 2)
            have = {
                name: choices.number(self.core.acked[name], max(self.core.acked[name], self._end(name)))
                for name in STREAMS
            }
            node = {**self.body["node"], "epoch": self.core.epoch + up, "have": have}
            self.tell(self._frame(wire.PLAN, {**self.body, "node": node}, self.core.epoch + up))
        else:
            for name in STREAMS:
                self.base[name] = self.body["node"]["have"][name]
            self.tell(self._frame(wire.PLAN, self.body, self.body["node"]["epoch"]))

    def start(self, choices: Choices) -> None:
        self.told_start = True
        self.tell(self._frame(wire.START, {}))

    def acknowledge(self, choices: Choices) -> None:
        offsets = {
            name: choices.pick((self._end(name), self.core.acked[name] + choices.number(0, 50), -1, 1 << 40))
            for name in STREAMS
        }
        self.tell(self._frame(wire.ACK, offsets))

    def stdin(self, choices: Choices) -> None:
        self.tell(Frame(wire.STDIN, body=choices.blob(5)))

    def cancel(self, choices: Choices) -> None:
        body = {"grace": choices.seconds(MOST_GRACE_S)} if choices.once_in(2) else {}
        self.tell(self._frame(wire.CANCEL, body, 0))

    def beat(self, choices: Choices) -> None:
        number = min(self.beat_number + choices.pick((1, 1, 1, 5, 0, -1)), 2**63 - 1)
        self.tell(self._frame(wire.BEAT, number if number >= 0 else choices.value(), 0))

    def end(self, choices: Choices) -> None:
        if choices.once_in(4):
            self.tell(self._frame(wire.END, {}))

    def resume(self, choices: Choices) -> None:
        have = {name: choices.number(0, self._end(name)) for name in STREAMS}
        self.tell(self._frame(wire.RESUME, have))

    def stale(self, choices: Choices) -> None:
        """Of an attachment that is over nothing is obeyed, whatever it is."""
        if self.core.epoch < 2 or self._lease_over():
            return
        kind = choices.pick(sorted(wire.DOWN_TYPES - {wire.BEAT}))
        assert self.tell(self._frame(kind, {"grace": 0.0}, self.core.epoch - 1)) == []

    def any_frame(self, choices: Choices) -> None:
        """Of whatever type, with whatever body."""
        kind = choices.number(0, 60)
        if kind not in (wire.PLAN, wire.ACK, wire.CANCEL, wire.RESUME):
            body = choices.blob(30) if kind != wire.BEAT else wire.dumps(choices.value())
            self.told_start |= kind == wire.START
            self.tell(Frame(kind, choices.number(0, 9), choices.pick((0, self.core.epoch)), (), body))
            return
        if not choices.once_in(4):
            return
        good = {wire.PLAN: self.body, wire.CANCEL: {"grace": 1.0}}.get(kind, dict.fromkeys(STREAMS, 0))
        self.poisoned = True
        self.tell(self._frame(kind, choices.mutated(good)))
        self.died |= kind == wire.PLAN  # nothing can be said of what follows from that

    # What the command does.

    def write(self, choices: Choices) -> None:
        name = choices.pick(STREAMS)
        if self.processes and name in self.open:
            self.pipes[name] += choices.pick((b"x", b"line\n", b"." * 100)) * choices.number(1, 40)
            self._read(name)

    def _read(self, name: str) -> bool:
        """What the loop does when the pipe is readable; is there more, and room for it?"""
        size = min(CHUNK, self.core.room())
        assert self.poisoned or 0 <= size <= WINDOW
        data = bytes(self.pipes[name][:size])
        if name not in self.reading or not data:
            return False
        del self.pipes[name][: len(data)]
        offset = self._end(name)
        self.printed[name] += data
        effects = self._guarded(self.core.output, name, data)
        if not self.poisoned and not self.died:
            frame = effects[0][1]
            assert wire.unpack_output(frame.body) == (STREAMS.index(name), offset, data)
        self.perform(effects)
        return bool(self.pipes[name])

    def close_stream(self, choices: Choices) -> None:
        """Every writer closed it."""
        name = choices.pick(STREAMS)
        if name in self.open and name in self.reading and not self.pipes[name]:
            self._drained(name)

    def _drained(self, name: str) -> None:
        self.open.discard(name)
        self.perform(self._guarded(self.core.drained, name))

    def main_exits(self, choices: Choices) -> None:
        rc, signum = choices.pick(((0, None), (0, None), (3, None), (None, 9)))
        self._reap(rc, signum)

    def _reap(self, rc: int | None, signum: int | None) -> None:
        if self.main:
            self.processes.pop(self.main, None)
            self.main = 0
            self.perform(self._guarded(self.core.exited, rc, signum))

    def fork(self, choices: Choices) -> None:
        if self.processes.keys() - self.immortal:
            self._born("daemon", choices.once_in(4))

    def _born(self, name: str, immortal: bool) -> int:
        self.last_pid += 1
        self.processes[self.last_pid] = name
        if immortal:
            self.immortal.add(self.last_pid)
        return self.last_pid

    def daemon_ends(self, choices: Choices) -> None:
        daemons = sorted(self.processes.keys() - {self.main})
        if daemons:
            del self.processes[choices.pick(daemons)]

    def input_taken(self, choices: Choices) -> None:
        if self.spawns:
            self.perform(self._guarded(self.core.input_taken, choices.number(0, 1 << 62)))

    def parent_lost(self, choices: Choices) -> None:
        if self.core.epoch:
            self.perform(self._guarded(self.core.parent_lost, self.now))

    def wait(self, choices: Choices) -> None:
        self._pass(choices.pick((0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 2.5, 30.0)))

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        state, late = self.core.state, self._lease_over()
        self.perform(self._guarded(self.core.tick, self.now))
        if late and state != STOPPING and not self.poisoned and not self.over:
            assert self.core.state == STOPPING, "its lease is over"
        if state == RUNNING and self.core.state == RUNNING and not self.poisoned and not self.over:
            limit_s = self.body["shared"]["job"]["timeout"]
            assert limit_s is None or self.now <= self.core._started_at + limit_s

    def _lease_over(self) -> bool:
        finishes = self.body["shared"]["orphan"] == "finish" and self.core.epoch and bool(self.main)
        stays = finishes and self.core.state == RUNNING
        return self.now - self.renewed > self.lease_s and not stays

    # What the loop does.

    def _guarded(self, call: Any, *arguments: object) -> list[tuple[Any, ...]]:
        try:
            effects: list[tuple[Any, ...]] = call(*arguments)
        except FATAL:
            if not self.poisoned:
                raise
            self.died = True
            return []
        return effects

    def perform(self, effects: Iterable[tuple[Any, ...]]) -> None:
        """Perform the effects of the core, in order."""
        for name, *arguments in list(effects):
            if not self.over:
                getattr(self, f"_do_{name}")(*arguments)

    def _choose(self, times: int) -> bool:
        return self.choices is not None and self.choices.once_in(times)

    def _do_up(self, frame: Frame) -> None:
        if self.poisoned:
            return
        assert (frame.origin, frame.epoch, frame.path) == (ID, self.core.epoch, ())
        assert frame.type in wire.UP_TYPES
        if frame.type == wire.OUTPUT:
            stream, offset, data = wire.unpack_output(frame.body)
            at = offset - self.base[STREAMS[stream]]
            assert at >= 0
            assert len(data) <= CHUNK
            assert self.printed[STREAMS[stream]][at : at + len(data)] == data
        elif frame.type == wire.STARTED:
            assert self.spawns == 1
        elif frame.type == wire.RESULT:
            self._check_result(frame.fields())

    def _check_result(self, body: dict[str, Any]) -> None:
        assert self.core.state == ENDED
        assert {name: body[name] for name in STREAMS} == {name: self._end(name) for name in STREAMS}
        assert len(body["left"]) <= core.MOST_LEFT
        if body["cause"] is None and body["error"] is None:
            assert (body["rc"] is None) != (body["signal"] is None)

    def _do_claim(self) -> None:
        self.claims += 1
        assert self.claims == 1
        trace = "dead" if self._choose(4) else "none"
        self.perform(self._guarded(self.core.claimed, trace, self.now))
        if trace == "dead" or self.body["node"]["again"]:
            assert self.spawns == 0 or self.poisoned, "what may have run waits for the root"
        for name in STREAMS if trace == "dead" else ():
            self.base[name] = self.body["node"]["have"][name]

    def _do_state(self, fields: dict[str, Any]) -> None:
        assert fields["held"] is (self.core.state == HELD)
        assert fields["trace"] in ("none", "dead", "alive")

    def _do_spawn(self, plan: dict[str, Any]) -> None:
        self.spawns += 1
        assert self.spawns == 1, "it was started twice"
        if self.poisoned:
            pass
        elif self.body["node"]["hold"] or self.body["node"]["again"]:
            assert self.told_start, "it was started without a word"
        assert self.poisoned or (plan == self.body and self.body["node"]["asked"])
        if self._choose(8):
            self.perform(self._guarded(self.core.spawn_failed, "no such shell"))
            return
        self.main = self._born("sh", self._choose(8))
        self.open = set(STREAMS)
        self.reading = set(STREAMS)
        self.perform(self._guarded(self.core.spawned, self.main))

    def _do_reading(self, wanted: bool) -> None:
        self.reading = set(STREAMS) if wanted else set()
        for name in STREAMS:
            if wanted and self.draining:
                self._read_all(name)

    def _do_drain(self) -> None:
        self.draining = True
        for name in sorted(self.open):
            self._read_all(name)

    def _read_all(self, name: str) -> None:
        while not self.over and self._read(name):
            pass
        if not self.over and name in self.open and not self.pipes[name] and self.core.room():
            self._drained(name)

    def _do_input(self, data: bytes) -> None:
        assert self.core.state in (HELD, RUNNING)

    def _do_kill(self, signum: int) -> None:
        assert self.spawns or self.poisoned
        if signum == KILL or self._choose(2):
            for pid in self.processes.keys() - self.immortal:
                del self.processes[pid]  # the main one is reaped later

    def _do_census(self) -> None:
        alive = sorted(self.processes.items())
        self.perform(self._guarded(self.core.census, alive, self.now))

    def _do_leave(self, keep: bool, told: bool) -> None:
        self.left = keep, told
        if not self.poisoned:
            assert keep or not self.processes.keys() - self.immortal, "processes of the run live on"
            assert not keep or self.core.succeeded()

    # What holds.

    def _end(self, name: str) -> int:
        return self.base[name] + len(self.printed[name])

    def step(self, name: str, choices: Choices) -> None:
        self.choices = choices
        state, epoch = self.core.state, self.core.epoch
        super().step(name, choices)
        if not self.poisoned:
            passed = (state, self.core.state)
            ended = (RUNNING, ENDED), (HELD, STOPPING), (IDLE, ENDED), (RUNNING, DRAINING)
            twice = passed in (*ended, (HELD, DRAINING), (IDLE, DRAINING), (STOPPING, ENDED))
            assert state == self.core.state or passed in ALLOWED or twice
            assert self.core.epoch >= epoch

    def check(self) -> None:
        if self.poisoned or self.over:
            return
        assert self.core.next_tick_s(self.now) > 0
        for name in STREAMS:
            acked, end = self.core.acked[name], self._end(name)
            if self.core.epoch and self.claims:
                assert end - acked <= WINDOW
                assert bytes(self.core.kept[name]) == bytes(self.printed[name])[acked - self.base[name] :]

    def finish(self) -> None:
        """The root is gone for good: it leaves in time, and its processes end before."""
        self.choices = None
        stays_s = max(0.0, self.renewed + self.lease_s - self.now) + MOST_GRACE_S + STUCK_S + 3.0
        if self.body["shared"]["orphan"] == "finish":
            self._reap(0, None)
        for _ in range(int(stays_s / 0.25) + 1):
            if self.over:
                return
            self._pass(0.25)
            if not self.over and self.main not in self.processes:
                self._reap(None, KILL)
        assert self.over or self.poisoned, "it outlives its lease"


def walk_core(data: bytes) -> None:
    """The same for a fuzzer's bytes."""
    walk(CoreModel, data)
