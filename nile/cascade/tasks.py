"""What each host runs, where that isn't the same for all, and how it gets there.

A parent gets with its plan what hosts below it run, if all of that together is
small. Else each host's own travels with the permit for its login, to its parent
alone, and only so many logins are under way that this fills no link and no memory.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

from nile.options import ExecOptions, Script

EXEC = 'exec "$0" "$@"'
"""The line by which a shell becomes a script's interpreter."""
MOST_WITH_PLAN = 4 << 20
"""Bytes of all hosts' own that go with the plan."""
MOST_UNDER_WAY = 16 << 20
"""Bytes of them that are on their way to hosts at one time; half of what may wait for one link."""
NOTHING = {"line": "", "script": None}


class Tasks:
    """The tasks of one run."""

    def __init__(self, options: ExecOptions) -> None:
        self._options = options
        self._body = cache(script_body)
        sizes = [_size(self._own(host)) for host in options.per_host]
        self.apart = sum(sizes) > MOST_WITH_PLAN
        """They travel with permits."""
        self._logins = max(1, MOST_UNDER_WAY // max(sizes)) if self.apart else None

    def logins(self, limit: int | None) -> int | None:
        """How many logins may be under way at one time, which otherwise `limit` says; None: any number."""
        known = [each for each in (limit, self._logins) if each is not None]
        return min(known, default=None)

    def with_plan(self, host: str, *, permitted: bool) -> dict[str, Any]:
        """What of it stands in a host's part of the plan."""
        return dict(NOTHING) if self.apart and not permitted else self._own(host)

    def with_permit(self, host: str) -> dict[str, Any]:
        """What of it comes with the permit for a login."""
        return {"own": self._own(host)} if self.apart else {}

    def line(self) -> str:
        """What all login shells read; of a script, which none reads, only what comes before it."""
        what = self._options
        if what.per_host:
            return ""
        return what.command if what.outfit.script is None else self._before_script()

    def _own(self, host: str) -> dict[str, Any]:
        script = self._options.scripts.get(host)
        if script is None:
            return {"line": self._options.per_host.get(host, ""), "script": None}
        return {"line": self._before_script(), "script": self._body(script)}

    def _before_script(self) -> str:
        return EXEC if self._options.disruptive else ""


def script_body(script: Script) -> dict[str, Any]:
    """What nile.agent.script is told."""
    return {"name": script.name, "data": zlib.compress(script.text, 9), "args": list(script.args)}


def _size(own: dict[str, Any]) -> int:
    script = own["script"]
    extra = len(script["data"]) + sum(map(len, script["args"])) if script else 0
    return len(own["line"].encode("utf-8", "surrogateescape")) + extra
