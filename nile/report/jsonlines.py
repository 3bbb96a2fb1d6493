"""JSON Lines: the contract of docs/reference/json.md, one object a line, for programs.

Lines are pure ASCII (everything else is escaped), so they are safe on a
terminal and in any character set, and nothing is lost: text that is UTF-8 is a
string, all else is base64 and says so. A chunk of output may end within a
UTF-8 character; its first bytes wait for the rest, so that whether output
is text doesn't hang on how it was cut.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from nile.events import (
    CopyProgress,
    Event,
    HostCopy,
    HostOutput,
    HostResult,
    Notice,
    RunEnded,
    RunStarted,
    SwarmHost,
    SwarmLimits,
    SwarmProgress,
    Verdict,
)
from nile.report.screen import Screen
from nile.report.text import complete_length

SCHEMA = 1
MAX_OUTPUT = 1 << 20
"""Bytes of one stream that a `result` carries at most."""
STREAMS = ("stdout", "stderr")

ReadOutput = Callable[[str, str, int], tuple[bytes, bool]]
"""(host, stream, limit) -> (its first `limit` bytes, whether there are more)."""


class JsonLines:
    """Writes the events of a run as JSON Lines on standard output.

    `read_output` gives back what was recorded: a result must not be handed in
    before the output that precedes it can be read. So the memory needed
    doesn't grow with what hosts print.
    """

    def __init__(self, screen: Screen, read_output: ReadOutput) -> None:
        self._screen = screen
        self._read_output = read_output
        self._unfinished: dict[tuple[str, str], bytes] = {}

    def handle(self, event: Event) -> None:
        """Write an event's line; those that the contract doesn't have are left out."""
        match event:
            case RunStarted():
                self._write(run_object(event))
            case HostOutput():
                self._output(event)
            case HostResult():
                self._result(event)
            case Notice():
                self._write({"event": "notice", "host": event.host, "text": event.text})
            case CopyProgress():
                self._write(progress_object(event))
            case SwarmProgress():
                self._write(swarm_object(event))
            case RunEnded():
                self._write_unfinished()
                self._write(summary_object(event))
            case _:
                return
        self._screen.flush()

    def finish(self) -> None:
        """Write what waits for the end of a character that never came."""
        self._write_unfinished()
        self._screen.flush()

    def _output(self, event: HostOutput) -> None:
        key = (event.host, event.stream)
        data = self._unfinished.pop(key, b"") + event.data
        if _is_text(data):
            end = len(data)
        else:
            end = complete_length(data)
            end = end if _is_text(data[:end]) else len(data)
        if data[end:]:
            self._unfinished[key] = data[end:]
        if data[:end]:
            self._write_output(*key, data[:end])

    def _write_output(self, host: str, stream: str, data: bytes) -> None:
        self._write({"event": "output", "host": host, "stream": stream, **encoded(data, "data", "encoding")})

    def _write_unfinished(self) -> None:
        for key in list(self._unfinished):
            self._write_output(*key, self._unfinished.pop(key))

    def _result(self, event: HostResult) -> None:
        for stream in STREAMS:
            if data := self._unfinished.pop((event.host, stream), b""):
                self._write_output(event.host, stream, data)
        value = result_object(event)
        for stream in STREAMS:
            data, truncated = self._read_output(event.host, stream, MAX_OUTPUT)
            value |= output_fields(stream, data, truncated=truncated)
        self._write(value)

    def _write(self, value: dict[str, Any]) -> None:
        self._screen.out.write(line(value))


def line(value: object) -> str:
    """A value as one line of printable ASCII."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n"


