"""What a run that copies says to people."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from nile.cascade.lastwords import classify
from nile.sync.targets import Difference
from nile.sync.ways import Way
from nile.topology.amounts import size
from nile.topology.model import ROOT_ID

MOST_DELETED = 1000
"""Files that are deleted on a host without anybody being asked, and not more than this part of them:"""
MOST_DELETED_OF = 0.1
SWARM_OF = "a swarm of "
"""How it is said that a run has one."""
MOST_REASONS = 5
"""Why hosts couldn't tell something, each said once."""
MOST_COUNTS = 5
"""Different numbers of files that would be deleted, each said once with the hosts that have it,"""
MOST_FOLDED = 100
"""and letters of a set of these."""
LEAST_RATED = 1 << 20
"""Bytes of which it can be said at what rate they came: with fewer, it is delays that take the time."""


def many_deletions(doomed: Mapping[str, tuple[int, int]]) -> str:
    """What would be deleted, by host (how many, of how many), where that is a lot; else ""."""
    many = {
        host: numbers
        for host, numbers in doomed.items()
        if numbers[0] > MOST_DELETED or numbers[0] > MOST_DELETED_OF * numbers[1]
    }
    if not many:
        return ""
    by_numbers: dict[tuple[int, int], list[str]] = {}
    for host, numbers in doomed.items():
        if numbers[0]:
            by_numbers.setdefault(numbers, []).append(host)
    most = sorted(by_numbers, reverse=True)
    said = [f"{extra} of {of} on {_few_hosts(by_numbers[extra, of])}" for extra, of in most[:MOST_COUNTS]]
    if fewer := sum(len(by_numbers[numbers]) for numbers in most[MOST_COUNTS:]):
        said.append(f"fewer on {fewer} more")
    return f"files and directories would be deleted: {'; '.join(said)}"


def _few_hosts(names: Sequence[str]) -> str:
    """As `some_hosts`, but short whatever they are called: it is said of each of many hosts."""
    said = some_hosts(names)
    return said if len(said) <= MOST_FOLDED else f"{names[0]} and {len(names) - 1} more"


def some_hosts(names: Sequence[str]) -> str:
    """A folded set of hosts, and how many they are."""
    from nile.topology.hostsets import fold  # brings ClusterShell: only where something is folded

    return f"{fold(names)} ({len(names)})"


def flip_decided(to: str, dest: bytes, names: Sequence[str], asked: int) -> str:
    """What a root is about to tell hosts."""
    where = os.fsdecode(dest)
    return f"decided: {to} is to be current in {where} on {len(names)} of {asked} hosts: {some_hosts(names)}"


def settling_decided(how: str, dest: bytes, names: Sequence[str]) -> str:
    """What a root is about to tell hosts on which a flip was interrupted."""
    what = {"finish": "gone through with", "undo": "taken back", "leave": "over as it is"}[how]
    return (
        f"decided: a flip that was interrupted in {os.fsdecode(dest)} is to be {what} on {some_hosts(names)}"
    )


def taken_back_too(to: str, names: Sequence[str]) -> str:
    """On which hosts a flip is taken back that was over there."""
    return f"the flip to {to} is taken back also where it was over: {some_hosts(names)}"


def stays_current(to: str, names: Sequence[str]) -> str:
    """On which hosts a release stays that is taken back on others."""
    where = some_hosts(names)
    return f"{to} stays current on {where}, by a flip of another run, which is over: see `nile rollback`"


def dry_run(found: Difference, delete: bool) -> bytes:
    """The lines of a difference that say what would be done."""
    kept = [
        line for line in found.lines.splitlines(keepends=True) if delete or not line.startswith(b"extra ")
    ]
    return b"".join(kept)


def other_file_systems(paths: list[bytes]) -> str:
    """That what is mounted below the source is left out."""
    first = paths[0].decode("utf-8", "backslashreplace")
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"other file systems below the source are left out: {first}{others}"


