"""A node's agent in virtual time: the real core, relay and link; what nile.agent.loop does, done here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nile.agent import core, wire
from nile.agent.core import Core
from nile.agent.link import BULK_WINDOW, Link
from nile.agent.wire import Frame
from nile.simulation.branches import Repeating, SimBranches
from nile.simulation.clock import Clock
from nile.simulation.commands import Command
from nile.simulation.dialing import Dialer
from nile.simulation.hosts import SimHost
from nile.simulation.pipes import Connection

STOPPING_TICK_S = 0.02
EVERYTHING = 1 << 62


class SimAgent:
    """Lives on a host, speaks to its parent through `connection`."""

    def __init__(self, clock: Clock, host: SimHost, connection: Connection, dialer: Dialer) -> None:
        self.host = host
        self.core = Core(clock.now)
        self.link = Link(wire.MAX_FRAME_DOWN, clock.now)
        self.branches: SimBranches | None = None
        self.alive = True
        self.clock = clock
        self._connection = connection
        self._dialer = dialer
        self._tick = Repeating(clock, self._ticked)
        self._last_tick = clock.now
        self.most_sent_ahead = 0
        self._reads = False
        self._drained: set[str] = set()
        self._heir: SimAgent | None = None
        self._alone = False
        """Its parent is lost, and no other has come yet."""
        self._input: list[bytes] = []
        self._input_open = False
        self._input_taken = 0
        host.agent = self
        host.claims.agents += 1
        self._listen(connection)
        hello = {"protocol": wire.PROTOCOL, "python": "3.11.2", "uptime": clock.now - host.booted_at}
        self.link.send(Frame(wire.HELLO, body=wire.dumps(hello)))
        self._settle()

    # The loop.

    def received(self, data: bytes) -> None:
        """Bytes of the parent."""
        if not self.alive:
            return
        settled = self.branches is None  # a relay has due what its children bring about, too
        for frame in self.link.receive(data, self.clock.now):
            agent = self._heir or self
            if agent.alive and not agent._beaten(frame):
                agent._frame(frame)
                settled = False
        (self._heir or self)._settle(settled)

    def _beaten(self, frame: Frame) -> bool:
        """Take a heartbeat, where that is all there is to it: most frames are no more than that."""
        if frame.type != wire.BEAT or self.branches is not None or frame.path:
            return False
        effects = self.core.frame(frame, self.clock.now)
        self.perform(effects)
        return not effects

    def _listen(self, connection: Connection) -> None:
        connection.down.on_data = self.received
        connection.down.on_end = lambda: self.parent_lost(connection)
        connection.up.on_room = self.flush

    def _frame(self, frame: Frame) -> None:
        now = self.clock.now
        if frame.type not in wire.DOWN_TYPES:
            return
        if frame.type in wire.BULK:
            self.link.take(len(frame.body))
        if frame.type == wire.PLAN and not frame.path:
            self.perform(self.core.frame(frame, now))
            self._branch_out(self.core.plan.get("node", {}).get("children", []))
        elif frame.type == wire.ADOPT and not frame.path and self.branches is None:
            self._become_relay(frame.fields())
        elif self.branches and (frame.path or frame.type in wire.RELAY_TYPES):
            self.branches.frame(frame)
        elif not frame.path:
            if self.branches and frame.type in wire.BROADCAST:
                self.branches.frame(frame)
            self.perform(self.core.frame(frame, now))

    def _become_relay(self, body: dict[str, Any]) -> None:
        """It has what a relay needs since its login, or gets it now; else it ends with an ImportError."""
        if body["code"] or self.core.plan["node"]["relay"]:
            self._branch_out(body["entries"])
        else:
            self.host.kill_agent()

    def _branch_out(self, entries: list[dict[str, Any]]) -> None:
        if self.branches is None and entries and self.alive:
            own = (self.core.id, self.core.epoch)
            self.branches = SimBranches(
                self.clock, own, self.host, self.core.plan["shared"], self._dialer, self._pass
            )
            self.branches.adopt(entries)

    # Claims: one agent of a run on a host, whoever logs in.

    def _do_claim(self) -> None:
        before = self.host.claimant
        if before is not None and before.alive:
            self._heir = before
            self.alive = False
            self._tick.stop()
            before.adopted(self)
            return
        self.host.claimant = self
        self.host.signal_all(9)
        self.perform(self.core.claimed("dead" if self.host.trace else "none", self.clock.now))
        self.host.trace = True

    def adopted(self, other: SimAgent) -> None:
        """Another agent came here, and hands its login over."""
        self._connection.close()
        self.link.drop()
        self.link, self._connection = other.link, other._connection
        self._alone = False
        self._listen(self._connection)
        self.perform(self.core.frame(other.plan_frame(), self.clock.now))
        self._settle()

    def plan_frame(self) -> Frame:
        """The plan that this agent got."""
        return Frame(wire.PLAN, 0, self.core.epoch, (), wire.dumps(self.core.plan))

    def _do_state(self, fields: dict[str, Any]) -> None:
        children = []
        if self.branches is not None:
            self.branches.readopted(self.core.epoch)
            children = self.branches.relay.standing()
        uptime = self.clock.now - self.host.booted_at
        body = wire.dumps({**fields, "children": children, "uptime": uptime})
        self.up(Frame(wire.STATE, self.core.id, self.core.epoch, (), body))

    def up(self, frame: Frame, left: Callable[[], None] | None = None) -> None:
        """Queue a frame toward the root."""
        if self.alive:
            self.link.send(frame, left)
            self.flush()

    def _pass(self, frame: Frame, _: int, left: Callable[[], None] | None) -> None:
        self.up(frame, left)

    def flush(self) -> None:
        """Write what can be written."""
        link, pipe = self.link, self._connection.up
        while self.alive and link.pending() and pipe.writable:
            pipe.write(link.pull(self.clock.now))
            ahead = link._sent - (link.granted - BULK_WINDOW)
            if ahead > self.most_sent_ahead:
                self.most_sent_ahead = ahead

    def _settle(self, tick_is_set: bool = False) -> None:
        if self.alive:
            self.flush()
            if not tick_is_set:
                self._tick.due_in(self._last_tick + self._tick_s() - self.clock.now)

    def _tick_s(self) -> float:
        if self.core.state == core.STOPPING:
            return STOPPING_TICK_S
        now = self.clock.now
        tick_s = self.core.next_tick_s(now)
        if not self._alone and self.core.plan:
            due = self.link.last_in + self.core.plan["shared"]["silence"] - now
            if due < tick_s:
                tick_s = max(0.01, due)
        if self.branches is not None:
            tick_s = min(tick_s, self.branches.relay.next_tick_s(now))
        return tick_s

    def _ticked(self) -> None:
        if not self.alive:
            return
        if self.host.frozen:
            self.host.waiting.append(self._ticked)
            return
        now = self.clock.now
        self._last_tick = now
        self.link.tick(now)
        self._suspect_parent(now)
        self.perform(self.core.tick(now))
        if self.branches is not None and self.alive:
            self.branches.tick()
        self._settle()

    def _suspect_parent(self, now: float) -> None:
        """A parent that is silent may still hear this one: hang up, so that it knows."""
        if not self._alone and self.core.deaf(self.link.last_in, now):
            self._connection.close()
            self.parent_lost(self._connection)

    def parent_lost(self, connection: Connection | None = None) -> None:
        """The parent's connection ended."""
        if self._heir is not None:
            self._heir.parent_lost(connection)
            return
        if not self.alive or self._alone or connection is not self._connection:
            return
        self._alone = True
        waits = self.core.waits()
        if self.branches is not None:
            self.branches.orphaned() if waits else self.branches.parent_lost()
        self.perform(self.core.parent_lost(self.clock.now))
        self._settle()

    # Ends of various kinds.

    def warden_lost(self) -> None:
        """Nobody would clean up after it any more: it ends its command, then itself."""
        if self.host.frozen:
            self.host.waiting.append(self.warden_lost)
        elif self.alive:
            self.perform(self.core.dissolve(self.clock.now))
            self._settle()

    def die(self) -> None:
        """The process is gone: the kernel closes its connections."""
        if self.alive:
            self.alive = False
            self._tick.stop()
            self._connection.close()
            if self.branches is not None:
                self.branches.close()

    def vanish(self) -> None:
        """The host is gone: no packet leaves any more."""
        if self.alive:
            self.alive = False
            self._tick.stop()
            self._connection.cut()
            if self.branches is not None:
                self.branches.vanish()

    # Effects of the core.

    def perform(self, effects: Iterable[tuple[Any, ...]]) -> None:
        """Perform the effects of the core, in order."""
        for name, *arguments in effects:
            if self.alive:
                getattr(self, f"_do_{name}")(*arguments)

    def _do_up(self, frame: Frame) -> None:
        self.up(frame)

    def _do_spawn(self, plan: dict[str, Any]) -> None:
        line = plan["shared"]["job"]["command"] + plan["node"]["line"]
        command = self.host.start(line, self._readable, self._ended)
        self._reads = True
        self._input_open = plan["shared"]["job"]["stdin"]
        command.on_input_room = lambda: self._when_awake(self._feed)
        if not self._input_open:
            command.end_input()
        self.perform(self.core.spawned(command.pid))
        self.clock.after(0.0, command.begin)

    def _when_awake(self, call: Callable[[], None]) -> None:
        """Make a call as the loop would: soon, unless the host is frozen or the agent gone."""
        if self.host.frozen:
            self.host.waiting.append(lambda: self._when_awake(call))
        elif self.alive:
            call()
            self._settle()

    def _ended(self, status: int | None, signum: int | None) -> None:
        exited = lambda: self.perform(self.core.exited(status, signum))  # noqa: E731
        self.clock.after(0.0, self._when_awake, exited)

    def _readable(self, stream: str) -> None:
        self.clock.after(0.0, self._when_awake, lambda: self._read(stream))

    def _read(self, stream: str) -> bool:
        """Read once; is there more to read, and room for it?"""
        command = self._command()
        if not self._reads or stream in self._drained:
            return False
        data = command.take_output(stream, min(wire.CHUNK, self.core.room()))
        if not data:
            return False
        self.perform(self.core.output(stream, data))
        self._note_unacknowledged(stream)
        if command.pipes[stream]:
            self._readable(stream)
        return True

    def _note_unacknowledged(self, stream: str) -> None:
        most = self.host.claims.most_unacknowledged
        most[stream] = max(most[stream], self.core._window - self.core.room())

    def _do_reading(self, wanted: bool) -> None:
        self._reads = wanted
        for stream in core.STREAMS if wanted else ():
            if self.core.state == core.DRAINING:
                self._read_all(stream)
            else:
                self._readable(stream)

    def _do_drain(self) -> None:
        for stream in core.STREAMS:
            self._read_all(stream)

    def _read_all(self, stream: str) -> None:
        while self._read(stream):
            pass
        if stream not in self._drained and not self._command().pipes[stream] and self.core.room():
            self._drained.add(stream)
            self.perform(self.core.drained(stream))

    def _do_input(self, data: bytes) -> None:
        self._input.append(data)
        self._feed()

    def _feed(self) -> None:
        command = self._command()
        if not command.alive:
            self._input_gone()
            return
        while self._input and self._input_open:
            if not self._input[0]:
                self._input_gone()
                command.end_input()
                return
            data = self._input.pop(0)
            taken = command.give_input(data)
            if data[taken:]:
                self._input.insert(0, data[taken:])
            if not taken:
                return
            self._input_taken += taken
            self.perform(self.core.input_taken(self._input_taken))

    def _input_gone(self) -> None:
        self._input.clear()
        if self._input_open:
            self._input_open = False
            self.perform(self.core.input_taken(EVERYTHING))

    def _command(self) -> Command:
        assert self.host.command is not None
        return self.host.command

    def _do_kill(self, signum: int) -> None:
        self.host.signal_all(signum)

    def _do_census(self) -> None:
        alive = [(process.pid, process.name) for process in self.host.alive()]
        self.perform(self.core.census(alive, self.clock.now))

    def _do_leave(self, keep: bool, told: bool) -> None:
        if told:
            self.host.trace = False
        if self.branches is not None:
            self.branches.parent_lost()
        self.die()
        if not keep:
            self.host.signal_all(9)
