"""What must hold after any run: the invariants, checked against what really happened on the hosts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nile.agent import wire
from nile.agent.link import BULK_WINDOW
from nile.cascade.caution import canaries
from nile.cascade.orders import WINDOW
from nile.events import (
    Code,
    Event,
    HostOutput,
    HostResult,
    HostStarted,
    HostUp,
    Notice,
    RunEnded,
    RunStarted,
    Verdict,
)
from nile.options import Leftover
from nile.simulation.cluster import Cluster
from nile.simulation.hosts import SimHost

RELAY_BUFFER = BULK_WINDOW + 2 * wire.CHUNK
SOON_S = 8.0
"""Detection, patience and a login, perhaps twice; and what the store takes."""
AWAY = (Code.GONE_AWAY, Code.REBOOTED, Code.NOT_REBOOTED, Code.NOT_BACK)
"""Of a command that cut its host off, or was to: nobody saw how it ended."""
FROM_AGENT = (Verdict.OK, Verdict.FAILED, Verdict.TIMEOUT)


def violations(cluster: Cluster) -> list[str]:
    """Every rule that was broken, in words; empty when all is well."""
    told: dict[str, list[Event]] = {host.name: [] for host in cluster.hosts.values()}
    notes = dict.fromkeys(told, "")
    for event in cluster.events:
        if isinstance(event, HostUp | HostStarted | HostOutput | HostResult):
            told[event.host].append(event)
        elif isinstance(event, Notice) and event.host in notes:
            notes[event.host] += event.text + "\n"
    hosts = (Told(cluster, host, told[host.name], notes[host.name]) for host in cluster.hosts.values())
    return [
        *_end(cluster),
        *_limits(cluster),
        *_caution(cluster),
        *(f"{each.host.name}: {text}" for each in hosts for text in _host(each)),
    ]


@dataclass(frozen=True, slots=True)
class Told:
    """A host, and what the root published about it."""

    cluster: Cluster
    host: SimHost
    events: list[Event]
    notes: str
    """The notices about it."""

    @property
    def results(self) -> list[HostResult]:
        """Its verdicts: there has to be one, where it was asked."""
        return [event for event in self.events if isinstance(event, HostResult)]

    @property
    def verdict(self) -> Verdict | None:
        """What became of it."""
        return self.results[0].verdict if self.results else None

    @property
    def reachable(self) -> bool:
        """Is there a gateway that nothing befell, where it needs one?"""
        via = self.cluster.setup.plan.specs[self.host.name].via
        return not via or any(not self.cluster.host(name).struck for name in via)

    @property
    def spoilt(self) -> bool:
        """May its command, or the end of its output, be lost?"""
        return self.host.struck or self.cluster.interrupted or not self.reachable

    @property
    def away(self) -> bool:
        """Did its command cut it off, as it was allowed to, or was it waited for to do so?"""
        return bool(self.results) and self.results[0].code in AWAY

    @property
    def cut_itself_off(self) -> bool:
        """May its command have done so before the word that it had begun got through, held up by a fault?"""
        disruptive = self.cluster.setup.exec.disruptive and self.cluster.disturbed
        return disruptive and self.verdict is Verdict.LOST and self.host.claims.starts == 1

    @property
    def held_back(self) -> bool:
        """Did it never start, as the run was to start on nobody any more?"""
        options = self.cluster.setup.exec
        ceased = options.canary is not None or options.max_failures is not None
        return ceased and self.verdict is Verdict.CANCELLED and not self.host.claims.starts

    @property
    def status(self) -> tuple[int | None, int | None] | None:
        """How its command really ended: status or signal; None where it didn't, or never began."""
        return self.host.command.status if self.host.command is not None else None


def _end(cluster: Cluster) -> Iterator[str]:
    if not cluster.root.finished:
        yield f"the run never ended; no verdict for {cluster.root.unfinished()}"
        return
    events = cluster.events
    if not isinstance(events[0], RunStarted):
        yield f"the first event is {events[0]}"
    last = events[-1]
    if not isinstance(last, RunEnded):
        yield f"the last event is {last}"
        return
    verdicts = list(cluster.verdicts().values())
    if any(last.counts[each] != verdicts.count(each) for each in Verdict):
        yield f"the summary counts {last.counts}"


