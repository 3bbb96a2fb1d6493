"""What a node does with its own command: pure, calls in, effects out.

    idle --plan, claim--> held --start--> running --exit--> draining --drained--> ended --end--> (leaves)
                            |                |                  ^
                            |                +--time-out, cancel, lease over--> stopping --all gone--+
                            +--cancel--> ended

An agent that lost its parent goes on in whatever state it is, unless the run has
it end at once, until its lease is over or another parent adopts it: a plan of a
higher epoch then comes over a new link. It says what it is doing, and sends
anew what the root hasn't got.

Every method returns a list of effects for the loop to perform, in order:

    ("up", frame)            send it toward the root
    ("claim",)               look for another agent of this run and host; answered by `claimed`
    ("state", fields)        send a STATE frame with these fields, and the children
    ("spawn", plan)          start the command; answered by `spawned` or `spawn_failed`
    ("reading", bool)        read what the command writes, or let it wait
    ("drain",)               from now on an empty pipe is an ended one; answered by `drained`
    ("input", bytes)         bytes for the command's standard input; b"" closes it
    ("kill", signum)         signal every descendant of the command
    ("census",)              answered by `census`: which descendants live
    ("leave", keep, told)    end this agent; `keep` leaves alone what the command left behind,
                             `told` says that the root wants no trace of it any more

Time is CLOCK_BOOTTIME in seconds, handed in. A command's output is bounded by
a window of absolute offsets, one for both streams, that the root moves on when
its store has them.
"""

from nile.agent import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence, Tuple

    from nile.agent.stopping import Stopping

    Effects = List[Tuple[Any, ...]]

IDLE, HELD, RUNNING, STOPPING, DRAINING, ENDED = "idle", "held", "running", "stopping", "draining", "ended"

TERM, KILL = 15, 9
STREAMS = ("stdout", "stderr")
MOST_LEFT = 100  # leftover processes that a result names


