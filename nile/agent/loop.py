"""The agent's one loop: it performs what core and relay decide, and tells them what happened.

All descriptors are non-blocking; signals arrive over a pipe. There is no other
thread, and no import here beyond what starts in a millisecond: a leaf's start
counts once for every host.
"""

import _signal
import posix as os
import select
import sys
import time

from nile.agent import claims, core, processes, warden, wire
from nile.agent.command import Command
from nile.agent.link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Optional, Tuple

    from nile.agent.carry import Carrier
    from nile.agent.logins import Branches

CLOCK_BOOTTIME = 7
READ_SIZE = 65536
STOPPING_TICK_S = 0.02


def main(bundle: "Tuple[Any, ...]") -> None:
    """Become warden and agent: never returns.

    They part as late as can be: what either writes to afterwards, the kernel has to copy.
    """
    agent = Agent(bundle, processes.original_environment())
    agent.run(*warden.part())


def now() -> float:
    """Seconds since boot, time asleep included (Python 3.6 has no name for this clock)."""
    return time.clock_gettime(CLOCK_BOOTTIME)


class Agent:
    """Descriptors, the command, and the link to the parent."""

    def __init__(self, bundle: "Tuple[Any, ...]", env: "Dict[str, str]") -> None:
        self.bundle = bundle
        self.env = env
        self.core = core.Core(now())
        self.parent = Link(wire.MAX_FRAME_DOWN, now())
        self.branches: "Optional[Branches]" = None
        self.carrier: "Optional[Carrier]" = None
        self.command = Command(self)
        self._owned: "list[str]" = []
        self.claim: "Optional[str]" = None
        self.alone = False  # without a parent, for now
        self.heard: "list[wire.Frame]" = []
        self.offered = 0  # the highest epoch of a login that another agent offered
        self._tell = -1
        self._poll = select.poll()
        self._ready: "Dict[int, Callable[[int], None]]" = {}
        self._masks: "Dict[int, int]" = {}
        self.out = b""
        self._last_tick = now()

    # The loop.

    def run(self, tell: int, above: int) -> None:
        """Until `leave`. `tell` is the pipe to the warden, `above` its pid."""
        self._tell = tell
        for fd in (0, 1):
            os.set_blocking(fd, False)
        self.watch(0, select.POLLIN, self.parent_readable)
        self._watch_signals()
        self.parent.send(wire.Frame(wire.HELLO, body=wire.dumps(self._hello())))
        self._flush_parent()
        if self.bundle[3] is not None:
            from nile.agent import logins  # noqa: F401  (compiled while the plan is on its way)
        if os.getppid() != above:  # the warden died before the kernel could be asked to tell
            self.perform(self.core.dissolve(now()))
        while True:
            self._flush_parent()
            for fd, events in self._wait():
                handler = self._ready.get(fd)
                if handler is not None:
                    handler(events)
            if now() - self._last_tick >= self._tick_s() * 0.9:
                self._tick()

    def _wait(self) -> "list[Tuple[int, int]]":
        due_s = self._last_tick + self._tick_s() - now()
        return self._poll.poll(max(0, int(due_s * 1000) + 1))

    def _tick_s(self) -> float:
        if self.core.state == core.STOPPING:
            return STOPPING_TICK_S
        tick_s = self.core.next_tick_s(now())
        return min(tick_s, self.branches.next_tick_s()) if self.branches else tick_s

    def _tick(self) -> None:
        self._last_tick = now()
        self.parent.tick(self._last_tick)
        if not self.alone and self.core.deaf(self.parent.last_in, self._last_tick):
            self._parent_lost()
        self.perform(self.core.tick(self._last_tick))
        self.command.mind()
        if self.branches:
            self.branches.tick(self._last_tick)

    def watch(self, fd: int, mask: int, handler: "Callable[[int], None]") -> None:
        """Call `handler(events)` when `fd` is ready as `mask` says (select.POLLIN, POLLOUT)."""
        self._ready[fd] = handler
        if self._masks.get(fd) != mask:
            self._masks[fd] = mask
            self._poll.register(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; it stays open."""
        if self._ready.pop(fd, None) is not None:
            del self._masks[fd]
            self._poll.unregister(fd)

    def drop(self, fd: int) -> None:
        """Forget a descriptor and close it."""
        self.unwatch(fd)
        os.close(fd)

    def _watch_signals(self) -> None:
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        _signal.set_wakeup_fd(wake)
        for signum in (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT):
            _signal.signal(signum, _nothing)
        self.watch(woken, select.POLLIN, lambda _: self._signalled(os.read(woken, 512)))

    def _signalled(self, signals: bytes) -> None:
        if _signal.SIGCHLD in signals:
            for pid, rc, signum in processes.reap():
                if pid == self.command.pid:
                    self.command.mind("end", rc, signum)
                    self.perform(self.core.exited(rc, signum))
                elif self.branches:
                    self.branches.reaped(pid, rc, signum)
        if set(signals) != {_signal.SIGCHLD}:  # any other one that is watched asks it to end
            self.perform(self.core.dissolve(now()))

    # The link to the parent.

    def _hello(self) -> "Dict[str, Any]":
        return {
            "protocol": wire.PROTOCOL,
            "python": "%d.%d.%d" % sys.version_info[:3],
            "pid": os.getpid(),
            "uid": os.getuid(),
            "uptime": now(),
        }

    def parent_readable(self, events: int) -> None:
        """Take what the parent sent."""
        try:
            data = os.read(0, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._parent_lost()
            return
        self.heard += self.parent.receive(data, now())
        while self.heard:
            self._frame(self.heard.pop(0))

    def _frame(self, frame: wire.Frame) -> None:
        if frame.type not in wire.DOWN_TYPES:
            return
        size = len(frame.body) if frame.type in wire.BULK else 0
        if self.branches and (frame.path or frame.type in wire.RELAY_TYPES):
            self.branches.frame(frame, now(), lambda: self.parent.take(size))
            return
        self.parent.take(size)
        if frame.type == wire.PLAN and not frame.path:
            self.perform(self.core.frame(frame, now()))
            self._branch_out(self.core.plan["node"]["children"])
        elif frame.type == wire.ADOPT:
            body = frame.fields()
            if body["code"]:
                self._adoption().become_relay(self, body["bundle"])
            self._branch_out(body["entries"])
        elif frame.type >= wire.OPEN and not frame.path:
            self._carry(frame)
        elif not frame.path:
            if self.branches and frame.type in wire.BROADCAST:
                self.branches.frame(frame, now(), _nothing)
            self.perform(self.core.frame(frame, now()))

    def _carry(self, frame: wire.Frame) -> None:
        """A frame of a channel; the first one brings the code that they need."""
        if frame.type == wire.OPEN and self.carrier is None:
            sys.meta_path[0].add(frame.fields()["code"])  # type: ignore[attr-defined]
            from nile.agent import carry

            self.carrier = carry.Carrier(self)
        if self.carrier:
            self.carrier.frame(frame)

    def _branch_out(self, entries: "list[Dict[str, Any]]") -> None:
        if self.branches is None and entries:
            from nile.agent import logins

            self.branches = logins.Branches(self, self.core.plan)
        if self.branches:
            self.branches.adopt(entries)

    # Losing the parent, and finding another.

    def _do_claim(self) -> None:
        shared, node = self.core.plan["shared"], self.core.plan["node"]
        trace, self.claim, word, fd = claims.claim(shared["run"], node, self.own)
        if trace == claims.HELD:
            trace = self._adoption().come_second(self, word)
        elif fd < 0 and node["again"]:
            trace = claims.DEAD  # nothing here remembers whether a command was started
        if fd >= 0:
            self.watch(fd, select.POLLIN, lambda _: self._adoption().adopted(self, os.read(fd, 4096)))
        self.perform(self.core.claimed(trace, now()))

    def _adoption(self) -> "Any":
        from nile.agent import orphan

        return orphan

    def _parent_lost(self) -> None:
        self._adoption().lose_parent(self)

    def _do_state(self, fields: "Dict[str, Any]") -> None:
        self._adoption().say_state(self, fields)

    def now(self) -> float:
        """Seconds since boot."""
        return now()

    def own(self, directory: str) -> None:
        """Have this directory removed when the agent ends, whatever way it ends."""
        self._owned.append(directory)
        os.write(self._tell, directory.encode() + b"\n")

    def up(self, frame: wire.Frame, sent: "Optional[Callable[[], None]]" = None) -> None:
        """Queue a frame toward the root; `sent()` once a bulk one left this memory."""
        if not self.alone:  # else what the root misses it asks for, once there is a way to it
            self.parent.send(frame, sent)
        elif sent is not None:
            sent()

    def _flush_parent(self) -> None:
        """Write what can be written now, and ask to be told when more can."""
        while not self.alone:
            if not self.out:
                self.out = self.parent.pull(now())
                if not self.out:
                    self.unwatch(1)
                    return
            try:
                self.out = self.out[os.write(1, self.out) :]
            except BlockingIOError:
                self.watch(1, select.POLLOUT, _nothing)
                return
            except OSError:
                self.parent_readable(0)  # what it said last: perhaps that this is the end
                if not self.alone:
                    self._parent_lost()

    # Effects of the core.

    def perform(self, effects: "Iterable[Tuple[Any, ...]]") -> None:
        """Perform the effects of the core, in order."""
        for effect in effects:
            perform = getattr(self.command, effect[0], None) or getattr(self, "_do_" + effect[0])
            perform(*effect[1:])

    _do_up = up

    def _do_leave(self, keep: bool, told: bool) -> None:
        if self.branches:
            self.branches.leave(told)
        for directory in self._owned:
            processes.remove_directory(directory)
        if told and self.claim:
            claims.release(self.claim)
        if keep:
            self.leave_all()
        os._exit(0)

    def leave_all(self) -> None:
        """End this agent alone; never returns."""
        os.write(self._tell, warden.KEEP)
        os._exit(0)


def _nothing(*_: object) -> None:
    """A handler for what only has to wake the loop."""