def encoded(data: bytes, name: str, encoding: str) -> dict[str, Any]:
    """Bytes as a string under `name`; where they aren't UTF-8, as base64, which `encoding` then says."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {name: base64.b64encode(data).decode("ascii"), encoding: "base64"}


def output_fields(stream: str, data: bytes, *, truncated: bool) -> dict[str, Any]:
    """The fields of a result that hold one stream; a cut falls between two characters."""
    if truncated:
        data = data[: complete_length(data)]
    value = encoded(data, stream, f"{stream}_encoding")
    return {**value, f"{stream}_truncated": True} if truncated else value


def run_object(event: RunStarted) -> dict[str, Any]:
    """The first line."""
    return {
        "event": "run",
        "schema": SCHEMA,
        "run": event.run,
        "command": event.command,
        "settings": dict(event.settings),
        "routes": event.routes,
        "hosts": list(event.hosts),
    }


def result_object(event: HostResult) -> dict[str, Any]:
    """A host's verdict, without its output."""
    return {
        "event": "result",
        "host": event.host,
        "verdict": str(event.verdict),
        "rc": event.rc,
        "signal": event.signal,
        "code": None if event.code is None else str(event.code),
        "reason": event.reason,
        "leftover": [
            {"pid": left.pid, "name": left.name, "killed": left.killed, "survived": left.survived}
            for left in event.leftover
        ],
        "peer": event.peer or None,
        "command": event.command or None,
        "path": list(event.path),
        "stage": event.stage,
        "t_connect_s": event.t_connect_s,
        "t_ready_s": event.t_ready_s,
        "t_end_s": event.t_end_s,
    }


def progress_object(event: CopyProgress) -> dict[str, Any]:
    """How far the copies of a run are."""
    return {
        "event": "progress",
        "hosts": event.hosts,
        "complete": event.complete,
        "bytes": event.got,
        "bytes_whole": event.whole,
        "part": round(event.part, 4),
        "bytes_per_s": round(event.rate),
        "eta_s": _tenths(event.eta_s),
        "behind": [_copy_object(copy) for copy in event.behind],
        "each": [{**_copy_object(copy), "complete": copy.over} for copy in event.each],
    }


def _copy_object(copy: HostCopy) -> dict[str, Any]:
    return {
        "host": copy.host,
        "bytes": copy.got,
        "bytes_whole": copy.whole,
        "bytes_per_s": round(copy.rate),
        "eta_s": _tenths(copy.eta_s),
    }


def swarm_object(event: SwarmProgress) -> dict[str, Any]:
    """Where the swarm of a run stands."""
    return {
        "event": "swarm",
        "serving_on": event.serving_on,
        "seeding": event.seeding,
        "seed_bytes_sent": event.seed_sent,
        "seed_bytes_per_s": event.seed_up,
        "seed_peers": event.seed_peers,
        "bytes_sent": event.sent,
        "limits": _limits(event.limits),
        "hosts": [_swarm_host(host) for host in event.hosts],
    }


def _limits(limits: SwarmLimits) -> dict[str, Any]:
    return {
        "seed_bytes_per_s": limits.seed or None,
        "host_bytes_per_s": limits.host or None,
        "rack_bytes_per_s": limits.rack or None,
        "racks": limits.racks,
        "peers": limits.peers,
        "keeping": limits.keeping,
    }


def _swarm_host(host: SwarmHost) -> dict[str, Any]:
    return {
        "host": host.host,
        "state": str(host.state),
        "bytes": host.got,
        "bytes_whole": host.whole,
        "down_bytes_per_s": host.down,
        "up_bytes_per_s": host.up,
        "peers": host.peers,
        "bytes_from_seed": host.by_seed,
        "bytes_from_rack": host.by_rack,
        "bytes_from_others": host.by_others,
        "stall": None if host.stall is None else str(host.stall),
        "still_s": round(host.still_s, 1),
        "reason": host.reason,
        "banned_by": host.banned_by,
    }


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def summary_object(event: RunEnded) -> dict[str, Any]:
    """The last line."""
    counts = {str(verdict): event.counts.get(verdict, 0) for verdict in Verdict}
    return {"event": "summary", "hosts": sum(counts.values()), **counts, "wall_s": event.wall_s}


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
