"""What a copy to hosts would be, before any of them is asked: which way, over which uplinks, how long. Pure.

Hosts are taken to have nothing of the source, and every port and uplink to
move as much in each direction at one time. No copy to any number of hosts
takes less than F/R then: a host's port moves all of it once. F is what the way
that is taken has to move: a stream to hosts that have nothing leaves out holes,
of which rsync and a swarm send every byte.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from nile.cascade.tree import Tree
from nile.sync.choosing import MANY, is_known, is_much, reason
from nile.sync.options import Method
from nile.sync.queues import AT_ONE_TIME
from nile.sync.streaming import LEAST, rack_by_rack
from nile.topology.automatic import rack
from nile.topology.model import ROOT_ID, ROOT_NAME, Plan

SWARM = (1.8, 3.0)
"""F/R that swarms took: of 12 hosts on one switch, and on three of which it knew nothing (see choosing)."""
Hops = list[tuple[int, int]]
"""(from, to): ids of nodes between which all of it goes once."""


@dataclass(frozen=True, slots=True)
class Uplink:
    """What goes in and out of a place (a switch, a group, or else a branch of the tree), in bytes."""

    name: str
    hosts: int
    """That are to have it."""
    stream_in: int
    stream_out: int
    rsync_in: int
    rsync_out: int


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A copy. `chain` are names in the order of a stream, with the place of each."""

    method: Method
    why: str
    size: int
    """Of the files, in bytes: what rsync and a swarm move."""
    streamed: int
    """What a stream moves."""
    rate: float
    """R, in bytes a second."""
    least_s: float
    """F/R."""
    stream_s: float
    rsync_s: float
    swarm_s: tuple[float, float]
    """At least and at most, from when its peers have begun."""
    chain: tuple[tuple[str, str], ...]
    uplinks: tuple[Uplink, ...]

    @property
    def moved(self) -> int:
        """F, in bytes."""
        return self.streamed if self.method is Method.STREAM else self.size


def foresee(plan: Plan, size: int, rate: float, *, holes: int = 0, can_seed: bool = False) -> Foreseen:
    """What copying so many bytes along a plan would be, at so many bytes a second.

    `holes` of them a stream leaves out. `can_seed`: there is a libtorrent here, and hosts are taken to
    have one, too.
    """
    tree = Tree(plan, {})
    places = _places(plan)
    asked = [node_id for node_id in rack_by_rack(tree, places.__getitem__) if plan.node(node_id).asked]
    stream = list(pairwise([ROOT_ID, *asked]))
    rsync = {taker: _giver(plan, taker) for taker in asked}
    hops = [hop for taker, giver in rsync.items() for hop in _way(plan, giver, taker)]
    streamed = size - holes
    chosen, why = _chosen(plan, tree, asked, streamed, rate if can_seed else None)
    whole_s, streamed_s = size / rate, streamed / rate
    return Foreseen(
        chosen,
        why,
        size,
        streamed,
        rate,
        streamed_s if chosen is Method.STREAM else whole_s,
        streamed_s * max(1, _busiest(stream, places)),
        whole_s * max(_rounds(rsync), _busiest(hops, places)),
        (whole_s * SWARM[0], whole_s * SWARM[1]),
        tuple((plan.node(node_id).host, places[node_id]) for node_id in asked),
        tuple(_uplinks(plan, asked, stream, hops, places, (streamed, size))),
    )


def _chosen(plan: Plan, tree: Tree, asked: list[int], size: int, seeds: float | None) -> tuple[Method, str]:
    """Which way, and why; `seeds`: this machine can be the seed of a swarm, at that rate."""
    racks = [rack(plan.specs[plan.node(node_id).host]) for node_id in asked]
    blind = not is_known(tree, racks, asked)
    if seeds is not None and blind and len(asked) > MANY and is_much(size, seeds):
        return Method.SWARM, f"{reason(len(asked), size)}; if they have libtorrent"
    if len(asked) >= LEAST:
        same = f"{len(asked)} hosts are to get the same"
        return Method.STREAM, f"{same}, recorded once and passed on from host to host"
    return Method.RSYNC, "a stream is for hosts that have the same, and this is one host"


def _places(plan: Plan) -> dict[int, str]:
    """Where each node is: its switch or smallest group; where it has none, the branch that it hangs in."""
    places = {ROOT_ID: ROOT_NAME}
    tops: dict[int, str] = {}
    for node in plan.nodes:  # parents first
        tops[node.id] = tops.get(node.parent, f"branch {node.host}")
        spec = plan.specs.get(node.host)
        places[node.id] = (rack(spec) if spec else "") or tops[node.id]
    return places


def _giver(plan: Plan, taker: int) -> int:
    """Who copies to a host by rsync over the links: the one above it, if that gets it too."""
    above = plan.node(taker).parent
    return above if above != ROOT_ID and plan.node(above).asked else ROOT_ID


def _way(plan: Plan, giver: int, taker: int) -> Iterator[tuple[int, int]]:
    """Link by link, as copies over ssh go."""
    while taker != giver:
        above = plan.node(taker).parent
        yield above, taker
        taker = above


def _rounds(givers: dict[int, int]) -> int:
    """How often all of it goes over a port, one after the other, until the last host has it.

    A giver serves a few at one time, which share its port: first those that serve most in turn.
    """
    takers: dict[int, list[int]] = defaultdict(list)
    weights: Counter[int] = Counter()
    for taker, giver in reversed(givers.items()):  # those below come before those above them
        takers[giver].append(taker)
        weights[giver] += 1 + weights[taker]
    last = 0
    todo = [(ROOT_ID, 0)]
    while todo:
        giver, begun = todo.pop()
        last = max(last, begun)
        served = sorted(takers[giver], key=lambda taker: -weights[taker])
        for number, taker in enumerate(served):
            together = min(len(served), (number // AT_ONE_TIME + 1) * AT_ONE_TIME)
            todo.append((taker, begun + together))
    return last


def _crossings(hops: Hops, places: dict[int, str]) -> tuple[Counter[str], Counter[str]]:
    """How often all of it goes into each place, and out of it."""
    across = [(places[one], places[other]) for one, other in hops if places[one] != places[other]]
    return Counter(to for _, to in across), Counter(of for of, _ in across)


def _busiest(hops: Hops, places: dict[int, str]) -> int:
    """How often it goes over the uplink that has most to move."""
    into, out = _crossings(hops, places)
    return max([*into.values(), *out.values()], default=0)


def _uplinks(
    plan: Plan, asked: list[int], stream: Hops, rsync: Hops, places: dict[int, str], sizes: tuple[int, int]
) -> Iterator[Uplink]:
    """`sizes`: what goes each time as a stream, and by rsync."""
    hosts = Counter(places[node_id] for node_id in asked)
    (stream_in, stream_out), (rsync_in, rsync_out) = (_crossings(hops, places) for hops in (stream, rsync))
    for place in dict.fromkeys([ROOT_NAME, *(places[node_id] for node_id in asked)]):
        streamed = (times[place] * sizes[0] for times in (stream_in, stream_out))
        copied = (times[place] * sizes[1] for times in (rsync_in, rsync_out))
        yield Uplink(place, hosts[place], *streamed, *copied)