class Core:
    """One node's own part in a run.

    `lease_s` holds until the plan says otherwise, from the parent's last bytes on: one that stops
    on its way for longer comes from a relay that was given up meanwhile, perhaps, and its host with it.
    """

    def __init__(self, now: float, lease_s: float = 5.0) -> None:
        self.state = IDLE
        self.id = 0
        self.epoch = 0
        self.plan: "dict[str, Any]" = {}
        self._lease_s = lease_s
        self._beat = -1
        self._beat_at = now
        self.told_to = 0  # what the root said to this host's command alone: bytes, ever
        self.taken = 0  # of its standard input, program included
        self._orphan = ""  # what to do without a parent: adopt, kill or finish
        self._window = 0
        self._trace = "alive"
        self._sent = dict.fromkeys(STREAMS, 0)
        self.acked = dict.fromkeys(STREAMS, 0)
        self.kept = {name: bytearray() for name in STREAMS}  # from `acked` to `_sent`
        self.spawn_said: "Effects" = []
        self.result_said: "Effects" = []
        self._open: "set[str]" = set()
        self._stopping: "Optional[Stopping]" = None
        self._grace_s = 5.0
        self._cause: "Optional[str]" = None
        self._dissolved = False
        self._told = False
        self._status: "Tuple[Optional[int], Optional[int]]" = (None, None)
        self._exited = False
        self._left: "List[List[object]]" = []

    # What the root says.

    def frame(self, frame: wire.Frame, now: float) -> "Effects":
        """A downward frame whose path ends here, or a broadcast; raises WireError."""
        if self._lease_over(now):
            return self.dissolve(now)  # it thawed too late: what was queued, heartbeats too, is void
        if frame.type == wire.BEAT:
            number = frame.value()
            # Only one that is new renews the lease: a queue that thaws brings old ones.
            if isinstance(number, int) and number > self._beat:
                self._beat, self._beat_at = number, now
            return []
        if frame.epoch and frame.epoch < self.epoch:
            return []
        if frame.type == wire.PLAN:
            return self._planned(frame.fields(), now)
        if frame.type == wire.START:
            return self._start(now)
        if frame.type == wire.ACK:
            return self._acknowledged(frame.fields())
        if frame.type == wire.STDIN and self.state in (HELD, RUNNING):
            return [("input", frame.body)]
        if frame.type == wire.TELL and self.state == RUNNING:
            from nile.agent import anew

            return anew.tell(self, frame.body)
        if frame.type == wire.CANCEL:
            return self._cancel(float(frame.fields().get("grace", self._grace_s)), now)
        if frame.type == wire.RESUME:
            return self._resume(frame.fields())
        if frame.type == wire.END:
            self._told = True
            return self.dissolve(now)
        return []

    def _planned(self, body: "dict[str, Any]", now: float) -> "Effects":
        shared, node = body["shared"], body["node"]
        if self.state != IDLE or self.plan:
            return self._adopted(node, now)
        self.plan = body
        self.id, self.epoch = node["id"], node["epoch"]
        self._lease_s, self._grace_s = shared["lease"], shared["grace"]
        self._orphan = shared["orphan"]
        self._window = shared["window"]
        self._beat_at = now
        return [("claim",)]

    def claimed(self, trace: str, now: float) -> "Effects":
        """This agent speaks for its host from now on; `trace` of one before it: "none" or "dead".

        Only the root knows whether a command may be started where one may have been started before.
        """
        node = self.plan["node"]
        self._trace = trace
        again = node["again"] or trace == "dead"
        self.state = HELD if node["asked"] else self.state
        if again:  # what it prints, if anything, follows what the root has
            self._sent, self.acked = dict(node["have"]), dict(node["have"])
            return self._resume(node["have"])
        return [] if node["hold"] else self._start(now)

    def _adopted(self, node: "dict[str, Any]", now: float) -> "Effects":
        """Another parent has it now, or the same one anew."""
        if node["epoch"] <= self.epoch:
            return []
        self.epoch = node["epoch"]
        self._beat_at = now
        return self._resume(node["have"])

    def _resume(self, have: "dict[str, Any]") -> "Effects":
        from nile.agent import anew

        # Before a start it says what it found here.
        return anew.resume(self, self._trace if self.state == HELD else "alive", have)

    def _start(self, now: float) -> "Effects":
        if self.state != HELD:
            return []
        self.state = RUNNING
        self._started_at = now
        self._open = set(STREAMS)
        return [("spawn", self.plan)]

    def _acknowledged(self, offsets: "dict[str, Any]") -> "Effects":
        was_full = not self.room()
        for name in STREAMS:
            offset = offsets.get(name, 0)
            if self.acked[name] < offset <= self._sent[name]:
                del self.kept[name][: offset - self.acked[name]]
                self.acked[name] = offset
        return [("reading", True)] if was_full and self.room() else []

    def _cancel(self, grace_s: float, now: float) -> "Effects":
        if self.state == HELD:
            self._cause = "cancelled"
            return self._end()
        if self.state == RUNNING:
            return self.stop("cancelled", now, grace_s)
        if self.state == STOPPING and self._stopping:  # asked again: in a hurry
            self._stopping.hurry(grace_s, now)
        return []

    # What the loop reports of the command.

    def spawned(self, pid: int) -> "Effects":
        """The command runs as process `pid`."""
        self.spawn_said = [("up", self._say(wire.STARTED, {"pid": pid}))]
        return list(self.spawn_said)

    def spawn_failed(self, reason: str) -> "Effects":
        """The command could not be started."""
        return self._end(error=reason)

    def room(self) -> int:
        """How many bytes of output may be read now: no stream overtakes the other one where it waits."""
        return self._window - sum(map(len, self.kept.values()))

    def output(self, name: str, data: bytes) -> "Effects":
        """The command wrote `data`, at most `room()` bytes."""
        offset = self._sent[name]
        self._sent[name] = offset + len(data)
        self.kept[name] += data
        effects: "Effects" = [self.output_frame(name, offset, data)]
        if not self.room():
            effects.append(("reading", False))
        return effects

    def output_frame(self, name: str, offset: int, data: bytes) -> "Tuple[Any, ...]":
        """What sends these bytes of a stream, the first of which is at `offset`."""
        body = wire.pack_output(STREAMS.index(name), offset, data)
        return ("up", wire.Frame(wire.OUTPUT, self.id, self.epoch, (), body))

    def drained(self, name: str) -> "Effects":
        """The stream is over: every writer closed it, or `drain` was asked and its pipe is empty."""
        self._open.discard(name)
        return self._end() if self.state == DRAINING and not self._open else []

    def input_taken(self, offset: int) -> "Effects":
        """Standard input up to this absolute offset needs no room any more."""
        self.taken = offset
        return [("up", self._say(wire.TAKEN, offset))]

    def exited(self, rc: "Optional[int]", signum: "Optional[int]") -> "Effects":
        """The command's own process ended; its descendants may live on."""
        self._status = (rc, signum)
        self._exited = True
        return [("census",)]

    def census(self, alive: "Sequence[Tuple[int, str]]", now: float) -> "Effects":
        """The command's living descendants, its own process included: (pid, name)."""
        if self.state == RUNNING and self._exited:
            # It ended by itself: what it left stays only if it succeeded and may.
            if alive and (self._status[0] != 0 or self.plan["shared"]["job"]["leftover"] == "kill"):
                return self.stop(None, now, self._grace_s, alive)
            self._left = [[pid, name, 0] for pid, name in alive]
            return self._drain()
        if self.state != STOPPING or not self._stopping:
            return []
        signum = self._stopping.signal(alive, self._exited, now)
        if signum is not None:
            return [("kill", signum)] if signum else []
        self._left = self._stopping.ends(alive)
        return self._drain()

    # Stopping and leaving.

    def tick(self, now: float) -> "Effects":
        """Deadlines. Call it a few times a second, and twenty times while `state` is `stopping`."""
        if self.state == STOPPING:
            return [("census",)]
        if self._lease_over(now):
            return self.dissolve(now)
        if now > self._limit() and not self._exited:
            return self.stop("timeout", now, self._grace_s)
        if now - self._beat_at > self._lease_s:  # it runs on, for nobody: it must not wait for room
            return self._acknowledged(dict(self._sent))
        return []

    def deaf(self, last_in: float, now: float) -> bool:
        """Was nothing heard from the parent for so long that another had better look after this host?

        Before the plan, which may be long, it is all that the parent sends that renews the lease.
        """
        if not (self.plan or self._lease_over(now)):
            self._beat_at = last_in
        return bool(self.plan) and now - last_in > self.plan["shared"]["deaf"]

    def next_tick_s(self, now: float) -> float:
        """Seconds until `tick` is due."""
        return min(1.0, max(0.01, self._limit() - now))

    def _limit(self) -> float:
        """When the command has had its time."""
        limit_s = self.plan["shared"]["job"]["timeout"] if self.state == RUNNING else None
        return float("inf") if limit_s is None else self._started_at + limit_s

    def parent_lost(self, now: float) -> "Effects":
        """The link to the parent ended: wait to be adopted, unless there is nothing to wait for."""
        return [] if self.waits() else self.dissolve(now)

    def waits(self) -> bool:
        """Does this agent go on without a parent, for now?"""
        return self._orphan in ("adopt", "finish")

    def _lease_over(self, now: float) -> bool:
        finishes = self._orphan == "finish" and self.state == RUNNING and not self._exited
        return now - self._beat_at > self._lease_s and not finishes

    def dissolve(self, now: float) -> "Effects":
        """Nothing more is to be expected of the root: end the command, then leave."""
        self._dissolved = True
        if self.state == RUNNING and not self._exited:
            return self.stop("orphaned", now, self._grace_s)
        return [] if self.state == STOPPING else [self._leave()]

    def succeeded(self) -> bool:
        """Did the command end by itself, and well? Then what it left behind may stay."""
        return self._exited and self._cause is None and self._status[0] == 0

    def stop(
        self, cause: "Optional[str]", now: float, grace_s: float, alive: "Sequence[Tuple[int, str]]" = ()
    ) -> "Effects":
        """End the command that runs, or what is `alive` of one that ended by itself."""
        from nile.agent import stopping

        self._cause = cause
        self.state = STOPPING
        self._stopping = stopping.Stopping(alive, now, grace_s)
        return [("census",), ("kill", TERM)]

    def _drain(self) -> "Effects":
        if self._dissolved:
            return [self._leave()]
        self.state = DRAINING
        return [("drain",)] if self._open else self._end()

    def _end(self, error: "Optional[str]" = None) -> "Effects":
        self.state = ENDED
        result = {
            "rc": self._status[0],
            "signal": self._status[1],
            "cause": self._cause,
            "error": error,
            "left": self._left[:MOST_LEFT],
            "stdout": self._sent["stdout"],
            "stderr": self._sent["stderr"],
        }
        self.result_said = [("up", self._say(wire.RESULT, result))]
        return list(self.result_said)

    def _leave(self) -> "Tuple[Any, ...]":
        return ("leave", self.succeeded(), self._told)

    def _say(self, kind: int, value: "Any") -> wire.Frame:
        return wire.Frame(kind, self.id, self.epoch, (), wire.dumps(value))
