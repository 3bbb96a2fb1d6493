"""What a run is going to take, and what comes of it when hosts die: a simulated run, put into figures.

Everything that decides is real: the root's cascade, relays, agents, their
frames. Simulated are hosts, logins, links and the command, as a `Question`
describes them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from nile.events import HostResult, HostUp, Verdict
from nile.options import ExecOptions
from nile.simulation.cluster import LIMIT_S, Cluster, Setup
from nile.simulation.commands import Script, Sleep
from nile.simulation.hosts import SimHost
from nile.simulation.pipes import Wire
from nile.topology.model import Plan

SPREAD = 0.15
"""By how much logins to different hosts differ, where nothing else is known: see `Question`."""


@dataclass(frozen=True, slots=True)
class Question:
    """A run to foresee. Times are in seconds.

    `login_s` is the median of a login, from its begin to the agent's hello, `spread` the standard
    deviation of its logarithm over hosts (0.15: most take at most 15 % more or less). `command_s` is
    what the command takes, `loss` the part of all packets that get lost (0 to 1). Where all hosts share
    `cores` processor cores, as in a lab, each login takes `cpu_s` of one; `login_s` counts it too.
    """

    plan: Plan
    login_s: float
    spread: float = SPREAD
    command_s: float = 0.0
    loss: float = 0.0
    cores: int | None = None
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Dying:
    """Who dies, each at a moment of its own while the run is under way: any `count`, or those of `hosts`."""

    count: int = 0
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageForecast:
    """A stage of the plan: how many hosts, and when the first, half and all of them were up, in seconds."""

    stage: int
    hosts: int
    first_s: float
    half_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Death:
    """What came of one host's death."""

    host: str
    at_s: float
    verdict: Verdict | None
    """Its own; None where it only relays."""
    reached: bool
    """Was its agent up by then?"""
    below: int
    """Hosts below it at that moment, and not done."""
    noticed_s: float | None
    """After how long whoever is above it said that it is gone; None where nobody had to."""
    taken_over: dict[str, int]
    """Who took over how many of its own children (with all that is below each)."""
    again_s: float | None
    """After how long the last of them was in contact again; None where none had to be."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """One simulated run."""

    seed: int
    wall_s: float
    """From the beginning to the last verdict."""
    up_s: float
    """When the last agent said hello for the first time; 0 where none did."""
    stages: tuple[StageForecast, ...]
    counts: dict[Verdict, int]
    deaths: tuple[Death, ...]
    slowest: HostResult | None
    """The last verdict of a host that was asked and spared."""
    not_ok: tuple[HostResult, ...]
    """Spared hosts that fared badly all the same."""
    ended: bool = field(default=True)
    """False: it was still under way `LIMIT_S` seconds after its command could have ended."""
    nodes: int = 0
    """Hosts of the plan, relays and all."""
    up: int = 0
    """How many of these were ever up."""
    without_verdict: tuple[str, ...] = ()
    """Hosts that were asked, and have no verdict because it hasn't `ended`."""

    @property
    def not_over(self) -> tuple[str, ...]:
        """Spared hosts without a verdict."""
        dead = {death.host for death in self.deaths}
        return tuple(host for host in self.without_verdict if host not in dead)


def undisturbed(question: Question, seed: int) -> Forecast:
    """The run as it goes when nobody dies."""
    cluster = _cluster(question, seed)
    _run(cluster, question)
    return _forecast(cluster, seed, {})


def with_deaths(question: Question, dying: Dying, seed: int, within_s: float) -> Forecast:
    """The same run (of the same seed) while hosts lose their power, at random moments up to `within_s`."""
    cluster = _cluster(question, seed)
    rng = random.Random(f"{seed} deaths")
    hosts = [cluster.hosts[node.id] for node in question.plan.nodes]
    struck = [host for host in hosts if host.name in dying.hosts] or rng.sample(hosts, dying.count)
    moments = {host.id: within_s * rng.random() for host in struck}
    for host in struck:
        cluster.at(moments[host.id], host.crash)
    _run(cluster, question)
    return _forecast(cluster, seed, moments)


