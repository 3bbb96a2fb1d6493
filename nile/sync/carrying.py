"""A libtorrent for hosts that have none: wheels go over the tree, to a few hosts at a time. Pure.

All of it leaves the root once for each host, over links that control goes over too. So hosts are few,
and each has only so much on its way to it as fits into what may be on its way to a worker anyway. It isn't
worth it where the wheel is larger than what the host is to get: rsync brings that from host to host.
Who isn't brought one may have an aria2, which takes part in swarms in the clear: it knows no others.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from nile.sync.asking import Asking, Errands
from nile.sync.swarmers import Swarmer
from nile.sync.targets import words
from nile.sync.wheels import OLDEST_PYTHON, Python, Wheel, choose
from nile.sync.wording import fetch_hint, no_wheel

RSYNC = "rsync"
"""By what those got their files that no peer brought them."""
AT_ONE_TIME = 8
MOST_HOSTS = 64
"""In one swarm; the others are left to rsync."""
CHUNK = 32 * 1024
IN_FLIGHT = 4
MOST_PYTHONS = 32
"""Of one host."""
START_S = 60.0
"""For a host to take a chunk, and to load it all."""
LEAST_RATE = 32 * 1024
"""Bytes a second that it has to take of a wheel, all in all: others wait for their turn."""
TOO_MANY = f"it has no libtorrent, and {MOST_HOSTS} others are brought one already"
TOO_LARGE = "it has no libtorrent, and one that fits is larger than what it is to get"
PLAIN_ALONE = "its aria2 takes part with --plain alone"
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


class Carrying:
    """`without(peer, reason, t)` is for those that can't be brought any after all; `plain`: in the clear."""

    def __init__(
        self,
        asking: Asking,
        wheels: Iterable[Wheel],
        without: Callable[[Swarmer, str, float], Errands],
        *,
        plain: bool = False,
    ) -> None:
        self._asking = asking
        self._plain = plain
        self._wheels = list(wheels)
        self._without = without
        self._waiting: deque[_Load] = deque()
        self._under_way: dict[int, _Load] = {}
        self._hosts = 0
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
        if (
            peer.carried
            or peer.aria
            or any(load.peer is peer for load in [*self._waiting, *self._under_way.values()])
        ):
            raise ValueError("it lacks what it was brought")
        pythons = [Python.of(each) for each in said[:MOST_PYTHONS]]
        found = choose(pythons, self._wheels)
        if found is not None and not (reason := self._unfit(peer, found[1])):
            peer.due_s = None
            self._hosts += peer.target is not None
            self._waiting.append(_Load(peer, found[1], found[0]))
            yield from self.go_on(t)
        elif aria and self._plain and peer.target is not None:
            peer.aria, peer.due_s = True, t + START_S
            yield self._asking.ask(peer.id, "aria", {"what": peer.number}, None)
        else:
            if found is None:
                self._missed[pythons[0]] = None
                reason = no_wheel(str(pythons[0]))
            instead = f"; {PLAIN_ALONE}" if aria and peer.target is not None else ""
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
        while self._waiting and len(self._under_way) < AT_ONE_TIME:
            load = self._waiting.popleft()
            self._under_way[load.peer.id] = load
            load.most_s = t + START_S + load.wheel.size / LEAST_RATE
            yield from self._send(load, t)

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
            del self._under_way[peer.id]
            peer.carried, peer.due_s = True, t + START_S
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

    @property
    def hint(self) -> str:
        """How to have what was missed next time; "" where that isn't known."""
        known = [
            python
            for python in self._missed
            if python.abi and python.libc and python.version >= OLDEST_PYTHON
        ]
        return fetch_hint([(*python.words, python.libc) for python in known]) if known else ""
