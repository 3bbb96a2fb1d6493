"""The end of a run in words, on standard error: counts, wall time, and every host that isn't ok.

Hosts with the same verdict, code, reason and remedy are folded into one entry;
where reasons tell of addresses, the code is enough. Quiet leaves out all but
those. What nodes wrote into reasons and notices is made visible here whether or
not standard error is a terminal: these lines are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from nile.events import Code, Decision, Event, HostResult, Leftover, Notice, RunEnded, Verdict
from nile.report import wording
from nile.report.folding import folded, heading
from nile.report.screen import Screen
from nile.report.text import visible

NAMES_SHOWN = 3
RUN_SHOWN = 8  # of a run's id: enough to find it again
LEFT, SURVIVED, KILLED = "left running", "still there after SIGKILL", "left behind, and killed"
AWAY = {Code.GONE_AWAY: "went away after the start", Code.REBOOTED: "booted anew, and back"}
"""Hosts that are ok, and of which that is to be said."""
# Such a command is killed with all that belongs to it: that is told where its verdict is.
_ALL_KILLED = (Verdict.TIMEOUT, Verdict.CANCELLED)
Reason = tuple[Verdict, str, str, str]


class Summary:
    """Collects the verdicts of a run and writes what they amount to."""

    def __init__(self, screen: Screen, *, quiet: bool = False) -> None:
        self._screen = screen
        self._quiet = quiet
        self._bad: dict[Reason, list[HostResult]] = {}
        self._away: dict[str, list[str]] = {}
        self._left: dict[tuple[str, tuple[str, ...]], dict[str, list[Leftover]]] = {}
        self._peers: dict[str, list[str]] = {}
        self._commands: dict[str, list[HostResult]] = {}
        self._ended: RunEnded | None = None

    def handle(self, event: Event) -> None:
        """Collect a verdict; write a notice at once."""
        if isinstance(event, HostResult):
            self._result(event)
        elif isinstance(event, RunEnded):
            self._ended = event
        elif isinstance(event, Notice) and not isinstance(event, Decision) and not self._quiet:
            self._notice(event)

    def finish(self) -> None:
        """Write the summary."""
        err = self._screen.err
        for (verdict, _, _, remedy), results in sorted(self._bad.items(), key=_order):
            hosts = [result.host for result in results]
            label = err.styled(wording.BY_VERDICT[verdict], "error")
            more = _way(results) + _killed(results)
            err.write(f"nile: {label}: {visible(heading(hosts))}: {_reason(results)}{more}\n")
            if remedy:
                err.write(f"  {remedy}\n")
        if not self._quiet:
            for words, hosts in sorted(self._away.items()):
                err.write(f"nile: {words}: {visible(heading(hosts))}\n")
            if self._peers:
                err.write(f"nile: files came {_by_peer(self._peers)}\n")
            for command, results in self._commands.items():
                err.write(f"nile: {_of_command(command, results)}\n")
            for (label, names), by_host in self._left.items():
                err.write(f"nile: {label}: {_leftover(names, by_host)}\n")
            if self._ended:
                err.write(f"nile: {_totals(self._ended)}\n")
        self._screen.flush()

    def _result(self, event: HostResult) -> None:
        if event.command:
            self._commands.setdefault(event.command, []).append(event)
        if event.peer:
            self._peers.setdefault(event.peer, []).append(event.host)
        for label in (LEFT, SURVIVED, KILLED):
            left = [process for process in event.leftover if _label(process) == label]
            if left and not (label == KILLED and event.verdict in _ALL_KILLED):
                names = tuple(sorted({visible(process.name) for process in left}))
                self._left.setdefault((label, names), {})[event.host] = left
        if event.verdict is Verdict.OK and event.code in AWAY:
            self._away.setdefault(AWAY[event.code], []).append(event.host)
        elif event.verdict is not Verdict.OK:
            reason = "" if event.code in wording.ALIKE else wording.reason(event)
            key = (event.verdict, event.code or "", reason, visible(event.remedy))
            self._bad.setdefault(key, []).append(event)

    def _notice(self, event: Notice) -> None:
        place = f"{visible(event.host)}: " if event.host else ""
        self._screen.err.write(f"nile: {place}{visible(event.text)}\n")
        self._screen.flush()


def _order(entry: tuple[Reason, list[HostResult]]) -> tuple[int, int, str]:
    """The order of verdicts in `Verdict`, then the largest sets first."""
    (verdict, _, reason, _), results = entry
    return list(Verdict).index(verdict), -len(results), reason


def _reason(results: Sequence[HostResult]) -> str:
    """What they all say; else what they have in common."""
    said = {wording.reason(result) for result in results}
    return said.pop() if len(said) == 1 else wording.ALIKE[Code(results[0].code or "")]


def _way(results: Iterable[HostResult]) -> str:
    """`, by way of gw[1-2]` where hosts were tried, or hung, below relays last."""
    relays = {
        relay
        for result in results
        if result.verdict in (Verdict.UNREACHABLE, Verdict.LOST)
        for relay in [_last_relay(result)]
        if relay
    }
    return f", by way of {visible(folded(relays))}" if relays else ""


def _last_relay(result: HostResult) -> str:
    """The last host on the path that isn't the host itself; "" where the root itself was next to it."""
    way = [name for name in result.path[1:] if name != result.host]
    return way[-1] if way else ""