def _cluster(question: Question, seed: int) -> Cluster:
    wait_s = max(0.0, question.login_s - (question.cpu_s if question.cores else 0.0))

    def login_s(rng: random.Random) -> float:
        return wait_s * rng.lognormvariate(0.0, question.spread)

    def command(_: str, __: random.Random) -> Script:
        yield Sleep(question.command_s)
        return 0

    return Cluster(
        Setup(
            question.plan,
            ExecOptions("a command"),
            command,
            seed,
            Wire(loss=question.loss),
            login_s=login_s,
            cores=question.cores,
            cpu_s=question.cpu_s,
        )
    )


def _run(cluster: Cluster, question: Question) -> None:
    cluster.root.begin()
    cluster.clock.run(lambda: cluster.root.finished, question.command_s + LIMIT_S)


# From what was published to figures.


def _forecast(cluster: Cluster, seed: int, moments: dict[int, float]) -> Forecast:
    results = cluster.results()
    dead = {cluster.hosts[node_id].name for node_id in moments}
    spared = [result for name, result in results.items() if name not in dead]
    first_up = _first_up(cluster)
    return Forecast(
        seed,
        cluster.clock.now,
        max(first_up.values(), default=0.0),
        tuple(_stages(cluster.setup.plan, first_up)),
        dict(Counter(result.verdict for result in results.values())),
        tuple(
            _death(cluster, cluster.hosts[node_id], moments)
            for node_id in sorted(moments, key=lambda each: moments[each])
        ),
        max(spared, key=lambda result: result.t_end_s or 0.0, default=None),
        tuple(result for result in spared if result.verdict is not Verdict.OK),
        cluster.root.finished,
        len(cluster.setup.plan.nodes),
        len(first_up),
        tuple(node.host for node in cluster.setup.plan.asked() if node.host not in results),
    )


def _ups(cluster: Cluster) -> Iterator[tuple[float, HostUp]]:
    return ((t, event) for t, event in cluster.root.events if isinstance(event, HostUp))


def _first_up(cluster: Cluster) -> dict[str, float]:
    first: dict[str, float] = {}
    for t, event in _ups(cluster):
        first.setdefault(event.host, t)
    return first


def _stages(plan: Plan, first_up: dict[str, float]) -> Iterator[StageForecast]:
    for stage in sorted({node.stage for node in plan.nodes}):
        hosts = [node.host for node in plan.nodes if node.stage == stage]
        times = sorted(first_up[host] for host in hosts if host in first_up)
        if times:
            half_s = times[(len(times) - 1) // 2]
            yield StageForecast(stage, len(hosts), times[0], half_s, times[-1])


def _below(name: str, parents: dict[str, str]) -> set[str]:
    """All below a host."""
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    found: set[str] = set()
    todo = [name]
    while todo:
        todo += (each := children.get(todo.pop(), []))
        found.update(each)
    return found


def _death(cluster: Cluster, host: SimHost, moments: dict[int, float]) -> Death:
    at_s = moments[host.id]
    dead = {cluster.hosts[node_id].name for node_id in moments}
    done = {each.host for t, each in cluster.root.events if isinstance(each, HostResult) and t <= at_s}
    parents = {node.host: cluster.setup.plan.path(node.id)[-2] for node in cluster.setup.plan.nodes}
    parents |= {event.host: event.parent for t, event in _ups(cluster) if t <= at_s}
    below = _below(host.name, parents)
    orphans = {child for child in below if parents[child] == host.name} - dead - done
    found: dict[str, tuple[float, str]] = {}
    for t, event in _ups(cluster):
        if t > at_s and event.host in orphans and event.parent != host.name:
            found.setdefault(event.host, (t, event.parent))
    noticed = [t for t, child in cluster.root.losses if child == host.id and t > at_s]
    result = cluster.results().get(host.name)
    return Death(
        host.name,
        at_s,
        result.verdict if result else None,
        any(t <= at_s and event.host == host.name for t, event in _ups(cluster)),
        len(below - done),
        noticed[0] - at_s if noticed else None,
        dict(Counter(parent for _, parent in found.values()).most_common()),
        max(t for t, _ in found.values()) - at_s if found else None,
    )
