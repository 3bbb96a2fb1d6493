"""Where a run stands, as its events tell it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from nile.cascade import Outstanding
from nile.events import (
    NO_PACING,
    CopyProgress,
    Event,
    HostCopy,
    HostResult,
    HostStarted,
    HostUp,
    Notice,
    Paced,
    RunEnded,
    RunGoesOn,
    RunStarted,
    SwarmProgress,
    Verdict,
)
from nile.options import Pacing
from nile.report import wording
from nile.report.jsonlines import progress_object, swarm_object

MOST_NOTICES = 20
"""Notices that are kept: the last ones. The store has all of them."""


class Phase(StrEnum):
    """How far an asked host is."""

    OUT = "out"  # no agent is there yet
    UP = "up"  # an agent is there; its command hasn't started
    RUNNING = "running"
    DONE = "done"  # it has its verdict


class Standing:
    """The state of the run of that id. Times are seconds since it began."""

    def __init__(self, run: str, pacing: Pacing = NO_PACING) -> None:
        self._name = run
        self._pacing = pacing
        self._run: RunStarted | None = None
        self._early: list[Event] = []
        """What was told before the run's beginning: the record of a former root has it."""
        self._phases: dict[str, Phase] = {}
        self._since_s: dict[str, float] = {}
        self._parents: dict[str, str] = {}
        self._verdicts: defaultdict[int, Counter[str]] = defaultdict(Counter)
        """By stage."""
        self._broke: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        """Who isn't ok, by verdict and reason."""
        self._notices: deque[str] = deque(maxlen=MOST_NOTICES)
        self._copies: CopyProgress | None = None
        self._each: dict[str, HostCopy] = {}
        """Of each host what was told of it last."""
        self._swarm: SwarmProgress | None = None
        self._interrupted = self._ended = False

    def take(self, events: Iterable[Event]) -> None:
        """These happened, after all that were taken before."""
        for event in events:
            if self._run is None and not isinstance(event, RunStarted):
                self._early.append(event)
            else:
                self._one(event)

    def _one(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._run = event
                self._phases = dict.fromkeys(event.hosts, Phase.OUT)
                early, self._early = self._early, []
                self.take(early)
            case HostUp():
                self._parents[event.host] = event.parent
                if self._phases.get(event.host) is Phase.OUT:
                    self._enter(event.host, Phase.UP, event.t_ready_s)
            case HostStarted():
                self._enter(event.host, Phase.RUNNING, event.t_start_s)
            case HostResult():
                self._enter(event.host, Phase.DONE, event.t_end_s or 0.0)
                self._judged(event)
            case CopyProgress():
                self._copied(event)
            case SwarmProgress():
                self._swarm = event
            case Paced():
                self._pacing = event.pacing
                self._notices.append(event.text)
            case Notice():
                self._notices.append(f"{event.host}: {event.text}" if event.host else event.text)
            case RunGoesOn():
                self._interrupted = self._interrupted or event.interrupted
            case RunEnded():
                self._ended = True

    def _copied(self, event: CopyProgress) -> None:
        """It names those of whom there is something new."""
        if self._copies is not None and event.part < self._copies.part:
            self._each.clear()  # another repository's turn
        self._each.update({copy.host: copy for copy in event.each})
        self._copies = event

    def _enter(self, host: str, phase: Phase, since_s: float) -> None:
        if host in self._phases:  # a relay that nobody asked for runs nothing
            self._phases[host] = phase
            self._since_s[host] = since_s

    def _judged(self, result: HostResult) -> None:
        self._verdicts[result.stage][result.verdict] += 1
        if result.verdict is not Verdict.OK:
            alike = wording.ALIKE.get(result.code) if result.code else None
            self._broke[result.verdict, alike or wording.reason(result)].append(result.host)

    def status(self, now: float, outstanding: Iterable[Outstanding] = ()) -> dict[str, Any]:
        """As JSON has it (docs/reference/json.md); `now` is in seconds since the epoch.

        `outstanding` is what is known of hosts without a verdict beside what events tell.
        """
        known = {each.host: each for each in outstanding}
        hosts = [
            {
                "host": host,
                "phase": str(phase),
                "since_s": self._since_s.get(host, 0.0),
                "parent": self._parents.get(host),
                **_waits(known.get(host)),
            }
            for host, phase in self._phases.items()
            if phase is not Phase.DONE
        ]
        phases = Counter(map(str, self._phases.values()))
        return {
            "run": self._name,
            "command": self._run.command if self._run else "",
            "state": self._state(),
            "elapsed_s": round(max(0.0, now - self._run.at), 3) if self._run else 0.0,
            "pace": {
                "parallel": self._pacing.parallel,
                "fanout": self._pacing.fanout,
                "paused": bool(self._pacing.paused),
            },
            "hosts": len(self._phases),
            "phases": {str(phase): phases[phase] for phase in Phase},
            "verdicts": dict(sum(self._verdicts.values(), Counter())),
            "stages": self._stages(known),
            "broke": [
                {"verdict": verdict, "reason": reason, "hosts": names}
                for (verdict, reason), names in self._broke.items()
            ],
            "open": hosts,
            "copies": self._copies
            and progress_object(replace(self._copies, each=tuple(self._each.values()))),
            "swarm": swarm_object(self._swarm) if self._swarm else None,
            "notices": list(self._notices),
        }

    def _stages(self, known: Mapping[str, Outstanding]) -> list[dict[str, Any]]:
        """How many hosts of each stage are how far; without those of which nobody knows where they hang."""
        phases: defaultdict[int, Counter[str]] = defaultdict(Counter)
        for host, each in known.items():
            phase = self._phases.get(host, Phase.DONE)
            if phase is not Phase.DONE:
                phases[each.stage][phase] += 1
        return [
            {
                "stage": stage,
                **{str(phase): phases[stage][phase] for phase in Phase if phase is not Phase.DONE},
                "verdicts": dict(self._verdicts[stage]),
            }
            for stage in sorted({*phases, *self._verdicts})
        ]

    def _state(self) -> str:
        if self._run is None:
            return "beginning"
        return "ended" if self._ended else "ending" if self._interrupted else "running"


def _waits(known: Outstanding | None) -> dict[str, Any]:
    """What a host waits for, where that is known."""
    if known is None:
        return {}
    since_s = round(known.since_s, 3)
    return {
        "stage": known.stage,
        "below": known.parent,
        "waits": str(known.waits),
        "waits_since_s": since_s,
    }
