"""A whole run in virtual time: root, hosts, logins and commands, from one seed."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from nile.cascade import Cascade, CascadeOptions, Heritage, Known
from nile.events import Event, HostOutput, HostResult, HostStarted, HostUp, Paced, RunGoesOn, Verdict
from nile.options import ExecOptions, Pacing
from nile.simulation.agent import SimAgent
from nile.simulation.branches import SimBranches
from nile.simulation.clock import Clock
from nile.simulation.commands import Script
from nile.simulation.cores import Cores
from nile.simulation.dialing import Dialer
from nile.simulation.hosts import SimHost
from nile.simulation.network import Network
from nile.simulation.pipes import Connection, Ground, Wire
from nile.simulation.root import RootTimes, SimRoot, Told
from nile.topology.model import Plan

LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated. `script(host name, rng)` is the command of a host."""

    plan: Plan
    exec: ExecOptions
    script: Callable[[str, random.Random], Script]
    seed: int
    wire: Wire = field(default_factory=Wire)
    times: RootTimes = field(default_factory=RootTimes)
    stdin: bytes = b""
    agents: dict[str, type[SimAgent]] = field(default_factory=dict)
    """Hosts whose agent is another than the real one."""
    login_s: Callable[[random.Random], float] = lambda rng: 0.02 + 0.2 * rng.random()
    """How long a host's logins take, apart from `cpu_s`."""
    cores: int | None = None
    """All hosts are on a machine of so many cores; None: each has enough of its own."""
    cpu_s: float = 0.0
    """What a login takes of a core, where they are shared."""
    answer: bool = True
    """What the user says to a question."""


class Cluster:
    """Hosts, the root, and the run between them."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.rng = random.Random(setup.seed)
        self.clock = Clock()
        self.hosts: dict[int, SimHost] = {}
        self._running: set[str] = set()
        for node in (*setup.plan.nodes, *setup.plan.spares):
            seed = self.rng.getrandbits(64)
            self.hosts[node.id] = host = SimHost(self.clock, node, _scripted(setup, node.host, seed))
            host.login.seconds = setup.login_s(self.rng)
            host.login.only = _gates(setup.plan, node.host)
            host.on_start = functools.partial(self._count_start, host)
            host.on_end = functools.partial(self._running.discard, host.name)
        self._by_name = {host.name: host for host in self.hosts.values()}
        self.starts: list[str] = []
        self.most_running = 0
        self.most_parallel = setup.plan.limits.parallel
        self.most_fanout = setup.exec.fanout or 0
        """The most that its user ever allows: logins of one node, and commands."""
        self.interrupted = False
        self.disturbed = False
        """Faults befall it."""
        self.calm_at = 0.0
        """When the last of them befalls it, or is over; but for what never ends."""
        self.network = Network(self.hosts)
        ground = Ground(self.clock, self.network, self.rng)
        cores = Cores(self.clock, setup.cores) if setup.cores else None
        self.dialer = Dialer(ground, self.rng, self.hosts, self._become, setup.wire, cores, setup.cpu_s)
        self.root = self._new_root(None, ())
        self._roots = 0
        self._headless = False
        """Its root died, and another one comes."""

    def _new_root(self, heritage: Heritage | None, before: Sequence[Told]) -> SimRoot:
        """As its user set it last: see `nile.store.Handover`."""
        setup, pacing = self.setup, _paced(before)
        plan, what = setup.plan, setup.exec
        if pacing is not None and heritage is not None:
            parallel = pacing.parallel or plan.limits.parallel
            plan = replace(plan, limits=replace(plan.limits, parallel=parallel))
            what = replace(what, fanout=pacing.fanout)
            heritage = replace(heritage, paused=bool(pacing.paused))
        asked = tuple(node.host for node in setup.plan.asked())
        logins = {node.host: {"host": node.host} for node in (*setup.plan.nodes, *setup.plan.spares)}
        options = CascadeOptions(f"run{setup.seed}", what, logins, asked, 0.0, heritage=heritage)
        cascade = Cascade(plan, options)
        root = SimRoot(self.clock, cascade, self.dialer, setup.times, setup.stdin, before)
        root.on_result, root.answer = self._running.discard, setup.answer
        return root

    @property
    def roots_before(self) -> int:
        """How many roots died."""
        return self._roots

    def host(self, name: str) -> SimHost:
        """A host by its name."""
        return self._by_name[name]

    @property
    def tight(self) -> bool:
        """May so few logins be under way at a time that a lease can be over before its host's turn comes?"""
        limits = self.setup.plan.limits
        return limits.parallel == 1 or limits.logins is not None

    def root_rank(self, name: str) -> int:
        """A host's place in the order of the asked ones."""
        return [node.host for node in self.setup.plan.asked()].index(name)

    def _count_start(self, host: SimHost) -> None:
        """Note how many commands run at one time, of hosts that have no verdict yet."""
        self.starts.append(host.name)
        self.most_running = max(self.most_running, len(self._running) + 1)
        if host.name not in self.root.judged:
            self._running.add(host.name)

    def _become(self, host: SimHost, connection: Connection) -> SimAgent:
        kind = self.setup.agents.get(host.name, SimAgent)
        return kind(self.clock, host, connection, self.dialer)

    def run(self, limit_s: float = LIMIT_S) -> None:
        """From the beginning to the end of the run, and on until all that has to end has ended."""
        self.root.begin()
        self.finish(limit_s)

    def finish(self, limit_s: float = LIMIT_S) -> None:
        """On to the end of the run, and until every lease and grace is over."""
        self.clock.run(lambda: self.root.finished and not self._headless, limit_s)
        finished_at = self.clock.now
        over_s = self.setup.plan.timeouts.lease_s + self.setup.exec.grace_s + 2.0
        while self.clock.now < (end := max(finished_at, self.calm_at) + over_s):
            self.clock.pass_until(end)

    def at(self, seconds: float, call: Callable[..., object], *arguments: object) -> None:
        """Have something happen at that time of the run."""
        self.clock.after(seconds - self.clock.now, call, *arguments)

    def interrupt_at(self, seconds: float, grace_s: float) -> None:
        """Have the user interrupt the run at that time."""
        self.interrupted = True
        self.at(seconds, lambda: self.root.interrupt(grace_s))

    def steer_at(self, seconds: float, pacing: Pacing) -> None:
        """Have the user set its pace at that time."""
        self.most_parallel = max(self.most_parallel, pacing.parallel or 0)
        self.most_fanout = max(self.most_fanout, pacing.fanout or 0)
        self.at(seconds, lambda: self.root.steer(pacing))

    def replace_root(self, after_s: float) -> None:
        """The root is killed now, and another one takes the run over so many seconds later."""
        if not self.root.finished:
            self._headless = True
            self._roots += 1
            self.root.die()
            self.clock.after(after_s, self._attach)

    def _attach(self) -> None:
        before = self.root.recorded()
        interrupted = any(isinstance(event, RunGoesOn) and event.interrupted for _, event in before)
        self.root = self._new_root(Heritage(self._roots, self.clock.now, recall(before)), before)
        self._headless = False
        self.root.begin()
        if interrupted:
            self.root.interrupt(self.setup.exec.grace_s)

    @property
    def events(self) -> list[Event]:
        """All that was published."""
        return [event for _, event in self.root.events]

    def results(self) -> dict[str, HostResult]:
        """The last result of every host that has one."""
        return {event.host: event for event in self.events if isinstance(event, HostResult)}

    def verdicts(self) -> dict[str, Verdict]:
        """The verdict of every host that has one."""
        return {host: result.verdict for host, result in self.results().items()}

    def cut(self, child: SimHost) -> None:
        """Packets of the link between a host and its parent vanish; another login would go through."""
        for branches in self._branches():
            branches.cut(child.id)

    def hang_up(self, child: SimHost) -> None:
        """The `ssh` that leads to a host is killed: both sides see the end of the link."""
        for branches in self._branches():
            branches.hang_up(child.id)

    def _branches(self) -> Iterator[SimBranches]:
        yield self.root.branches
        for host in self.hosts.values():
            if host.claimant is not None and host.claimant.alive and host.claimant.branches is not None:
                yield host.claimant.branches


