"""From what an agent, a relay or the silence says to a verdict; nothing in it is believed unseen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nile.agent.stopping import KILLED, STUCK_S, SURVIVED
from nile.cascade.elevation import judged_of
from nile.cascade.hosts import Host
from nile.cascade.lastwords import classify, last_line
from nile.events import Code, HostResult, Leftover, Verdict
from nile.options import ExecOptions, OnOrphan
from nile.options import Leftover as LeftoverPolicy

MOST_TEXT = 500
MOST_LEFTOVER = 100
UNSEEN = "its end was not seen"
BY_A_SHELL = "run by a shell alone: it has no Python"


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
    peer: str = ""

    def result(self, host: Host, path: tuple[str, ...], t_end_s: float, command: str = "") -> HostResult:
        """The event that says so; `path` are names from the root to the host, `command` is its own."""
        by_a_shell = BY_A_SHELL if host.shell and host.t_ready_s is not None else ""
        return HostResult(
            host=host.name,
            verdict=self.verdict,
            rc=self.rc,
            signal=self.signal,
            code=self.code,
            reason="; ".join(filter(None, (self.reason, by_a_shell))),
            remedy=self.remedy,
            leftover=self.leftover,
            peer=self.peer,
            command=command,
            path=path,
            stage=len(path) - 1,
            t_connect_s=host.t_connect_s,
            t_ready_s=host.t_ready_s,
            t_end_s=t_end_s,
        )


def judge_outcome(outcome: dict[str, Any], policy: LeftoverPolicy) -> Judgement:
    """What an agent's RESULT says of its command; fields of the wrong type count as absent."""
    rc, signum = whole(outcome.get("rc")), whole(outcome.get("signal"))
    leftover = _leftover(outcome.get("left"))
    cause, error = outcome.get("cause"), outcome.get("error")
    common: dict[str, Any] = {"rc": rc, "signal": signum, "leftover": leftover}
    if error is not None:
        if of_sudo := judged_of(text(error)):
            code, reason, remedy = of_sudo
            return Judgement(Verdict.FAILED, code, reason, remedy, **common)
        named = text(error).startswith("--")  # the option that the host refuses
        remedy = "" if named else "the login shell of this user can't be run there"
        return Judgement(Verdict.FAILED, Code.SPAWN, text(error), remedy, **common)
    if cause == "timeout":
        reason = f"it ran longer than allowed and was killed{_seen(leftover)}"
        return Judgement(Verdict.TIMEOUT, Code.COMMAND_TIMEOUT, reason, **common)
    if cause == "cancelled":
        reason = f"cancelled{', and killed' * bool(leftover)}{_seen(leftover)}"
        return Judgement(Verdict.CANCELLED, Code.CANCELLED, reason, **common)
    if cause == "scratch":
        reason = f"it put more into its scratch than that may take, and was killed{_seen(leftover)}"
        remedy = "allow more with --scratch SIZE (of nile.run: scratch_bytes)"
        return Judgement(Verdict.FAILED, Code.SCRATCH, reason, remedy, **common)
    if cause is not None:
        return Judgement(Verdict.LOST, Code.LINK, "the agent ended it: it had lost its parent", **common)
    if signum is not None:
        return Judgement(Verdict.FAILED, Code.SIGNAL, f"killed by signal {signum}", **common)
    if rc != 0:
        return Judgement(Verdict.FAILED, Code.EXIT, f"exit status {rc}", **common)
    if leftover and policy is LeftoverPolicy.FAIL:
        return Judgement(Verdict.FAILED, Code.LEFTOVER, "it left processes behind", **common)
    if policy is LeftoverPolicy.DETACH:
        common["leftover"] = ()  # it was to leave them
    return Judgement(Verdict.OK, **common)


def _seen(leftover: tuple[Leftover, ...]) -> str:
    """Whether the death of what was killed was seen. Names and numbers would keep hosts from folding."""
    if any(left.survived for left in leftover):
        return ", but not all of it died"
    return " (seen dead)" if leftover else ""


def judge_lost(code: Code, reason: str, unseen: str = "") -> Judgement:
    """Nothing more will be heard of a host whose command may have begun.

    `unseen` says what becomes of what may run there, whose end nobody saw.
    """
    remedy = "Look at the host before running the command there again"
    return Judgement(Verdict.LOST, code, f"{reason}; {unseen}" if unseen else reason, remedy)


def unseen_end(options: ExecOptions, lease_s: float) -> str:
    """What becomes of a command whose host is lost: nobody hears of its end."""
    if options.on_orphan is OnOrphan.FINISH:
        return f"{UNSEEN}: what runs there goes on"
    most_s = math.ceil(lease_s + options.grace_s + STUCK_S)
    return f"{UNSEEN}: its agent ends what runs there within {most_s} s of the root's last word"


def judge_failed(code: Code, reason: str, remedy: str) -> Judgement:
    """A login that came to nothing."""
    verdict = Verdict.CANCELLED if code is Code.CANCELLED else Verdict.UNREACHABLE
    return Judgement(verdict, code, reason, remedy)


def code_of(word: object, unknown: Code = Code.AGENT) -> Code:
    """A code that a relay or a worker reported; words that are none become `unknown`."""
    try:
        return Code(str(word))
    except ValueError:
        return unknown


def told(word: object, said: object) -> tuple[Code, str]:
    """Why a login failed or a link was lost, as a relay reports it: code and reason.

    Its `word` is a code, or the exit status of an ssh client, and then `said` is what that client wrote.
    """
    words = str(said)
    if isinstance(word, str) and word.isascii() and word.isdecimal():
        failure = classify(words, int(word[:9]))
        return code_of(failure.code), text(failure.reason)
    code = code_of(word)
    if code is Code.LINK:
        words = last_line(words) or "the connection ended"
    return code, text(words)


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


def whole(value: object) -> int | None:
    """A whole number that a node sent; None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _leftover(value: object) -> tuple[Leftover, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        Leftover(_number(item[0]), text(item[1]), item[2] == KILLED, item[2] == SURVIVED)
        for item in value[:MOST_LEFTOVER]
        if isinstance(item, list) and len(item) == 3
    )
