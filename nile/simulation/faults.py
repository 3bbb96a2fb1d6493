"""What may befall a cluster, at any moment, one thing or several in a row.

A host is *struck* where its own command may be lost by it: the machine or its
agent dies, or it is out of reach for so long that its lease may end. Nobody
else may suffer from that, and nobody at all from what is shorter or befalls a
link only.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from nile.simulation.cluster import Cluster
from nile.simulation.hosts import SimHost
from nile.simulation.network import Block

SHORT_S = (0.3, 2.0, 4.0)
"""Of these, several in a row are shorter than a lease."""
LONG_S = (9.0, 14.0, 25.0, 60.0)

Fault = Callable[[random.Random, Cluster, SimHost], None]


def strike(cluster: Cluster, host: SimHost) -> None:
    """Remember that a fault befell this host: nothing else may suffer."""
    host.struck = True


def strike_below(cluster: Cluster, host: SimHost) -> None:
    """A relay that lies may harm whatever is below it."""
    strike(cluster, host)
    for child in host.node.children:
        strike_below(cluster, cluster.hosts[child])


def plan_faults(rng: random.Random, cluster: Cluster, most: int) -> None:
    """Up to so many faults: alone, or the next one while the tree heals from the one before."""
    at = 8.0 * rng.random()
    host = _any_host(rng, cluster)
    count = rng.randrange(most + 1)
    cluster.disturbed = count > 0
    for _ in range(count):
        cluster.at(at, rng.choice(FAULTS), rng, cluster, host)
        cluster.calm_at = max(cluster.calm_at, at)
        if rng.random() < 0.5:
            at += 4.0 * rng.random()
            host = _near(rng, cluster, host)
        else:
            at = 8.0 * rng.random()
            host = _any_host(rng, cluster)


def _any_host(rng: random.Random, cluster: Cluster) -> SimHost:
    """Relays are hit as often as leaves, although they are few."""
    hosts = list(cluster.hosts.values())
    relays = [host for host in hosts if host.node.children]
    return rng.choice(relays if relays and rng.random() < 0.5 else hosts)


def _near(rng: random.Random, cluster: Cluster, host: SimHost) -> SimHost:
    """The same host, its parent, a brother or a child; or any."""
    plan = cluster.setup.plan
    near = [host.id, host.node.parent, *plan.children(host.node.parent)[:5], *host.node.children[:5]]
    chosen = rng.choice([each for each in near if each])
    return cluster.hosts[chosen] if rng.random() < 0.7 else _any_host(rng, cluster)


# What strikes a host.


def _crash(_: random.Random, cluster: Cluster, host: SimHost) -> None:
    strike(cluster, host)
    host.crash()


def _reboot(rng: random.Random, cluster: Cluster, host: SimHost) -> None:
    _crash(rng, cluster, host)
    _later(cluster, rng.choice((0.5, 2.0, 6.0, 12.0)), host.boot)


def _kill(rng: random.Random, cluster: Cluster, host: SimHost) -> None:
    strike(cluster, host)
    rng.choice((host.kill_agent, host.kill_warden, host.kill_both))()


def _freeze_for_good(_: random.Random, cluster: Cluster, host: SimHost) -> None:
    strike(cluster, host)
    host.freeze()


def _freeze_for_long(rng: random.Random, cluster: Cluster, host: SimHost) -> None:
    strike(cluster, host)
    _freeze(cluster, host, rng.choice(LONG_S))


def _isolate_for_good(_: random.Random, cluster: Cluster, host: SimHost) -> None:
    strike(cluster, host)
    cluster.network.isolate(host.id)


def _isolate_for_long(rng: random.Random, cluster: Cluster, host: SimHost) -> None:
    strike(cluster, host)
    _mend_after(cluster, _any_cable(rng, cluster, host.id), rng.choice(LONG_S))


def _bar(rng: random.Random, cluster: Cluster, host: SimHost) -> None:
    """Nobody gets in any more, though what is in goes on."""
    strike(cluster, host)
    host.login.code = rng.choice(("refused", "authentication"))


def _hang_logins(_: random.Random, cluster: Cluster, host: SimHost) -> None:
    strike(cluster, host)
    host.login.hangs = True


# What nobody may suffer from.


def _cut(_: random.Random, cluster: Cluster, host: SimHost) -> None:
    if host.agent is None:  # of its only login nothing comes any more
        strike(cluster, host)
    cluster.cut(host)


def _hang_up(_: random.Random, cluster: Cluster, host: SimHost) -> None:
    cluster.hang_up(host)


def _freeze_for_a_moment(rng: random.Random, cluster: Cluster, host: SimHost) -> None:
    _freeze(cluster, host, rng.choice(SHORT_S))


def _isolate_for_a_moment(rng: random.Random, cluster: Cluster, host: SimHost) -> None:
    _mend_after(cluster, _any_cable(rng, cluster, host.id), rng.choice(SHORT_S))


def _partition_for_a_moment(rng: random.Random, cluster: Cluster, _: SimHost) -> None:
    """Half of the hosts don't reach the other half, nor perhaps the root."""
    ids = [0, *cluster.hosts]
    half = frozenset(rng.sample(ids, len(ids) // 2))
    block = Block(half, frozenset(ids) - half, rng.random() < 0.5)
    _mend_after(cluster, cluster.network.block(block), rng.choice(SHORT_S))


def _isolate_the_root_for_a_moment(rng: random.Random, cluster: Cluster, _: SimHost) -> None:
    _mend_after(cluster, _any_cable(rng, cluster, 0), rng.choice(SHORT_S))


def _replace_the_root(rng: random.Random, cluster: Cluster, _: SimHost) -> None:
    """It is killed, and another one takes the run over."""
    seconds = rng.choice(SHORT_S)
    cluster.calm_at = max(cluster.calm_at, cluster.clock.now + seconds)
    cluster.replace_root(seconds)


def _slow_down_logins(rng: random.Random, _: Cluster, host: SimHost) -> None:
    host.login.seconds = rng.choice((0.5, 2.0, 3.5))


FAULTS: tuple[Fault, ...] = (
    _crash,
    _crash,
    _reboot,
    _kill,
    _kill,
    _freeze_for_good,
    _freeze_for_long,
    _isolate_for_good,
    _isolate_for_long,
    _bar,
    _hang_logins,
    _cut,
    _cut,
    _hang_up,
    _hang_up,
    _freeze_for_a_moment,
    _isolate_for_a_moment,
    _partition_for_a_moment,
    _isolate_the_root_for_a_moment,
    _replace_the_root,
    _slow_down_logins,
)


def _freeze(cluster: Cluster, host: SimHost, seconds: float) -> None:
    host.freeze()
    _later(cluster, seconds, host.thaw)


def _any_cable(rng: random.Random, cluster: Cluster, node: int) -> Block:
    """Both directions of a node's cable, or only one."""
    outward, inward = rng.choice(((True, True), (True, False), (False, True)))
    return cluster.network.isolate(node, outward=outward, inward=inward)


def _mend_after(cluster: Cluster, block: Block, seconds: float) -> None:
    _later(cluster, seconds, cluster.network.mend, block)


def _later(cluster: Cluster, seconds: float, call: Callable[..., object], *arguments: object) -> None:
    cluster.calm_at = max(cluster.calm_at, cluster.clock.now + seconds)
    cluster.clock.after(seconds, call, *arguments)
