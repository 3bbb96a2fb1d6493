"""What a node of a chain says of itself."""

from nile.agent.worker.holding import Holdup
from nile.agent.worker.ring import APPLIER, SUCCESSOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple

    from nile.agent.worker.loop import Loop


class Event:
    """What happened to a node. `fields` are as `nile.agent.wire.dumps` takes them.

    `kind`       and when; `code` and `reason` say why, `offset` where
    predecessor  connected (code ""); or no more: `broken`, `protocol`, `gone`, `timeout` (nobody came)
    successor    connected and answered (""); or no more: `broken`, `protocol`, `gone`, `timeout`, or what
                 `meeting.Dial` says of one that can't be reached; `through`: it has everything
    applier      it has got everything and was closed (""); or takes no more: `failed`
    end          all has come, and the hash was right. Its `digest`, if there is one, is for whoever knows
                 the root's: this one can't tell whether its predecessor made all of it up
    held         it is held up by its `applier` or its `successor` (the code): see `holding`. Said again while
                 that lasts; the offset is what that one has taken
    """

    def __init__(self, kind: str, code: str, reason: str, offset: int, digest: bytes = b"") -> None:
        self.kind = kind
        self.code = code
        self.reason = reason
        self.offset = offset
        self.digest = digest

    def fields(self) -> "Dict[str, Any]":
        """All of it; a digest only where there is one."""
        return {name: value for name, value in vars(self).items() if name != "digest" or value}


class Progress:
    """How far a node is: offsets in bytes, times in seconds.

    `at`: since it began. `forwarded`: what the successor has acknowledged (the
    last one, if there is none now), `sent`: what it was sent. `applier_s`,
    `successor_s`: how long nothing more could be granted to the predecessor
    (at the root: sent) because of the one or the other. Of several nodes
    that stand still, the last one in the chain names the cause. Once all has
    come, it is only a successor that hasn't got all of it.
    """

    __slots__ = ("applied", "applier_s", "at", "forwarded", "received", "sent", "successor_s")

    def __init__(self) -> None:
        self.at = 0.0
        self.received = self.applied = self.sent = self.forwarded = 0
        self.applier_s = self.successor_s = 0.0

    def differs(self, other: "Progress") -> bool:
        """Is it another one, its time aside?"""
        return any(getattr(self, name) != getattr(other, name) for name in self.__slots__ if name != "at")

    def fields(self) -> "Dict[str, Any]":
        """All of it, as `nile.agent.wire.dumps` takes it."""
        return {name: getattr(self, name) for name in self.__slots__}


class Result:
    """How it ended: `code` is "" (complete), `aborted`, `corrupt` (a hash was wrong) or `stopped`.

    `applied`: the applier got everything and was closed; `passed`: a successor
    has everything; `total`: the stream's length, None if it isn't known.
    """

    def __init__(self, code: str, reason: str, progress: Progress) -> None:
        self.code = code
        self.reason = reason
        self.progress = progress
        self.total: "Optional[int]" = None
        self.applied = False
        self.passed = False

    def fields(self) -> "Dict[str, Any]":
        """All of it, as `nile.agent.wire.dumps` takes it."""
        fields = dict(vars(self))
        fields["progress"] = self.progress.fields()
        return fields


class Clock:
    """How long a node stood still, by whom it was because of: `seconds`; and because of whom now: `who`."""

    def __init__(self, now: float) -> None:
        self._since = now
        self.who = ""
        self.seconds = {APPLIER: 0.0, SUCCESSOR: 0.0}

    def blame(self, now: float, who: str) -> None:
        """From now on it stands still because of `who`; "": it doesn't."""
        if self.who:
            self.seconds[self.who] += now - self._since
        self._since, self.who = now, who


class Reporter:
    """Looks at a node time and again, and says how far it is, and what holds it up."""

    def __init__(
        self,
        loop: "Loop",
        look: "Callable[[], Progress]",
        keeps: "Callable[[], Tuple[Dict[str, int], bool]]",
        told: "Callable[[str, str, str, int], None]",
        progress: "Optional[Callable[[Progress], None]]",
        progress_s: float,
        held_s: float,
    ) -> None:
        """`keeps` and free: see `holding.Holdup.look`; `told(kind, code, reason, offset)`: an event.

        `progress(progress)` is called every `progress_s` seconds, if there is something new.
        """
        self._loop = loop
        self._look = look
        self._keeps = keeps
        self._told = told
        self._tell = progress
        self._progress_s = progress_s
        self._holdup = Holdup(held_s)
        self._last = Progress()
        self._timers: "Dict[str, int]" = {}
        self._later("judge", self._holdup.every_s, self._judge)
        if progress is not None:
            self._later("report", progress_s, self._report)

    def stop(self) -> None:
        """Look no more."""
        for timer in self._timers.values():
            self._loop.forget(timer)
        self._timers = {}

    def _later(self, name: str, after_s: float, act: "Callable[[], None]") -> None:
        self._timers[name] = self._loop.at(self._loop.now() + after_s, act)

    def _report(self) -> None:
        self._later("report", self._progress_s, self._report)
        now = self._look()
        if self._tell is not None and now.differs(self._last):
            self._last = now
            self._tell(now)

    def _judge(self) -> None:
        self._later("judge", self._holdup.every_s, self._judge)
        self.look()

    def look(self) -> None:
        """Look now, too: somebody new is there, and what it takes from now on shows how fast it can be."""
        held = self._holdup.look(self._loop.now(), self._look(), *self._keeps())
        if held is not None:
            who, why, offset = held
            self._told("held", who, why, offset)
