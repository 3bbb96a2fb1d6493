"""Runs whose command cuts hosts off: what it does to them, and in what order they have to start."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Iterator

from nile.agent.child import UP
from nile.events import Code, HostUp
from nile.options import ExecOptions, Limits, OnOrphan, Timeouts
from nile.simulation.cluster import Cluster, Setup
from nile.simulation.commands import Script, Sleep, Write
from nile.simulation.faults import plan_faults, strike
from nile.simulation.hosts import SimHost
from nile.simulation.pipes import Wire
from nile.topology.model import Plan
from tests.simulation.checks import SOON_S, violations
from tests.simulation.soak import collecting_afterwards
from tests.simulation.trees import any_tree, any_zone

Deed = Callable[[Cluster, SimHost], None]
FIRST_S = 1.0
"""What the shell waits before such a command: the word that it began gets through."""
GRACE_S = 1.0


def reboot(seconds: float | None) -> Deed:
    """The host goes down at once; and is back after so long."""

    def deed(run: Cluster, host: SimHost) -> None:
        host.crash()
        if seconds is not None:
            run.clock.after(seconds, host.boot)

    return deed


def hang_up(run: Cluster, host: SimHost) -> None:
    """Its sshd ends the session."""
    run.hang_up(host)


def kill_agent(_: Cluster, host: SimHost) -> None:
    """What its sshd had started ends with it."""
    host.kill_agent()


def unplug(seconds: float) -> Deed:
    """Its network is away for so long."""

    def deed(run: Cluster, host: SimHost) -> None:
        block = run.network.isolate(host.id)
        run.calm_at = max(run.calm_at, run.clock.now + seconds)
        run.clock.after(seconds, run.network.mend, block)

    return deed


def nothing(_: Cluster, __: SimHost) -> None:
    """It doesn't do what it is to do."""


class Departing(Cluster):
    """A cluster whose command does a deed to its host; `early` are starts that came before others below.

    `harmless`: no deed does anything, and no fault ends a link.
    """

    def __init__(
        self, plan: Plan, deed: Callable[[random.Random], Deed], options: ExecOptions, seed: int, wire: Wire
    ) -> None:
        self.deed = deed
        self.lasts_s: dict[str, float] = {}
        """How long the command goes on after its deed, where chance doesn't say so."""
        self.early: list[str] = []
        self.harmless = False
        self.started_at: dict[str, float] = {}
        super().__init__(Setup(plan, options, self._script, seed, wire))
        for host in self.hosts.values():
            host.on_start = functools.partial(self._starts, host, host.on_start)

    def violations(self) -> list[str]:
        """Every rule that was broken, in words."""
        return [*self.early, *self._taken_over(), *self._late(), *self._harmed(), *violations(self)]

    def _taken_over(self) -> Iterator[str]:
        """Once a host was told to start, nobody who has a command is hung below it."""
        for t, event in self.root.events:
            if not isinstance(event, HostUp) or not self.host(event.host).node.asked:
                continue
            if t > self.started_at.get(event.parent, math.inf):
                yield f"{event.host} comes up below {event.parent}, which had started"

    def _late(self) -> Iterator[str]:
        """One that goes away is through at once; one that came back in time is."""
        wait_s = self.setup.exec.wait_back_s
        for name, result in self.results().items():
            host, began_s = self.host(name), self.started_at.get(name, math.inf)
            # Where its link only fell silent it is logged in to once; of many, one after another.
            due_s = began_s + FIRST_S + SOON_S + 2 * self.setup.plan.timeouts.connect_s
            if result.code is Code.GONE_AWAY and not self.disturbed and (result.t_end_s or 0.0) > due_s:
                yield f"{name}: gone away since {began_s + FIRST_S:.1f} s, said at {result.t_end_s:.1f} s"
            in_time = wait_s is not None and 0.0 < host.booted_at < began_s + wait_s - SOON_S
            ways = [self.host(gate) for gate in self.setup.plan.specs[name].via]
            spoilt = host.struck or self.interrupted or (ways and all(gate.struck for gate in ways))
            if result.code is Code.NOT_BACK and in_time and not spoilt:
                yield f"{name}: not back, but it was booted anew at {host.booted_at:.1f} s"

    def _harmed(self) -> Iterator[str]:
        """Where nothing cuts a host off, and no link is ended, nobody goes away, and all run to their end."""
        for name, result in self.results().items() if self.harmless else ():
            host = self.host(name)
            if host.struck or not host.claims.starts:
                continue
            if result.code is Code.GONE_AWAY:
                yield f"{name}: gone away, but it was there: {result.reason}"
            if host.command is None or host.command.status not in ((0, None), (1, None)):
                yield f"{name}: {result.code}, and its command didn't run to its end"

    def _script(self, name: str, rng: random.Random) -> Script:
        yield Write("stdout", f"{name} begins\n".encode())
        yield Sleep(FIRST_S)
        self.clock.after(0.0, self.deed(rng), self, self.host(name))
        yield Sleep(self.lasts_s.get(name, rng.choice((0.0, 0.5, 3.0))))
        return rng.choice((0, 0, 0, 1))

    def _starts(self, host: SimHost, count: Callable[[], None]) -> None:
        count()
        self.started_at[host.name] = self.clock.now
        for below in self._below(host):
            if below.node.asked and below.name not in self.root.judged:
                self.early.append(f"{host.name} starts before {below.name}, below it, has its verdict")

    def _below(self, host: SimHost) -> Iterator[SimHost]:
        """Whoever hangs below a host: as the root has it, and by the links that there are."""
        tree = self.root._cascade._tree
        yield from (self.hosts[each.id] for each in tree.below(tree[host.id]) if each.id != host.id)
        yield from self._linked(host)

    def _linked(self, host: SimHost) -> Iterator[SimHost]:
        agent = host.claimant
        if agent is None or not agent.alive or agent.branches is None:
            return
        for child_id, epoch, state in agent.branches.relay.standing():
            child = self.hosts[child_id]
            if state == UP and child.claimant is not None and child.claimant.core.epoch == epoch:
                yield child
                yield from self._linked(child)


