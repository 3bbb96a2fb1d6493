"""Durations as people write them: a number and its unit."""

from __future__ import annotations

import re

from nile.topology.refusal import Refusal

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
WEEK_S = 7 * 24 * 3600.0
"""What a host waits for its root or its ssh at most: timers of the system end at 24 days."""
YEAR_S = 365 * 24 * 3600.0


def seconds(text: str, most_s: float = YEAR_S) -> float:
    """A duration with its unit (`10s`, `500ms`, `2m`, `1.5h`) in seconds, above 0, up to `most_s`.

    Raises `Refusal`.
    """
    if (found := DURATION.fullmatch(text)) and float(found[1]) > 0:
        value = float(found[1]) * UNITS[found[2]]
        if value <= most_s:
            return value
        raise Refusal(f"the duration {text} is too long", f"write {most_s / UNITS['h']:g}h at most")
    if re.fullmatch(r"\d+(\.\d+)?", text) and float(text) > 0:
        raise Refusal(
            f"the duration {text} has no unit", f"write {text}s for seconds (units: {', '.join(UNITS)})"
        )
    raise Refusal(
        f"'{text}' is no duration above 0", f"write a number and a unit ({', '.join(UNITS)}), as in 10s"
    )
