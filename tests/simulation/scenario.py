"""Runs made of chance: tree, zones, limits, commands, logins and faults, all from one seed."""

from __future__ import annotations

import random
from dataclasses import replace

from nile.options import ExecOptions, Leftover, Limits, Pacing, Timeouts
from nile.simulation.agent import SimAgent
from nile.simulation.cluster import Cluster, Setup
from nile.simulation.commands import IgnoreTerm, Leave, Script, Sleep, Write
from nile.simulation.faults import plan_faults, strike
from nile.simulation.hosts import SILENT, SimHost
from nile.simulation.pipes import Wire
from nile.simulation.root import RootTimes
from tests.simulation.stutter import Stuttering
from tests.simulation.trees import any_tree, any_zone

GRACE_S = 1.0
REFUSALS = ("refused", "name", "authentication", "host-key-unknown")


def any_script(name: str, rng: random.Random) -> Script:
    """What a host's command does: waits, prints a little or a lot, leaves processes, fails."""
    if rng.random() < 0.1:
        yield IgnoreTerm()
    for serial in range(rng.randrange(4)):
        stream = rng.choice(("stdout", "stderr"))
        size = rng.choice((10, 200, 5_000, 70_000, 400_000))
        text = f"{name} {serial} {rng.random()}\n".encode()
        yield Write(stream, memoryview(text * (size // len(text) + 1))[:size])
        yield Sleep(rng.random())
    if rng.random() < 0.15:
        seconds = rng.choice((None, 0.1, 3.0))
        yield Leave(f"left by {name}", seconds, ignores_term=rng.random() < 0.3)
    yield Sleep(rng.choice((0.0, 0.5, 4.0)))
    return rng.choice((0, 0, 0, 0, 1, 255))


def any_run(seed: int, hosts: int, faults: int, interrupts: bool = True, cautious: bool = False) -> Cluster:
    """A cluster ready to run, with up to so many faults, and perhaps an interrupt.

    `cautious`: it has canaries, waves, or a bound on failures.
    """
    rng = random.Random(seed)
    limits = Limits(
        parallel=rng.choice((1, 4, 16, 16)),
        logins=rng.choice((None, None, None, 8, 8 + hosts // 6)),
        stages=4,
    )
    timeouts = Timeouts(connect_s=8.0, lease_s=20.0, command_s=rng.choice((None, None, None, 1.0)))
    plan = any_tree(rng, hosts, limits, timeouts)
    if rng.random() < 0.4:
        plan = any_zone(rng, plan)
    options = ExecOptions(
        "a command",
        fanout=rng.choice((None, None, 1 + hosts // 100, 7 + hosts // 20, hosts)),
        leftover=rng.choice((Leftover.KEEP, Leftover.KILL, Leftover.FAIL)),
        grace_s=GRACE_S,
        per_host={node.host: f"line of {node.host}" for node in plan.asked() if seed % 2},
    )
    if cautious:
        options = any_caution(random.Random(f"caution {seed}"), options, hosts)
    wire = Wire(rng.choice((0.0, 0.001, 0.05)), rng.choice((None, None, 2e6)))
    times = RootTimes(rng.choice((0.0, 0.01, 0.3)), rng.choice((0.0, 0.0, 0.2)))
    stutter: dict[str, type[SimAgent]] = {node.host: Stuttering for node in plan.nodes if rng.random() < 0.03}
    cluster = Cluster(Setup(plan, options, any_script, rng.getrandbits(64), wire, times, agents=stutter))
    for host in cluster.hosts.values():
        _any_login(rng, cluster, host)
    _any_firewall(rng, cluster)
    plan_faults(random.Random(rng.getrandbits(64)), cluster, faults)
    if interrupts and rng.random() < 0.2:
        _any_interrupt(rng, cluster)
    return cluster


def any_steering(rng: random.Random, cluster: Cluster) -> None:
    """A user who pauses it, lets it go on, and sets how much goes on at a time."""
    for _ in range(rng.randrange(4)):
        at = rng.random() * 8.0
        chance = rng.random()
        if chance < 0.5:
            cluster.steer_at(at, Pacing(paused=True))
            cluster.steer_at(at + rng.choice((0.1, 2.0, 40.0)), Pacing(paused=False))
        elif chance < 0.8:
            cluster.steer_at(at, Pacing(parallel=rng.choice((1, 3, 30))))
        else:
            cluster.steer_at(at, Pacing(fanout=rng.choice((1, 5, 50))))
    cluster.steer_at(60.0, Pacing(paused=False))  # of two pauses the longer one may have begun first


def any_caution(rng: random.Random, options: ExecOptions, hosts: int) -> ExecOptions:
    """The same with some of what holds a run back."""
    return replace(
        options,
        batch=rng.choice((None, 1 + hosts // 10, 1 + hosts // 3)),
        canary=rng.choice((None, 1, 3)),
        yes=rng.random() < 0.5,
        max_failures=rng.choice((None, 0, hosts // 10, hosts // 4)),
    )


def _any_login(rng: random.Random, cluster: Cluster, host: SimHost) -> None:
    login, chance = host.login, rng.random()
    if chance < 0.03:
        login.code = rng.choice(REFUSALS)
    elif chance < 0.04:
        login.silent = True
    elif chance < 0.05:
        login.no_python = True
    elif chance < 0.10:
        login.startups = rng.randrange(1, 4)
    elif chance < 0.15:
        login.noise = b"Welcome to this machine\n" * rng.randrange(1, 100)
    elif chance < 0.17:
        login.seconds = rng.choice((1.0, 3.0))
    elif chance < 0.18:
        login.hangs = True
    elif chance < 0.20:
        host.wire = Wire(rng.choice((0.2, 0.6)), 300_000.0)
    if login.code or login.silent or login.no_python or login.hangs:
        strike(cluster, host)


def _any_firewall(rng: random.Random, cluster: Cluster) -> None:
    """Some hosts let in nobody but the root and their gateways, or all but one or two."""
    if rng.random() < 0.7:
        return
    code = rng.choice(("refused", "authentication", SILENT))
    relays = [host.id for host in cluster.hosts.values() if host.node.children]
    strict = rng.random() < 0.5
    for host in cluster.hosts.values():
        if rng.random() < 0.2 and not cluster.setup.plan.specs[host.name].via:
            barred = relays if strict else rng.sample(relays, min(2, len(relays)))
            host.login.barred = dict.fromkeys(barred, code)


def _any_interrupt(rng: random.Random, cluster: Cluster) -> None:
    at = rng.random() * 6.0
    cluster.interrupt_at(at, GRACE_S)
    if rng.random() < 0.5:
        cluster.interrupt_at(at + rng.random(), 0.0)