def departing(
    plan: Plan,
    deed: Deed,
    *,
    wait_back_s: float | None = None,
    fanout: int | None = None,
    on_orphan: OnOrphan = OnOrphan.FINISH,
) -> Departing:
    """A cluster in which the command does the same on every host."""
    options = ExecOptions(
        "a command",
        fanout,
        grace_s=GRACE_S,
        on_orphan=on_orphan,
        disruptive=True,
        wait_back_s=wait_back_s,
    )
    return Departing(plan, lambda _: deed, options, 1, Wire())


DEEDS: tuple[Deed, ...] = (
    reboot(0.2),
    reboot(3.0),
    reboot(12.0),
    reboot(12.0),
    reboot(None),
    hang_up,
    kill_agent,
    unplug(6.0),
    unplug(30.0),
    nothing,
)


def any_departure(seed: int, hosts: int, faults: int) -> Departing:
    """A cluster, a command that does different things to its hosts, and faults: all made of chance."""
    rng = random.Random(seed)
    limits = Limits(parallel=rng.choice((4, 16)), logins=rng.choice((None, None, 12)), stages=4)
    timeouts = Timeouts(connect_s=8.0, lease_s=20.0, command_s=rng.choice((None, 30.0)))
    plan = any_tree(rng, hosts, limits, timeouts)
    if rng.random() < 0.4:
        plan = any_zone(rng, plan)
    options = ExecOptions(
        "a command",
        fanout=rng.choice((None, None, 3)),
        grace_s=GRACE_S,
        on_orphan=rng.choice((OnOrphan.FINISH, OnOrphan.FINISH, OnOrphan.ADOPT)),
        disruptive=True,
        wait_back_s=rng.choice((None, None, 40.0)),
    )
    wire = Wire(rng.choice((0.0, 0.001, 0.05)))
    deeds = rng.sample(DEEDS, rng.choice((1, 1, 3)))
    run = Departing(plan, lambda chance: chance.choice(deeds), options, rng.getrandbits(64), wire)
    plan_faults(random.Random(rng.getrandbits(64)), run, faults)
    if rng.random() < 0.1:
        run.interrupt_at(rng.random() * 10.0, GRACE_S)
    return run


def any_succession(seed: int, hosts: int) -> Departing:
    """The same without faults but one: the root dies, and another one takes the run over."""
    run = any_departure(seed, hosts, 0)
    rng = random.Random(seed)
    at, after_s = 12.0 * rng.random(), rng.choice((0.5, 2.0, 6.0))
    run.disturbed = True
    run.calm_at = at + after_s
    run.at(at, run.replace_root, after_s)
    return run


def any_trouble(seed: int, hosts: int) -> Departing:
    """Long commands that cut nothing, while the tree is cut and mended around them."""
    rng = random.Random(seed)
    plan = any_tree(rng, hosts, Limits(stages=4), Timeouts(connect_s=8.0, lease_s=20.0))
    plan = any_zone(rng, plan)
    options = ExecOptions(
        "a command",
        grace_s=GRACE_S,
        on_orphan=OnOrphan.FINISH,
        disruptive=True,
        wait_back_s=rng.choice((None, None, 8.0)),
    )
    run = Departing(plan, lambda _: nothing, options, rng.getrandbits(64), Wire(0.001))
    run.harmless = run.disturbed = True
    run.lasts_s = {host.name: rng.choice((1.0, 25.0, 40.0)) for host in run.hosts.values()}
    for _ in range(rng.randrange(1, 5)):
        at = run.calm_at = max(run.calm_at, 2.0 + 20.0 * rng.random())
        run.at(at, rng.choice(TROUBLES), rng, run)
    return run


def _cut(rng: random.Random, run: Cluster) -> None:
    """A link: not the one login that is to find a host."""
    tree = run.root._cascade._tree
    linked = [host for host in run.hosts.values() if tree.attached(host.id)]
    if linked:
        run.cut(rng.choice(linked))


def _pause(rng: random.Random, run: Cluster) -> None:
    node = rng.choice([0, *run.hosts])
    run.calm_at = max(run.calm_at, run.clock.now + 4.0)
    run.clock.after(4.0, run.network.mend, run.network.isolate(node))


def _kill_a_gateway(rng: random.Random, run: Cluster) -> None:
    host = run.host(rng.choice(sorted({name for spec in run.setup.plan.specs.values() for name in spec.via})))
    strike(run, host)
    host.crash()


def _replace_the_root(rng: random.Random, run: Cluster) -> None:
    after_s = rng.choice((0.5, 4.0))
    run.calm_at = max(run.calm_at, run.clock.now + after_s)
    run.replace_root(after_s)


TROUBLES = (_cut, _cut, _pause, _pause, _kill_a_gateway, _replace_the_root)


def failures(runs: Callable[..., Departing], seeds: range, *how: int) -> Iterator[str]:
    """How to make runs again that break a rule, and which."""
    for seed in seeds:
        with collecting_afterwards():
            broken = _broken(runs(seed, *how))
        if broken:
            yield f"{runs.__name__}{(seed, *how)}: {broken[:5]}"


def _broken(run: Departing) -> list[str]:
    run.run()
    return run.violations()
