"""One host's state in a run, and how what became of it turns into a verdict.

planned --permit--> login --hello--> up --started--> running --result--> over
   |                  |               |                 |
   +-- parent gone ---+--- failed ----+---- link lost --+--------------> over
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nile.events import Code, HostResult, Leftover, Verdict
from nile.options import Leftover as LeftoverPolicy
from nile.topology.model import PlanNode

MOST_TEXT = 500
MOST_LEFTOVER = 100


class State(StrEnum):
    """Where a host stands."""

    PLANNED = "planned"
    LOGIN = "login"
    UP = "up"
    RUNNING = "running"
    OVER = "over"


@dataclass(slots=True)
class Host:
    """A host of the plan. Times are seconds since the run began."""

    node: PlanNode
    rank: int
    epoch: int = 1
    carried: bool = False
    """The root logs in itself, over bytes that its parent carries: its link is the root's."""
    state: State = State.PLANNED
    permitted: bool = False
    may_have_started: bool = False
    """A start has left for it, as far as anyone can know."""
    t_connect_s: float | None = None
    t_ready_s: float | None = None
    received: dict[str, int] = field(default_factory=lambda: {"stdout": 0, "stderr": 0})
    acked: tuple[int, int] = (0, 0)
    outcome: dict[str, Any] | None = None
    """The agent's RESULT, while its output is still on the way."""
    verdict: Verdict | None = None
    committed: bool = False
    """Its verdict is in the store (always so for one that only relays)."""
    ended: bool = False
    """Its agent was told to end, or is gone."""
    signatures: int = 0
    """Unbound signatures that it got as a relay, or that are being decided on."""
    complained_of: bool = False
    """Its parent reported that it lied."""
    refused: str = ""
    """Why the root didn't sign for the login to this host."""

    @property
    def id(self) -> int:
        """Its id in the plan."""
        return self.node.id

    @property
    def name(self) -> str:
        """Its name in the plan."""
        return self.node.host

    @property
    def alive(self) -> bool:
        """Does an agent run there, as far as the root knows?"""
        return self.t_ready_s is not None and not self.ended

    def output_complete(self) -> bool:
        """Has everything arrived that the result says was printed?"""
        return self.outcome is not None and not self.output_missing()

    def output_missing(self) -> int:
        """How many of the bytes that the result says were printed haven't arrived."""
        said = self.outcome or {}
        return sum(max(0, _number(said.get(name)) - have) for name, have in self.received.items())


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and what goes with it, before path and times are added."""

    verdict: Verdict
    code: Code | None = None
    reason: str = ""
    remedy: str = ""
    rc: int | None = None
    signal: int | None = None
    leftover: tuple[Leftover, ...] = ()

    def result(self, host: Host, path: tuple[str, ...], t_end_s: float) -> HostResult:
        """The event that says so; `path` are names from the root to the host."""
        return HostResult(
            host=host.name,
            verdict=self.verdict,
            rc=self.rc,
            signal=self.signal,
            code=self.code,
            reason=self.reason,
            remedy=self.remedy,
            leftover=self.leftover,
            path=path,
            stage=host.node.stage,
            t_connect_s=host.t_connect_s,
            t_ready_s=host.t_ready_s,
            t_end_s=t_end_s,
        )


def judge_outcome(outcome: dict[str, Any], policy: LeftoverPolicy) -> Judgement:
    """What an agent's RESULT says of its command; fields of the wrong type count as absent."""
    rc, signum = _maybe(outcome.get("rc")), _maybe(outcome.get("signal"))
    leftover = _leftover(outcome.get("left"))
    cause, error = outcome.get("cause"), outcome.get("error")
    common: dict[str, Any] = {"rc": rc, "signal": signum, "leftover": leftover}
    if error is not None:
        remedy = "the login shell of this user can't be run there"
        return Judgement(Verdict.FAILED, Code.SPAWN, text(error), remedy, **common)
    if cause == "timeout":
        return Judgement(
            Verdict.TIMEOUT, Code.COMMAND_TIMEOUT, "it ran longer than allowed and was killed", **common
        )
    if cause == "cancelled":
        return Judgement(Verdict.CANCELLED, Code.CANCELLED, "cancelled", **common)
    if cause is not None:
        return Judgement(Verdict.LOST, Code.LINK, "the agent ended it: it had lost its parent", **common)
    if signum is not None:
        return Judgement(Verdict.FAILED, Code.SIGNAL, f"killed by signal {signum}", **common)
    if rc != 0:
        return Judgement(Verdict.FAILED, Code.EXIT, f"exit status {rc}", **common)
    if leftover and policy is LeftoverPolicy.FAIL:
        return Judgement(Verdict.FAILED, Code.LEFTOVER, "it left processes behind", **common)
    return Judgement(Verdict.OK, **common)


def judge_lost(host: Host, code: Code, reason: str) -> Judgement:
    """Nothing more will be heard of a host: did its command ever begin?"""
    if host.may_have_started:
        remedy = "look at the host before running the command there again"
        return Judgement(Verdict.LOST, code, reason, remedy)
    return Judgement(Verdict.UNREACHABLE, code, reason)


def judge_failed(code: Code, reason: str, remedy: str) -> Judgement:
    """A login that came to nothing."""
    verdict = Verdict.CANCELLED if code is Code.CANCELLED else Verdict.UNREACHABLE
    return Judgement(verdict, code, reason, remedy)


def code_of(word: object) -> Code:
    """A code that a relay reported; unknown words become `agent`."""
    try:
        return Code(str(word))
    except ValueError:
        return Code.AGENT


def text(value: object) -> str:
    """Text from a node, bounded."""
    return str(value)[:MOST_TEXT]


def integer(value: object) -> int:
    """A whole number that a node sent; raises TypeError."""
    if not isinstance(value, int):
        raise TypeError("a number that is none")
    return value


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _maybe(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _leftover(value: object) -> tuple[Leftover, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        Leftover(_number(item[0]), text(item[1]), bool(item[2]))
        for item in value[:MOST_LEFTOVER]
        if isinstance(item, list) and len(item) == 3
    )
