"""A libtorrent for hosts that have none: a wheel goes over the tree to the first, which hands it on. Pure.

    root --carry--> h1 --hand--> h2        whoever has it hands it to one at a time,
                     +---hand--> h3 ...    so that 1, 2, 4, 8 hosts have it

So it leaves the root once, over links that control goes over too; only so much is on its way to a host as
may be on its way to a worker anyway. Where hosts don't reach each other, and handing on comes to nothing, or
nobody has had his turn for a while, the root brings it to others, too: to a few at a time, and not to many.
It isn't worth it where the wheel is larger than what the host is to get: rsync brings that from host to host.
No host hands it to one of another site, unless the two peer: the root brings it to the first of each.
Who isn't brought one may have an aria2, which takes part in swarms in the clear: it knows no others. It can
refuse nobody, so it takes part in none where there are several sites.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from nile.sync.asking import Errands
from nile.sync.means import Means
from nile.sync.swarmers import Swarmer
from nile.sync.targets import count, words
from nile.sync.wheels import OLDEST_PYTHON, Python, Wheel, choose
from nile.sync.wording import fetch_hint, no_wheel

RSYNC = "rsync"
"""By what those got their files that no peer brought them."""
AT_ONE_TIME = 8
MOST_HOSTS = 256
"""In one swarm; the others are left to rsync."""
MOST_CARRIED = 64
"""By the root, of these."""
APART = 3
"""If handing on came to nothing so many more times than it didn't, hosts hardly reach each other."""
CHUNK = 32 * 1024
IN_FLIGHT = 4
MOST_PYTHONS = 32
"""Of one host."""
TURN_S = 5.0
"""If nobody had his turn for so long, whoever is at it is slow, or hangs."""
COME_S = 15.0
"""For a host to say where it waits for what another one hands it."""
START_S = 60.0
"""For a host to take a chunk, and to load it all."""
LEAST_RATE = 32 * 1024
"""Bytes a second that it has to take of a wheel, all in all: others wait for their turn."""
TOO_MANY = f"it has no libtorrent, and {MOST_HOSTS} others are brought one already"
NOT_HANDED = (
    f"it has no libtorrent, no other host can hand it one, and the root brought {MOST_CARRIED} one already"
)
TOO_LARGE = "it has no libtorrent, and one that fits is larger than what it is to get"
PLAIN_ALONE = "its aria2 takes part with --plain alone"
ONE_SITE_ALONE = "its aria2 takes part where there is one site alone"
_PROGRAM = re.compile(r"(libtorrent|aria2) (\d{1,4}(?:\.\d{1,4}){1,2})(?:\.\d{1,4})*", re.ASCII)
UNREADABLE = (
    "it has no libtorrent, and the one here that fits can't be read, or is damaged: "
    "`nile swarm fetch-peers` fetches that anew"
)


def program(said: object, *, carried: bool) -> str:
    """What a peer is, of what its worker says; raises TypeError or ValueError."""
    if not isinstance(said, str):
        raise TypeError("a peer that is none")
    if (found := _PROGRAM.fullmatch(said)) is None:
        raise ValueError("a peer that isn't known")
    return f"{found[1]} {found[2]}" + ", carried" * carried


def _no_aria(means: Means) -> str:
    """Why no aria2 takes part; "" where it may."""
    if not means.options.plain:
        return PLAIN_ALONE
    return ONE_SITE_ALONE if means.hosts.sites.several else ""


@dataclass(slots=True, eq=False)
class _Load:
    """One wheel, on its way to one host; `python`: which of those there is to load it.

    By `most_s` the host has to have all of it, however it gets on.
    """

    peer: Swarmer
    wheel: Wheel
    python: int
    most_s: float = 0.0
    at: int = 0
    in_flight: int = 0
    giver: Swarmer | None = None
    """Who hands it on to that one; None: the root brings it."""
    by_root: bool = False
    """It is to: nobody could hand it on."""
    led: bool = False
    """The giver was told where it waits."""