def _label(process: Leftover) -> str:
    return SURVIVED if process.survived else KILLED if process.killed else LEFT


def _killed(results: Sequence[HostResult]) -> str:
    """`: sh (pid 7), sleep (pid 8)` of one host; of many the commonest names: `: sh, sleep, and 2 more`."""
    if results[0].verdict not in _ALL_KILLED:
        return ""
    by_host = {each.host: [left for left in each.leftover if left.killed] for each in results}
    names = Counter(
        visible(name) for left in by_host.values() for name in dict.fromkeys(each.name for each in left)
    )
    if not names:
        return ""
    return f": {_named(tuple(name for name, _ in names.most_common()), by_host)}"


def _leftover(names: tuple[str, ...], by_host: dict[str, list[Leftover]]) -> str:
    return f"{visible(heading(by_host))}: {_named(names, by_host)}"


def _named(names: tuple[str, ...], by_host: dict[str, list[Leftover]]) -> str:
    """Processes of one host with their numbers, of several by name; the first few."""
    if len(by_host) == 1:
        (processes,) = by_host.values()
        named = [f"{visible(left.name)} (pid {left.pid})" for left in processes[:NAMES_SHOWN]]
        more = [f"and {len(processes) - NAMES_SHOWN} more"] if len(processes) > NAMES_SHOWN else []
        return ", ".join(named + more)
    more = [f"and {len(names) - NAMES_SHOWN} more"] if len(names) > NAMES_SHOWN else []
    return ", ".join([*names[:NAMES_SHOWN], *more])


def _by_peer(peers: Mapping[str, Sequence[str]]) -> str:
    """`by libtorrent 2.1.1 to n[1-5] (5), by rsync to n6 (1)`."""
    return ", ".join(f"by {visible(peer)} to {visible(heading(peers[peer]))}" for peer in sorted(peers))


def _of_command(command: str, results: Sequence[HostResult]) -> str:
    """`db[1-3] (3): 2 of 3 hosts ok, 1 failed: pg_ctl status`."""
    counts = Counter(result.verdict for result in results)
    hosts = visible(heading(result.host for result in results))
    return f"{hosts}: {wording.totals(counts)}: {visible(wording.first_line(command))}"


def _totals(ended: RunEnded) -> str:
    """`98 of 100 hosts ok, 1 failed, 1 unreachable, in 2.41 s (run 0123abcd)`."""
    words = wording.totals(ended.counts)
    cut = ", interrupted" if ended.interrupted else ""
    return f"{words}{cut}, in {wording.duration(ended.wall_s)} (run {visible(ended.run)[:RUN_SHOWN]})"
