"""The root in virtual time: the real cascade, relay core and ledger; a store and a display with times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade import (
    Action,
    Adopt,
    Answered,
    Carry,
    Cascade,
    Committed,
    Finish,
    FrameReceived,
    Input,
    Interrupted,
    Publish,
    ReadStdin,
    Recorded,
    Send,
    Sign,
    Signed,
    Started,
    StdinEnded,
    StdinRead,
    Steered,
    Ticked,
)
from nile.cascade.ledger import Credit, Ledger
from nile.events import Asked, Event, HostOutput, HostResult, Paced
from nile.options import Pacing
from nile.simulation.branches import SimBranches
from nile.simulation.clock import Clock
from nile.simulation.dialing import Dialer

Told = tuple[float, Event]
"""When, in virtual time, and what."""
BEAT_S = 1.0
GOODBYE_S = 2.0
ANSWER_S = 3.0
"""How long the user thinks about a question."""


@dataclass(slots=True)
class RootTimes:
    """How fast the root's store and display are; None: they stand still."""

    store_s: float | None = 0.005
    show_s: float | None = 0.0


class SimRoot:
    """Runs one cascade; `before` is what the store has from roots before it."""

    id = 0
    frozen = False
    struck = False

    def __init__(
        self,
        clock: Clock,
        cascade: Cascade,
        dialer: Dialer,
        times: RootTimes,
        stdin: bytes = b"",
        before: Sequence[Told] = (),
    ) -> None:
        self.waiting: list[Callable[[], None]] = []
        self._before = before
        self._published: list[Told] = []
        self.judged = {event.host for _, event in before if isinstance(event, HostResult)}
        self.on_result: Callable[[str], object] = lambda _: None
        """Told of each host that gets its verdict, by name."""
        self.answer = True
        """What the user says to a question."""
        self.turns: list[tuple[str, int]] = []
        """What happened to whom, by id: `start` (it is told to), `over`; and `paused`, `resumed`."""
        self.losses: list[tuple[float, int]] = []
        """When a parent said that it lost a child, or couldn't log in to it: at what time, the child's id."""
        self.finished = False
        self.most_unshown = 0
        self.times = times
        self._unshown = 0
        self._clock = clock
        self._cascade = cascade
        self._ledger = Ledger(cascade.received())
        self._stdin = stdin
        self._numbers = 0
        self._ledger_stored = 0
        self._storing = False
        self._inbox: deque[tuple[Input, Credit | None]] = deque()
        self._pumping = False
        self._beat_at = 0.0
        self.branches = SimBranches(clock, (0, 0), self, cascade.shared(), dialer, self._up)

    def begin(self) -> None:
        """The run begins."""
        self._give(Started())
        self._tick()

    def interrupt(self, grace_s: float) -> None:
        """The user wants it to end."""
        self._give(Interrupted(grace_s))

    def steer(self, pacing: Pacing) -> None:
        """The user wants it to go on faster, slower, or not for a while."""
        self._give(Steered(pacing))

    def die(self) -> None:
        """kill -9: its connections close, and nothing more is decided."""
        self.finished = True
        self.branches.close()

    def resume(self, times: RootTimes) -> None:
        """Store and display go on, at this pace."""
        self.times = times
        self._store()
        self._clock.after(0.0, self._shown, self._ledger_stored)

    @property
    def events(self) -> list[Told]:
        """All that is known of the run: what was recorded before, and what this root published."""
        return [*self._before, *self._published[bool(self._before) :]]  # it began once

    def recorded(self) -> list[Told]:
        """What the store has of the run now."""
        return [*self._before, *self._published[bool(self._before) : self._ledger_stored]]

    def unfinished(self) -> list[str]:
        """Asked hosts that have no verdict yet."""
        return self._cascade.unfinished()

    # One queue in, one apply.

    def _up(self, frame: Frame, child_id: int, _: Callable[[], None] | None) -> None:
        if frame.type in (wire.LOST, wire.FAILED):
            self._note_loss(frame)
        size = len(frame.body) if frame.type in wire.BULK else 0
        credit = Credit(child_id, size) if size else None
        self._unshown += size
        self.most_unshown = max(self.most_unshown, self._unshown)
        self._give(FrameReceived(frame), credit)

    def _note_loss(self, frame: Frame) -> None:
        try:
            child = frame.fields().get("child")
        except wire.WireError:  # a node lies
            return
        if isinstance(child, int):
            self.losses.append((self._clock.now, child))

    def _give(self, event: Input, credit: Credit | None = None) -> None:
        self._inbox.append((event, credit))
        if self._pumping:
            return
        self._pumping = True
        while self._inbox:
            self._apply(*self._inbox.popleft())
        self._pumping = False

    def _apply(self, event: Input, credit: Credit | None) -> None:
        if self.finished:
            return
        for action in self._cascade.apply(event, self._clock.now):
            credit = self._perform(action, credit)
        if credit is not None:
            self._take(credit)

    def _perform(self, action: Action, credit: Credit | None) -> Credit | None:
        match action:
            case Send(frame):
                if frame.type == wire.START:
                    self.turns.append(("start", frame.path[-1]))
                self.branches.frame(frame)
            case Publish(event, node_id):
                owner = credit if isinstance(event, HostOutput) else None
                self._numbers = self._ledger.add(event, node_id, owner)
                self._published.append((self._clock.now, event))
                if isinstance(event, HostResult):
                    self.judged.add(event.host)
                    self.on_result(event.host)
                    self.turns.append(("over", node_id))
                elif isinstance(event, Paced):
                    self.turns.append(("paused" if event.pacing.paused else "resumed", 0))
                elif isinstance(event, Asked):
                    self._clock.after(ANSWER_S, self._give, Answered(event.number, self.answer))
                self._store()
                return None if owner is not None else credit
            case Adopt(entries):
                self.branches.adopt(entries)
            case Carry(entry):
                self.branches.adopt([entry])
            case Sign():
                self._give(Signed(action, b"signed"))
            case ReadStdin(size):
                self._clock.after(0.0, self._read_stdin, size)
            case Finish():
                self.finished = True
                self._clock.after(GOODBYE_S, self.branches.parent_lost)
        return credit

    def _read_stdin(self, size: int) -> None:
        data, self._stdin = self._stdin[:size], self._stdin[size:]
        self._give(StdinRead(data) if data else StdinEnded())

    def _tick(self) -> None:
        if self.finished:
            return
        now = self._clock.now
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self._give(Ticked(self._ledger.settled))
        self.branches.tick()
        due_s = min(self.branches.relay.next_tick_s(now), self._beat_at - now)
        self._clock.after(max(0.001, due_s), self._tick)

    # The store and the display.

    def _store(self) -> None:
        if not self._storing and self.times.store_s is not None:
            self._storing = True
            self._clock.after(self.times.store_s, self._stored)

    def _stored(self) -> None:
        """What was published up to now is in the store; what was published since comes next."""
        self._storing = False
        number = self._ledger_stored = self._numbers
        committed: list[Committed] = self._ledger.stored(number)
        for each in committed:
            self._give(each)
        for decided in self._ledger.decided():
            self._give(Recorded(decided))
        if self.times.show_s is not None:
            self._clock.after(self.times.show_s, self._shown, number)
        if self._numbers > number:
            self._store()

    def _shown(self, number: int) -> None:
        for credit in self._ledger.shown(number):
            self._take(credit)

    def _take(self, credit: Credit) -> None:
        self._unshown -= credit.size
        self.branches.take(credit.child_id, credit.size)
