"""What is said over a control socket: JSON objects, one a line, one question a connection. Pure.

{"do": "status"}                    the answer is `Standing.status`
{"do": "stop", "grace_s": 5.0}      ends the run, as Ctrl-C does; again, with less, to hurry
                                    -> {"ok": true}
{"do": "pace", "parallel": 5, "fanout": 3, "paused": true}
                                    how fast it goes on; what is left out stays as it is
                                    -> {"ok": true}, or {"error": "..."} where that can't be
{"do": "conclude"}                  a run that lasts comes to its end in order: the rest is cancelled
                                    -> {"ok": true}
{"do": "limit", "seed_kib_s": 0, "host_kib_s": 2000}
                                    what peers of a swarm send (`seed_kib_s`, `host_kib_s`) and what a rack
                                    takes (`rack_kib_s`) at most, 0: as much as can; what isn't named stays
                                    -> {"ok": true}; the status says who keeps to it
anything else                       -> {"error": "..."}
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from nile.options import MOST_RATE, Pacing, RateLimits

MOST_GRACE_S = 1e6
MOST_AT_A_TIME = 1_000_000
MOST_QUESTION = 4096
"""Bytes of a question. An answer has a line for each host, and no bound."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where the run stands is asked for."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is to end: SIGTERM to all commands, so many seconds of grace, SIGKILL."""

    grace_s: float


@dataclass(frozen=True, slots=True)
class Conclude:
    """A run that lasts is to come to its end in order."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Peers of a swarm are to keep to these rates."""

    limits: RateLimits


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it is to go on."""

    pacing: Pacing


Question = Status | Stop | Conclude | Limit | Pace


RATES = frozenset(field.name for field in fields(RateLimits))


def line(words: dict[str, Any]) -> bytes:
    """As it is said."""
    return json.dumps(words, separators=(",", ":")).encode() + b"\n"


def question(said: bytes) -> Question:
    """What that line asks. Raises ValueError where it is no question."""
    try:
        words: Any = json.loads(said)
    except (ValueError, RecursionError):
        raise ValueError("that is no JSON") from None
    match words:
        case {"do": "status"}:
            return Status()
        case {"do": "conclude"}:
            return Conclude()
        case {"do": "limit", **rates} if (
            rates and rates.keys() <= RATES and all(map(_is_rate, rates.values()))
        ):
            return Limit(_limits(rates))
        case {"do": "pace"}:
            return Pace(_pacing(words))
        case {"do": "stop", "grace_s": int() | float() as grace_s} if not isinstance(grace_s, bool):
            if 0 <= grace_s <= MOST_GRACE_S:
                return Stop(float(grace_s))
    raise ValueError("nobody here knows how to do that")


def _limits(rates: dict[Any, Any]) -> RateLimits:
    return RateLimits(**rates)


def _is_rate(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_RATE


def _pacing(words: dict[str, Any]) -> Pacing:
    """What they say, which is something. Raises ValueError."""
    parallel, fanout, paused = (words.get(name) for name in ("parallel", "fanout", "paused"))
    numbers = [number for number in (parallel, fanout) if number is not None]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST_AT_A_TIME:
            raise ValueError(f"a number from 1 to {MOST_AT_A_TIME} is wanted")
    if not isinstance(paused, bool | None) or (paused is None and not numbers):
        raise ValueError("nobody here knows how to do that")
    return Pacing(parallel, fanout, paused)