def _paced(record: Iterable[Told]) -> Pacing | None:
    """How its user set it last."""
    found = [event.pacing for _, event in record if isinstance(event, Paced)]
    return found[-1] if found else None


def recall(record: Iterable[Told]) -> dict[str, Known]:
    """What the events of a record say of each host, as the store's tables do."""
    known: dict[str, Known] = {}
    for _, event in record:
        if not isinstance(event, HostUp | HostStarted | HostOutput | HostResult):
            continue
        host = known.get(event.host, Known())
        match event:
            case HostUp():
                host = replace(
                    host, parent=event.parent, t_connect_s=event.t_connect_s, t_ready_s=event.t_ready_s
                )
            case HostStarted():
                host = replace(host, started=True)
            case HostOutput():
                host = replace(host, received=_more(host.received, event))
            case HostResult():
                host = replace(host, verdict=event.verdict)
        known[event.host] = host
    return known


def _more(received: tuple[int, int], event: HostOutput) -> tuple[int, int]:
    stdout, stderr = received
    end = event.offset + len(event.data)
    return (end, stderr) if event.stream == "stdout" else (stdout, end)


def _gates(plan: Plan, name: str) -> frozenset[int] | None:
    """Ids of all from which a host behind gateways is reachable; None where it is from anywhere."""
    via = plan.specs[name].via
    nodes = (*plan.nodes, *plan.spares)
    inside = (node.id for node in nodes if node.host in via or plan.specs[node.host].via == via)
    return frozenset(inside) if via else None


def _scripted(setup: Setup, name: str, seed: int) -> Callable[[], Script]:
    return lambda: setup.script(name, random.Random(seed))