def which_way(streamed: Sequence[int], alone: int, empty: int = 0, bare: int = 0) -> str:
    """Which way hosts get their copies, and why.

    How many share each stream, how many aren't alike, and how many have nothing, and unpack an archive:
    of these `bare` have no rsync.
    """
    words = []
    if streamed:
        which = "one stream" if len(streamed) == 1 else f"{len(streamed)} streams"
        words.append(f"{which} for {' and '.join(map(str, streamed))} hosts that have the same")
    if alone:
        words.append(f"rsync for {alone} that {'has' if alone == 1 else 'have'} what no other has")
    if empty:
        rsync = f", {bare} of them without rsync" if bare < empty else ", and no rsync"
        words.append(
            f"an archive for {empty} that {'has' if empty == 1 else 'have'} nothing{rsync * (bare > 0)}"
        )
    return "; ".join(words)


def left_out(whom: Sequence[tuple[str, str]]) -> str:
    """Who was left out of a stream, and why: these are served afterwards."""
    return _served_otherwise("left out of the stream, to be served by another host", whom)


def _served_otherwise(what: str, whom: Sequence[tuple[str, str]]) -> str:
    name, reason = whom[0]
    others = f", and {len(whom) - 1} more" if len(whom) > 1 else ""
    return f"{what}: {name} ({reason}){others}"


def swarm_begins(hosts: int, *, plain: bool) -> str:
    """Which way hosts get their files, and whether anybody else can read them."""
    how = "in the clear" if plain else "encrypted"
    return f"{SWARM_OF}{hosts} hosts, and a seed at the root, {how}; rsync for whoever it doesn't serve"


NO_RACKS = "no limit for racks: the route file says of no two hosts that they are on different switches"


def no_swarm(reason: str, *, asked_for: bool = True) -> str:
    """That there is none, and why; where it wasn't asked for, they get what they had got without."""
    return f"no swarm: {reason}; hosts are served " + ("by rsync" if asked_for else "as without one")


def tracker_begins(address: str, port: int, info_hash: str) -> str:
    """Where others find the swarm."""
    host = f"[{address}]" if ":" in address else address
    base = f"http://{host}:{port}"
    return f"the tracker is {base}/announce, the torrent {base}/metainfo/{info_hash}.torrent"


def no_tracker(reason: str) -> str:
    """That there is none, and why."""
    return f"no tracker: {reason}; hosts are told of each other without it"


def not_refused(names: Sequence[str]) -> str:
    """Of whom no peer can be told to have nothing to do with it."""
    known = f"no address is known here of {some_hosts(names)}"
    return f"{known}: hosts of other sites aren't told of them, but don't refuse them either"


def turned_away(address: str) -> str:
    """Who isn't answered."""
    return f"the tracker doesn't answer {address}: it is no address of the hosts that were asked for"


def seed_ended(reason: str) -> str:
    """That the root serves nobody any more, and why."""
    return f"the seed at the root has ended ({reason}): hosts go on with what they have"


def left_to_rsync(whom: Sequence[tuple[str, str]]) -> str:
    """Who got nothing by the swarm, or not all, and why."""
    return _served_otherwise("left out of the swarm, to be served by rsync", whom)


def serve_too(names: Sequence[str]) -> str:
    """Who is to serve what it has."""
    return f"of the seeders {some_hosts(names)} had it already, and are to serve that"


def serve_no_release(names: Sequence[str]) -> str:
    """Who is a seeder, and serves nothing."""
    return f"of the seeders {some_hosts(names)} had the release already, and don't serve it"


def not_seeding(whom: Sequence[tuple[str, str]]) -> str:
    """Who should have served what it had, and why it didn't, or no longer."""
    return _some_reasons("seeders that didn't serve what they had", whom)


def damaged(whom: Mapping[str, Sequence[str]]) -> str:
    """Who sent what isn't as the torrent has it, and who has nothing more to do with him for that."""
    said = [f"{name}, banned by {some_hosts(by)}" for name, by in whom.items()]
    more = f"; and {len(said) - MOST_REASONS} more" if len(said) > MOST_REASONS else ""
    return (
        f"damaged pieces came from {'; '.join(said[:MOST_REASONS])}{more}: nothing of them was used; look at "
        "disk and memory there, and at its copy with `nile sync --checksum`"
    )


