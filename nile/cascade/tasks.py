"""What each host runs, where that isn't the same for all, and how it gets there.

A parent gets with its plan what hosts below it run, if all of that together is
small. Else each host's own travels with the permit for its login, to its parent
alone, and only so many logins are under way that this fills no link and no memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from nile.cascade.hosts import Host
from nile.cascade.slots import Gate
from nile.options import ExecOptions, Script

EXEC = 'exec "$0" "$@"'
"""The line by which a shell becomes a script's interpreter."""
MOST_WITH_PLAN = 4 << 20
"""Bytes of all hosts' own that go with the plan."""
MOST_UNDER_WAY = 512 << 10
"""Bytes of them that are on their way to hosts at one time, but for one host whose own is longer.

Signatures and heartbeats may have to wait behind all of them: some seconds, where a link is slow.
"""
ANY_NUMBER = 1 << 32
NOTHING = {"line": "", "script": None}


class Tasks:
    """The tasks of one run."""

    def __init__(self, options: ExecOptions) -> None:
        self._options = options
        self._body = cache(script_body)
        sizes = {host: _size(self._own(host)) for host in options.per_host}
        self.apart = sum(sizes.values()) > MOST_WITH_PLAN
        """They travel with permits."""
        self._sizes = sizes if self.apart else {}

    def logins(self, limit: int | None) -> int | None:
        """How many logins may be under way at one time, as `limit` says; None: they need no permit."""
        return ANY_NUMBER if self.apart and limit is None else limit

    def gate(self, gate: Gate) -> Gate:
        """Before the slots for logins, behind another gate: who is let in as long as this fills no link."""
        return _Load(gate, self._sizes) if self.apart else gate

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


class _Load(Gate):
    """Lets hosts have slots while what is under way to them stays small; one always may."""

    def __init__(self, gate: Gate, sizes: Mapping[str, int]) -> None:
        self._gate = gate
        self._sizes = sizes
        self._hosts = 0
        self._bytes = 0

    def may_start(self, host: Host) -> bool:
        """See `Gate`."""
        room = not self._hosts or self._bytes + self._size(host) <= MOST_UNDER_WAY
        return room and self._gate.may_start(host)

    def took(self, host: Host) -> None:
        """See `Gate`."""
        self._hosts += 1
        self._bytes += self._size(host)
        self._gate.took(host)

    def gave_back(self, host: Host) -> None:
        """See `Gate`."""
        self._hosts -= 1
        self._bytes -= self._size(host)
        self._gate.gave_back(host)

    def _size(self, host: Host) -> int:
        return self._sizes.get(host.name, 0)


def script_body(script: Script) -> dict[str, Any]:
    """What nile.agent.script is told."""
    return {"name": script.name, "data": zlib.compress(script.text, 9), "args": list(script.args)}


def _size(own: dict[str, Any]) -> int:
    script = own["script"]
    extra = len(script["data"]) + sum(map(len, script["args"])) if script else 0
    return len(own["line"].encode("utf-8", "surrogateescape")) + extra