def _limits(cluster: Cluster) -> Iterator[str]:
    limits = cluster.setup.plan.limits
    if cluster.dialer.most_parallel > cluster.most_parallel:
        yield f"{cluster.dialer.most_parallel} logins of one node at a time"
    # A branch that is cut off has logins under way that can't go on, and don't count at the root any more.
    # A host that moves to another node may have been begun with by the first one just then.
    most = None if limits.logins is None else limits.logins * (2 if cluster.disturbed else 1.25)
    if most is not None and cluster.dialer.most_logins > most:
        yield f"{cluster.dialer.most_logins} logins at a time over the tree"
    if cluster.dialer.trespasses:
        yield f"logins past the gateways: {cluster.dialer.trespasses}"
    if cluster.setup.exec.fanout is not None and cluster.most_running > cluster.most_fanout:
        yield f"{cluster.most_running} commands at a time"


def _caution(cluster: Cluster) -> Iterator[str]:
    yield from _kept_back(cluster)
    yield from _turns(cluster)


def _kept_back(cluster: Cluster) -> Iterator[str]:
    """Nobody is told to start in a pause, nor once too many failed: not who was told before, either."""
    names = {host.id: host.name for host in cluster.hosts.values()}
    most, verdicts = cluster.setup.exec.max_failures, cluster.verdicts()
    bad_ones = {name for name, each in verdicts.items() if each not in (Verdict.OK, Verdict.CANCELLED)}
    over = {names[node_id] for what, node_id in cluster.root.turns if what == "over"}
    bad, paused = len(bad_ones - over), False
    for what, node_id in cluster.root.turns:
        if what in ("paused", "resumed"):
            paused = what == "paused"
        elif what == "over":
            bad += names[node_id] in bad_ones
        elif paused:
            yield f"{names[node_id]} was started in a pause"
        elif most is not None and bad > most:
            yield f"{names[node_id]} was started when {bad} had failed"


def _turns(cluster: Cluster) -> Iterator[str]:
    """Canaries before all others, and wave after wave."""
    options, names = cluster.setup.exec, {host.id: host.name for host in cluster.hosts.values()}
    asked = [node.host for node in cluster.setup.plan.asked()]
    first = set(canaries(cluster.setup.plan, asked, options))
    over, wave = set[str](), set[str]()
    if cluster.roots_before:  # what these told whom isn't known
        return
    # Of a start that was lost with a link nobody heard: that host gave its turn back.
    last = {node_id: at for at, (what, node_id) in enumerate(cluster.root.turns) if what == "start"}
    for at, (what, node_id) in enumerate(cluster.root.turns):
        if what == "over":
            over.add(names[node_id])
        if last.get(node_id) != at:
            continue
        name = names[node_id]
        if not cluster.hosts[node_id].claims.starts and cluster.verdicts()[name] is not Verdict.LOST:
            continue
        if name in first:
            continue
        if first - over:
            yield f"{name} was started before {sorted(first - over)}, which go first"
        if options.batch is not None and len(wave) >= options.batch:
            if wave - over:
                yield f"{name} was started while {sorted(wave - over)} of the wave before were at it"
            wave.clear()
        wave.add(name)


def _host(told: Told) -> Iterator[str]:
    yield from _verdict(told)
    yield from _line(told)
    for result in told.results:
        yield from _truth(told, result)
    yield from _order(told)
    yield from _output(told)
    yield from _survivors(told)
    yield from _late(told)
    yield from _memory(told)


def _line(told: Told) -> Iterator[str]:
    """What runs is what was meant for that host, and its verdict says what that was."""
    options = told.cluster.setup.exec
    own = options.per_host.get(told.host.name, "")
    if wrong := [line for line in told.host.lines if not line.endswith(own or options.command)]:
        yield f"it ran what wasn't for it: {wrong}"
    if any(result.command != own for result in told.results):
        yield "its verdict doesn't say what it ran"


def _verdict(told: Told) -> Iterator[str]:
    """One for every asked host, none for others; a fair one where nothing befell the host."""
    host, results = told.host, told.results
    if len(results) != int(host.node.asked):
        yield f"{len(results)} verdicts"
    if host.claims.starts > int(host.node.asked):
        yield f"the command was started {host.claims.starts} times"
    late = told.verdict is Verdict.LOST and told.cluster.disturbed and told.cluster.tight
    fair = told.verdict in FROM_AGENT or late or told.cut_itself_off or told.held_back
    if not told.spoilt and results and not fair:
        yield f"nothing befell it, and it is {told.verdict}: {results[0].reason}"