class Carrying:
    """`without(peer, reason, t)` is for those that can't be brought any after all."""

    def __init__(self, means: Means, without: Callable[[Swarmer, str, float], Errands]) -> None:
        self._means = means
        self._asking = means.asking
        self._no_aria = _no_aria(means)
        self._wheels = list(means.options.wheels)
        self._without = without
        self._waiting: deque[_Load] = deque()
        self._under_way: dict[int, _Load] = {}
        self._hosts = self._carried = 0
        self._began_s = float("-inf")
        """When somebody last had his turn."""
        self._holders: dict[bytes, dict[Swarmer, bool]] = {}
        """Who has a wheel, by its digest, and whether it hands it to nobody now."""
        self._apart = 0
        """How many more times handing on came to nothing than it didn't."""
        self.coming: dict[int, int] = {}
        """How much hosts are to get, by id."""
        self.moved_s = float("-inf")
        """When a host last took something."""
        self._missed: dict[Python, None] = {}
        """For which no wheel is there; one of each host."""

    def lacks(self, peer: Swarmer, message: Mapping[str, Any], t: float) -> Errands:
        """A worker says which Pythons it has, all without libtorrent, and which aria2.

        Raises KeyError, TypeError or ValueError.
        """
        said, aria = message["lacks"], words(message.get("aria2", ""))
        if not isinstance(said, list) or not said:
            raise TypeError("Pythons that are none")
        loads = [*self._waiting, *self._under_way.values()]
        if peer.carried or peer.aria or any(load.peer is peer for load in loads):
            raise ValueError("it lacks what it was brought")
        pythons = [Python.of(each) for each in said[:MOST_PYTHONS]]
        found = choose(pythons, self._wheels)
        if found is not None and not (reason := self._unfit(peer, found[1])):
            peer.due_s = None
            self._hosts += peer.target is not None
            self._waiting.append(_Load(peer, found[1], found[0]))
            yield from self.go_on(t)
        elif aria and not self._no_aria and peer.target is not None and not peer.keeps:
            peer.aria, peer.due_s = True, t + START_S
            yield self._asking.ask(peer.id, "aria", {"what": peer.number}, None)
        else:
            if found is None:
                self._missed[pythons[0]] = None
                reason = no_wheel(str(pythons[0]))
            instead = f"; {self._no_aria}" if aria and self._no_aria and peer.target is not None else ""
            yield from self._without(peer, reason + instead, t)

    def _unfit(self, peer: Swarmer, wheel: Wheel) -> str:
        """Why it isn't brought that one, which it could load."""
        if peer.target is None:
            return ""
        if peer.target.rsync and wheel.size > self.coming.get(peer.id, 0):
            return TOO_LARGE
        return TOO_MANY if self._hosts >= MOST_HOSTS else ""

    def go_on(self, t: float) -> Errands:
        """Others may have their turn."""
        for load in list(self._waiting):
            if load not in self._waiting:
                continue
            load.giver = None if self._by_root(load) else self._free(load)
            if load.giver is None and not self._may_carry(load, t):
                continue
            self._waiting.remove(load)
            if load.giver is None and self._carried >= MOST_CARRIED and load.peer.target is not None:
                yield from self._without(load.peer, NOT_HANDED, t)
                continue
            self._under_way[load.peer.id], self._began_s = load, t
            load.most_s = t + START_S + load.wheel.size / self._least_rate(load)
            if load.giver is not None:
                yield from self._have_it_handed(load, t)
            else:
                self._carried += load.peer.target is not None
                yield from self._send(load, t)

    def _by_root(self, load: _Load) -> bool:
        """Can't it be handed to that one? Once the root has brought it to enough, that is tried at least."""
        apart = self._apart >= APART and self._carried < MOST_CARRIED
        return load.by_root or apart or load.peer.target is None

    def _least_rate(self, load: _Load) -> float:
        """Who hands it on sends no more than he may."""
        limit = (self._means.options.bwlimit_kib_s or 0) * 1024
        return min(LEAST_RATE, limit / 2) if limit and load.giver is not None else LEAST_RATE

    def _free(self, load: _Load) -> Swarmer | None:
        """Who has that, may hand it to that one, and hands it to nobody now."""
        holders = self._holders.get(load.wheel.digest, {})
        return next((peer for peer, free in holders.items() if free and self._near(peer, load)), None)

    def _near(self, peer: Swarmer, load: _Load) -> bool:
        sites = self._means.hosts.sites
        if peer.target is None or load.peer.target is None:
            return False  # the root's is nobody's neighbour
        return sites.together(sites[peer.id], sites[load.peer.id])

    def _may_carry(self, load: _Load, t: float) -> bool:
        """May the root begin to bring it now? It does to the first one, and to who can't get it otherwise."""
        carried = [each for each in self._under_way.values() if each.giver is None]
        coming = [each.peer for each in carried if each.wheel == load.wheel]
        holders = self._holders.get(load.wheel.digest, {})
        first = not any(self._near(peer, load) for peer in [*holders, *coming])
        if self._carried >= MOST_CARRIED and load.peer.target is not None and not (first or load.by_root):
            return False  # somebody has it who is to hand it on
        needed = first or self._by_root(load) or t - self._began_s > TURN_S
        return len(carried) < AT_ONE_TIME and needed

    # From host to host.

    def _have_it_handed(self, load: _Load, t: float) -> Errands:
        """The one waits, and the other goes there."""
        peer, wheel, secret = load.peer, load.wheel, self._means.secret()
        assert load.giver is not None
        self._holders[wheel.digest][load.giver] = False
        peer.due_s = t + COME_S
        fields = {"what": peer.number, "size": wheel.size, "digest": wheel.digest, "secret": secret}
        yield self._asking.ask(peer.id, "take", fields, partial(self._took, load, secret))

    def _took(self, load: _Load, secret: bytes, message: dict[str, Any], t: float) -> Errands:
        """The taker says where it waits, and then how it went."""
        if self._under_way.get(load.peer.id) is not load or load.giver is None:
            return
        self.moved_s = t
        if "port" in message:
            load.peer.due_s = load.most_s
            yield from self._lead(load, load.giver, count(message["port"]), secret)
        elif message.get("more") is not True:
            self._apart += 1 if message.get("code") else -1
            if message.get("code"):
                if load.led:  # whose fault it was isn't known
                    self._holders[load.wheel.digest].pop(load.giver, None)
                self.drop(load.peer)
                load.by_root = True
                self._waiting.append(load)
            else:
                yield from self._has_it(load, t)
            yield from self.go_on(t)

    def _lead(self, load: _Load, giver: Swarmer, port: int, secret: bytes) -> Errands:
        if load.led:
            raise ValueError("it says its port again")
        load.led = True
        address = self._means.paths.address(giver.id, load.peer.id)
        fields = {"what": giver.number, "address": address, "port": port, "secret": secret}
        yield self._asking.ask(giver.id, "hand", fields, partial(self._handed, load.wheel, giver))

    def _handed(self, wheel: Wheel, giver: Swarmer, message: dict[str, Any], t: float) -> Errands:
        """The giver is free again, if it still has part."""
        if giver in (holders := self._holders[wheel.digest]):
            holders[giver] = True
        yield from self.go_on(t)

    # By the root.

    def _send(self, load: _Load, t: float) -> Errands:
        """What there is room for on the way; once it has all, it is to load it."""
        peer, wheel = load.peer, load.wheel
        peer.due_s = min(t + START_S, load.most_s)
        while load.at < wheel.size and load.in_flight < IN_FLIGHT:
            chunk = wheel.read(load.at, CHUNK)
            if not chunk:
                self.drop(peer)
                yield from self._without(peer, UNREADABLE, t)
                return
            load.at += len(chunk)
            load.in_flight += 1
            fields = {"what": peer.number, "chunk": chunk}
            yield self._asking.ask(peer.id, "carry", fields, partial(self._taken, load))
        if not load.in_flight:
            yield from self._has_it(load, t)

    def _has_it(self, load: _Load, t: float) -> Errands:
        """All of it: it is to be loaded, and may be handed on."""
        peer, wheel = load.peer, load.wheel
        del self._under_way[peer.id]
        peer.carried, peer.due_s = True, t + START_S
        if peer.target is not None:
            self._holders.setdefault(wheel.digest, {})[peer] = True
        fields = {"what": peer.number, "python": load.python, "digest": wheel.digest}
        yield self._asking.ask(peer.id, "load", fields, None)

    def _taken(self, load: _Load, message: dict[str, Any], t: float) -> Errands:
        load.in_flight -= 1
        if self._under_way.get(load.peer.id) is load:
            self.moved_s = t
            yield from self._send(load, t)
            yield from self.go_on(t)

    def drop(self, peer: Swarmer) -> None:
        """That one gets nothing more."""
        self._waiting = deque(load for load in self._waiting if load.peer is not peer)
        if (load := self._under_way.get(peer.id)) is not None and load.peer is peer:
            del self._under_way[peer.id]
            holders = self._holders.get(load.wheel.digest, {})
            if load.giver in holders and not load.led:  # it never was told where to hand it
                holders[load.giver] = True
        for holders in self._holders.values():
            holders.pop(peer, None)

    @property
    def hint(self) -> str:
        """How to have what was missed next time; "" where that isn't known."""
        known = [
            python
            for python in self._missed
            if python.abi and python.libc and python.version >= OLDEST_PYTHON
        ]
        return fetch_hint([(*python.words, python.libc) for python in known]) if known else ""
