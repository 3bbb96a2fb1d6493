"""Whether `auto` has hosts get their files from each other, in a swarm, and why. Pure.

A stream takes little more than F/R where it goes over each uplink once: hosts of one switch have to follow
each other in it. Where nobody said on which they hang, that may be so (their names often tell), and it may
as well go over an uplink once for each host behind it: in an order that ignored 3 racks of 4 hosts it took
4.1 F/R. A swarm knows no order: 12 hosts on one switch took 1.8 F/R, more of them about as much, and 3 racks
of which it knew nothing 3.0. So it is the better one only where hosts hang on several switches, and nobody
knows which.

And a swarm takes longer to begin, and serves those that have libtorrent: others would get by rsync, one after
the other, what a stream brings to all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nile.cascade.tree import Tree as Hosts
from nile.sync.options import Method, SyncOptions
from nile.sync.targets import Difference, Target
from nile.topology.amounts import size

MANY = 48
"""As many ports has a switch: so many hosts may well be on one, and more can't be."""
BEGINS_S = 7.5
"""What it takes a swarm of 50 hosts to begin: F/R, which is the least that it saves, has to be more."""
RATE = 125e6
"""Bytes a second that ports move, where nobody said it: 1 Gbit/s."""
ABLE = 0.9
"""The part of the hosts that has to have libtorrent."""


def is_known(hosts: Hosts, racks: Iterable[str], ids: Iterable[int]) -> bool:
    """Did anybody say how these hang together? `racks` are their switches or smallest groups, in words."""
    said = any(hosts.switch(each) is not None or hosts.sites[each] is not None for each in ids)
    return said or hosts.drawn or bool(hosts.gateways) or len(set(racks)) > 1


def is_much(moved: float, rate: float | None) -> bool:
    """Is there so much to come to each host that it pays to begin a swarm?"""
    return moved / (rate or RATE) > BEGINS_S


def reason(hosts: int, moved: float) -> str:
    """Why a swarm brings it."""
    return (
        f"a swarm: {size(moved)} for {hosts} hosts, more than one switch has ports for, and nobody said on "
        "which they hang (`switch` in the route file); a stream might go over an uplink many times"
    )


def may_be_swarm(options: SyncOptions, hosts: int) -> bool:
    """May so many hosts get a swarm, for all that is known before they have said what they have?"""
    return options.method is Method.AUTO and options.can_seed and hosts > MANY


def swarm_instead(
    options: SyncOptions,
    hosts: Hosts,
    racks: Sequence[str],
    found: dict[Target, Difference | None],
    unpackable: str,
    room: int,
) -> str:
    """Why these hosts, which differ so, get a swarm and not a stream; "" where they get a stream.

    A torrent has an archive in it: of a source that is `unpackable` there may be none. `room` is how many
    bytes the source takes on a disk: no stream to who has nothing of it brings more, be there holes.
    """
    if unpackable or not may_be_swarm(options, len(found)):
        return ""
    if is_known(hosts, racks, (target.id for target in found)):
        return ""
    if not all(target.rsync is not None for target in found):
        return ""  # who has none is sure of an archive, and of a swarm isn't
    if sum(target.able for target in found) < ABLE * len(found):
        return ""
    moves = sorted(
        min(each.move, room) if target.has_nothing else each.move
        for target, each in found.items()
        if each is not None
    )
    moved = moves[len(moves) // 2] if moves else 0
    return reason(len(found), moved) if is_much(moved, options.rate) else ""