def _truth(told: Told, result: HostResult) -> Iterator[str]:
    """Does the verdict agree with what happened?"""
    if (
        result.path[0] != "root"
        or result.path[-1] != told.host.name
        or len(set(result.path)) < len(result.path)
    ):
        yield f"a path of {result.path}"
    if result.verdict is Verdict.UNREACHABLE and told.host.claims.starts:
        yield "unreachable, but its command was started"
    if told.away:
        yield from _truth_of_absence(told, result)
        return
    if result.verdict is Verdict.OK and told.status != (0, None):
        yield f"ok, but its command ended with {told.status}"
    if result.code is Code.EXIT and told.status != (result.rc, None):
        yield f"exit status {result.rc}, but its command ended with {told.status}"
    if result.verdict is Verdict.TIMEOUT and (told.status is None or told.host.alive()):
        yield "timed out, but it wasn't killed"


def _truth_of_absence(told: Told, result: HostResult) -> Iterator[str]:
    host = told.host
    if not host.claims.starts and result.verdict is not Verdict.LOST:
        yield f"{result.code}, but its command was never started"
    if result.code is Code.REBOOTED and host.booted_at < 0:
        yield "booted anew, but it wasn't"
    if result.code is Code.NOT_REBOOTED and not told.spoilt and host.booted_at > 0:
        yield "not booted anew, but it was"


def _order(told: Told) -> Iterator[str]:
    """up, started, output, result; the second and the last at most once. It may come up again at any time."""
    kinds: list[type] = [HostUp, HostStarted, HostOutput, HostResult]
    seen = [kinds.index(type(event)) for event in told.events]
    seen = seen[:1] + [each for each in seen[1:] if each]
    if seen != sorted(seen) or any(seen.count(each) > 1 for each in (1, 3)):
        yield f"events in the order {seen}"


def _output(told: Told) -> Iterator[str]:
    """What is published was printed, in order; and all of it where the agent reported the end."""
    missing = 0
    for stream in ("stdout", "stderr"):
        published = bytearray()
        for event in told.events:
            if isinstance(event, HostOutput) and event.stream == stream:
                if event.offset != len(published):
                    yield f"{stream} at {event.offset} published behind {len(published)} bytes"
                published += event.data
        printed = told.host.printed(stream)
        if not printed.startswith(published):
            yield f"{stream} that was published was never printed"
        missing += len(printed) - len(published)
    late = told.spoilt or (told.cluster.disturbed and told.cluster.tight)
    known = told.away or (late and f"last {missing} bytes" in told.notes)
    if missing and told.verdict in FROM_AGENT and not known:
        yield f"{missing} bytes that it printed were not published"


def _survivors(told: Told) -> Iterator[str]:
    """No process of the run, unless a command that succeeded left it and it may stay."""
    host = told.host
    if host.frozen or not host.powered or host.escaped:
        return
    if host.agent is not None and host.agent.alive:
        yield "its agent is still there"
    if host.trace and not told.cluster.disturbed and not told.spoilt and not told.away:
        yield "its trace was left"
    alive = host.alive()
    names = [process.name for process in alive]
    may_stay = told.status == (0, None) and told.cluster.setup.exec.leftover is not Leftover.KILL
    if alive and not may_stay:
        yield f"{names} still run"
    if alive and told.verdict is Verdict.OK:
        named = {left.pid for left in told.results[0].leftover if not left.killed}
        if not {process.pid for process in alive} <= named:
            yield f"{names} still run, but {told.results[0].leftover} are named"


def _late(told: Told) -> Iterator[str]:
    """Where nothing is in the way, a verdict comes soon after the command's end, or after the last fault."""
    cluster, command = told.cluster, told.host.command
    fast = cluster.setup.wire.rate is None and not any(host.wire for host in cluster.hosts.values())
    wide = fast and not cluster.tight
    if told.spoilt or not told.results or command is None or not wide or told.away or told.cut_itself_off:
        return
    due_s = max(command.ended_at, cluster.calm_at) + SOON_S
    came_s = told.results[0].t_end_s or 0.0
    if came_s > due_s:
        yield f"its command ended at {command.ended_at:.1f} s, its verdict came at {came_s:.1f} s"


def _memory(told: Told) -> Iterator[str]:
    host = told.host
    for stream, most in host.claims.most_unacknowledged.items():
        if most > WINDOW:
            yield f"{most} bytes of {stream} were under way"
    if host.agent is not None and host.agent.branches is not None:
        most = host.agent.branches.most_buffered
        links = 2 if told.cluster.disturbed else 1  # of one before, some may still be on its way upward
        if most > links * RELAY_BUFFER:
            yield f"{most} bytes of one child were buffered"