def not_checked(whom: Sequence[tuple[str, str]]) -> str:
    """Where nobody can tell who signed what came, and why."""
    return _some_reasons("taken from the tree, without a look at who signed it", whom)


def _some_reasons(what: str, whom: Sequence[tuple[str, str]]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, reason in whom:
        known = reason in by_reason or len(by_reason) < MOST_REASONS
        by_reason.setdefault(reason if known else "for other reasons", []).append(name)
    said = "; ".join(f"{some_hosts(names)}: {reason}" for reason, names in by_reason.items())
    return f"{what}: {said}"


def no_wheel(python: str) -> str:
    """Why a host without libtorrent isn't brought any."""
    return f"it has no libtorrent, and none is here that fits its {python}"


def fetch_hint(wanted: Sequence[tuple[str, str, str]]) -> str:
    """What brings a libtorrent for those Pythons next time: their versions, machines and libcs."""
    words = ["nile swarm fetch-peers"]
    for option, values in zip(("--python", "--machine", "--libc"), zip(*wanted, strict=True), strict=True):
        words += [f"{option} {value}" for value in sorted(set(values))]
    return f"`{' '.join(words)}` has one ready for the next swarm"


def swarm_ended(served: int, hosts: int, seed: int, sent: int) -> str:
    """How many a swarm served, and how much of what was sent came from its seed."""
    share = 100 * seed / sent
    return f"the swarm served {served} of {hosts} hosts: {size(sent)} sent, {share:.1f} % by the seed"


def said_by_ssh(said: str) -> str:
    """What the last words of an ssh mean that was to lead to a port."""
    if "administratively prohibited" in said:
        return "its sshd forwards to no port (AllowTcpForwarding, DisableForwarding)"
    return classify(said, 255).reason


def through_ssh(takers: int, of: int, names: tuple[str, str], why: str) -> str:
    """How many hosts got a stream through ssh, and why: of one, from whom and to whom."""
    giver, taker = names
    which = f"{takers} of {of} hosts got the stream through ssh"
    return f"{which}: {giver} reaches no other port of {taker} ({why})"


def summary(sent: Mapping[int, int], began_s: float, now_s: float) -> str:
    """What went over the wire, from whom; "" where nothing did."""
    if not sent:
        return ""
    root, all_of_it = sent.get(ROOT_ID, 0), sum(sent.values())
    return (
        f"{size(all_of_it)} sent in {max(now_s - began_s, 0.01):.2f} s: "
        f"{size(root)} by the root, {size(all_of_it - root)} by relays"
    )


def against_bounds(
    seconds: float, most: int, way: Way | None, names: tuple[str, str], rate: float | None
) -> list[str]:
    """How near a run came to what its ways allow: a line for each of what is known.

    `most`: the bytes that a host got; `way`: the slowest one, from whom to whom (`names`); `rate`: what
    every port moves, as the user said.
    """
    parts = []
    if way is not None and most >= LEAST_RATED:
        least = most / way.rate
        parts.append(
            f"slowest way: {names[0]} to {names[1]}, {size(way.rate)}/s; {size(most)} take {least:.2f} s "
            f"at that rate, {min(100 * least / max(seconds, 0.01), 100):.0f} % of the time"
        )
    if rate is not None and most:
        least = most / rate
        times = max(seconds, 0.01) / least
        parts.append(f"F/R, {size(most)} at {size(rate)}/s, is {least:.2f} s: it took {times:.2f} times that")
    return parts


def gathered(received: int, hosts: int, changed: int, dest: bytes, seconds: float) -> str:
    """What came from how many hosts, and what of it was written to meanwhile."""
    place = dest.decode("utf-8", "backslashreplace")
    text = f"{size(received)} received from {hosts} {'host' if hosts == 1 else 'hosts'}"
    text += f" in {max(seconds, 0.01):.2f} s, into {place}"
    if changed:
        text += f"; {changed} {'file' if changed == 1 else 'files'} changed meanwhile, and came as read"
    return text
