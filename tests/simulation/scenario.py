"""Runs made of chance: tree, limits, commands, logins and faults, all from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from nile.options import ExecOptions, Leftover, Limits, Timeouts
from tests.simulation.cluster import Cluster, Setup
from tests.simulation.commands import IgnoreTerm, Leave, Script, Sleep, Write
from tests.simulation.hosts import SimHost
from tests.simulation.pipes import Wire
from tests.simulation.root import RootTimes
from tests.simulation.trees import any_tree

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
        yield Write(stream, (text * (size // len(text) + 1))[:size])
        yield Sleep(rng.random())
    if rng.random() < 0.15:
        seconds = rng.choice((None, 0.1, 3.0))
        yield Leave(f"left by {name}", seconds, ignores_term=rng.random() < 0.3)
    yield Sleep(rng.choice((0.0, 0.5, 4.0)))
    return rng.choice((0, 0, 0, 0, 1, 255))


def any_run(seed: int, hosts: int, faults: int, interrupts: bool = True) -> Cluster:
    """A cluster ready to run, with up to so many faults, and perhaps an interrupt."""
    rng = random.Random(seed)
    limits = Limits(
        parallel=rng.choice((1, 3, 16)),
        logins=rng.choice((None, None, 8, 8 + hosts // 6)),
        stages=4,
    )
    timeouts = Timeouts(connect_s=5.0, lease_s=15.0, command_s=rng.choice((None, None, None, 1.0)))
    plan = any_tree(rng, hosts, limits, timeouts)
    options = ExecOptions(
        "a command",
        fanout=rng.choice((None, None, 1 + hosts // 100, 7 + hosts // 20, hosts)),
        leftover=rng.choice(list(Leftover)),
        grace_s=GRACE_S,
    )
    wire = Wire(rng.choice((0.0, 0.001, 0.05)), rng.choice((None, None, 2e6)))
    times = RootTimes(rng.choice((0.0, 0.01, 0.3)), rng.choice((0.0, 0.0, 0.2)))
    cluster = Cluster(Setup(plan, options, any_script, rng.getrandbits(64), wire, times))
    for host in cluster.hosts.values():
        _any_login(rng, cluster, host)
    for _ in range(rng.randrange(faults + 1)):
        _any_fault(rng, cluster)
    if interrupts and rng.random() < 0.2:
        _any_interrupt(rng, cluster)
    return cluster


def strike(cluster: Cluster, host: SimHost) -> None:
    """Remember that a fault befell this host: nothing else may suffer."""
    host.struck = True


def strike_below(cluster: Cluster, host: SimHost) -> None:
    """A relay that lies may harm whatever is below it."""
    strike(cluster, host)
    for child in host.node.children:
        strike_below(cluster, cluster.hosts[child])


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
    if login.code or login.silent or login.no_python:
        strike(cluster, host)


def _any_fault(rng: random.Random, cluster: Cluster) -> None:
    host = rng.choice(list(cluster.hosts.values()))
    at = rng.random() * 8.0
    strike(cluster, host)
    deeds: tuple[Callable[[], object], ...] = (
        host.crash,
        host.kill_agent,
        host.freeze,
        lambda: _freeze_for(cluster, host, rng.choice((0.5, 4.0, 12.0))),
        lambda: cluster.cut(host),
    )
    cluster.at(at, rng.choice(deeds))


def _freeze_for(cluster: Cluster, host: SimHost, seconds: float) -> None:
    host.freeze()
    cluster.clock.after(seconds, host.thaw)


def _any_interrupt(rng: random.Random, cluster: Cluster) -> None:
    at = rng.random() * 6.0
    cluster.interrupt_at(at, GRACE_S)
    if rng.random() < 0.5:
        cluster.interrupt_at(at + rng.random(), 0.0)
