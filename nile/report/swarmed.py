"""Where a swarm stands, for people: some lines on all of it, and a table of hosts, folded where alike.

It is made of a run's status (docs/reference/json.md), which came from another process.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nile.events import STALLS
from nile.report.folding import folded
from nile.report.text import visible
from nile.report.wording import duration, plural
from nile.topology.amounts import size

HEADINGS = ("HOSTS", "DONE", "DOWN", "UP", "PEERS", "SEED", "RACK", "OTHERS", "")
NUMBERS = frozenset(HEADINGS[1:-1])
FEW = 24
"""Of so many hosts each has a line of its own as long as it gets something."""
STEP = 10
"""Of more, those are alike that are in the same so many percent."""
STATES = {
    "starting": "being started",
    "getting": "",
    "placing": "has all, puts it in place",
    "complete": "has all, serves",
    "left-out": "left out",
    "ended": "has all",
}
ORDER = ("getting", "starting", "placing", "complete", "left-out", "ended")
COUNTED = {
    "getting": "getting it",
    "starting": "being started",
    "placing": "putting it in place",
    "complete": "have all",
    "left-out": "left out",
    "ended": "have all and have ended",
}

LIMITED = {
    "seed": "the seed sends",
    "host": "each host",
    "rack": "each rack takes over its uplink",
}

Host = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """Cells under `HEADINGS`, of hosts that are alike. They stand still: they are `stuck`."""

    cells: tuple[str, ...]
    state: str
    stuck: bool


def head(status: Mapping[str, Any]) -> list[str]:
    """What is true of all of it."""
    since = duration(status["elapsed_s"])
    words = {"running": "under way"}.get(status["state"], status["state"])
    lines = [f"run {status['run']}, {words} for {since}: {visible(status['command'])}"]
    swarm = status["swarm"]
    if swarm is None:
        return [
            *lines,
            f"{plural(status['hosts'], 'host')}: the swarm hasn't begun, or there was nothing to give",
        ]
    states = Counter(host["state"] for host in swarm["hosts"])
    parts = [f"{states[state]} {COUNTED[state]}" for state in ORDER if states[state]]
    others = status["hosts"] - len(swarm["hosts"])
    if others > 0:
        parts.append(f"{others} had nothing to get, or couldn't")
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(status["verdicts"].items()))
    hosts = f"{plural(status['hosts'], 'host')}: {', '.join(parts)}"
    lines += [hosts + (f"; verdicts: {verdicts}" if verdicts else ""), _seed(swarm)]
    if copies := status["copies"]:
        came = f"{100 * copies['part']:.0f} % of {size(copies['bytes_whole'])}"
        lines.append(f"hosts have {came}, {size(copies['bytes_per_s'])}/s")
    if said := limits(swarm):
        lines.append(said)
    if swarm["serving_on"]:
        lines.append(
            f"it serves on until `nile swarm stop {status['run'][:8]}`, or for the time it was given"
        )
    return lines


def _seed(swarm: Mapping[str, Any]) -> str:
    sent, total = swarm["seed_bytes_sent"], swarm["bytes_sent"]
    share = f", {100 * sent / total:.1f} % of all bytes" if total else ""
    if not swarm["seeding"]:
        return f"seed: ended; {size(sent)} sent{share}"
    to = plural(swarm["seed_peers"], "host")
    return f"seed: {size(sent)} sent{share}, {size(swarm['seed_bytes_per_s'])}/s to {to}"


def limits(swarm: Mapping[str, Any]) -> str:
    """What peers are to keep to, and how many do; "" where nobody has a limit, and all know that."""
    told = swarm["limits"]
    rates = {what: told[f"{what}_bytes_per_s"] for what in ("seed", "host", "rack")}
    if not any(rates.values()) and told["keeping"] == told["peers"]:
        return ""
    said = [f"{LIMITED[what]} {size(rate)}/s" for what, rate in rates.items() if rate]
    kept = (
        "all keep to it"
        if told["keeping"] == told["peers"]
        else f"{told['keeping']} of {told['peers']} keep to it"
    )
    return f"at most: {', '.join(said) or 'no limit any more'}; {kept}"


def rows(swarm: Mapping[str, Any]) -> list[Row]:
    """Those that get something first, of these the last one first."""
    alike: defaultdict[tuple[Any, ...], list[Host]] = defaultdict(list)
    hosts = swarm["hosts"]
    for host in hosts:
        alike[_kind(host, many=len(hosts) > FEW)].append(host)
    return [_row(each) for _, each in sorted(alike.items(), key=lambda item: _rank(item[1]))]


def _kind(host: Host, *, many: bool) -> tuple[Any, ...]:
    """Hosts of one kind have one line."""
    state = host["state"]
    if state != "getting":
        return (state, host["stall"], host["reason"], _banned(host))
    done = int(_part(host) // (STEP if many else 1))
    alone = not (many or host["stall"])
    return (state, host["stall"], done, host["host"] if alone else "", _banned(host))


def _banned(host: Host) -> int:
    """By how many others, for what it sent."""
    return int(host.get("banned_by", 0))


def _rank(hosts: Sequence[Host]) -> tuple[int, float, str]:
    return ORDER.index(hosts[0]["state"]), min(map(_part, hosts)), min(host["host"] for host in hosts)


def _part(host: Host) -> float:
    """Hundredths of what it is to have; rounded down, since who has all is complete."""
    if host["state"] in ("placing", "complete", "ended"):
        return 100.0
    return 100 * host["bytes"] / host["bytes_whole"] if host["bytes_whole"] else 0.0


def _row(hosts: Sequence[Host]) -> Row:
    names = [visible(host["host"]) for host in hosts]
    first = hosts[0]
    cells = (
        folded(names) + (f" ({len(names)})" if len(names) > 1 else ""),
        _range([int(_part(host)) for host in hosts], " %"),
        _mean(hosts, "down_bytes_per_s"),
        _mean(hosts, "up_bytes_per_s"),
        _range([host["peers"] for host in hosts]),
        *_origins(hosts),
        _words(hosts),
    )
    return Row(cells, first["state"], first["stall"] is not None)


def _range(numbers: Sequence[int], unit: str = "") -> str:
    least, most = min(numbers), max(numbers)
    return f"{least}{unit}" if least == most else f"{least}-{most}{unit}"


def _mean(hosts: Sequence[Host], name: str) -> str:
    """Of each, where they are several."""
    total = sum(host[name] for host in hosts)
    return f"{size(total / len(hosts))}/s" if total else "-"


def _origins(hosts: Sequence[Host]) -> tuple[str, ...]:
    """Of what came: which part from whom."""
    names = ("bytes_from_seed", "bytes_from_rack", "bytes_from_others")
    counts = [sum(host[name] for host in hosts) for name in names]
    whole = sum(counts)
    return tuple(f"{100 * count / whole:.0f} %" if whole else "-" for count in counts)


def _words(hosts: Sequence[Host]) -> str:
    words, banned = _fares(hosts), _banned(hosts[0])
    if not banned:
        return words
    return f"{words}{'; ' if words else ''}sent damaged pieces: banned by {plural(banned, 'host')}"


def _fares(hosts: Sequence[Host]) -> str:
    first = hosts[0]
    if first["stall"]:
        longest = max(host["still_s"] for host in hosts)
        return f"nothing for {duration(longest)}: {STALLS.get(first['stall'], first['stall'])}"
    reason = f": {visible(first['reason'])}" if first["reason"] else ""
    return STATES[first["state"]] + reason
