"""The seed of a swarm, which is the root's: begun before all peers, and the last to go. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from nile.sync.asking import Errands
from nile.sync.following import Following
from nile.sync.introducing import Introducing
from nile.sync.launching import START_S
from nile.sync.limiting import Limiting
from nile.sync.means import Means
from nile.sync.swarmers import Swarmer, Tally
from nile.sync.targets import count
from nile.sync.tracking import Tracking
from nile.sync.watching import END_S
from nile.topology.model import ROOT_ID


class Told(Protocol):
    """Who hears what becomes of it."""

    def seed_listens(self, t: float) -> Errands:
        """Hosts can be served."""
        ...

    def seed_lacks(self, seed: Swarmer, message: dict[str, Any], t: float) -> Errands:
        """There is no libtorrent at the root."""
        ...

    def seed_ended(self, message: dict[str, Any], listened: bool, t: float) -> Errands:
        """Nothing of it is left."""
        ...


class Seed:
    """That of one swarm."""

    def __init__(
        self,
        means: Means,
        introducing: Introducing,
        limiting: Limiting,
        following: Following,
        tracking: Tracking,
        tally: Tally,
        told: Told,
    ) -> None:
        self._asking = means.asking
        self._introducing = introducing
        self._limiting = limiting
        self._following = following
        self._tracking = tracking
        self._tally = tally
        self._told = told
        self._leaving = False

    @property
    def peer(self) -> Swarmer | None:
        """It, once it was begun."""
        return self._introducing.seed

    @property
    def serves(self) -> bool:
        """Has it ever listened?"""
        return self.peer is not None and self.peer.port > 0

    @property
    def gone(self) -> bool:
        """Has it ended, isn't it waited for any more, or was there never one?"""
        return self.peer is None or not self.peer.number

    def begin(self, with_what: Callable[[str, int], dict[str, Any]], t: float) -> Errands:
        """Have it started; `with_what(word, limit)` is what it is told."""
        rates = self._limiting.begins(ROOT_ID)
        fields = with_what(self._following.word(ROOT_ID), rates.out)
        tell = self._asking.ask(ROOT_ID, "seed", fields, self._said)
        number = tell.message["n"]
        self._introducing.seed = Swarmer(ROOT_ID, None, number, due_s=t + START_S, rates=rates)
        yield tell

    def _said(self, message: dict[str, Any], t: float) -> Errands:
        peer = self.peer
        assert peer is not None
        if "lacks" in message:
            yield from self._told.seed_lacks(peer, message, t)
        elif message.get("more") is not True:
            yield from self._ended(peer, message, t)
        elif "port" in message and not peer.port:
            yield from self._listens(peer, count(message["port"]), t)
        elif "progress" in message:
            told = message["progress"]
            self._following.report(ROOT_ID, told, t)
            peer.connected = count(told["peers"])
            self._tally.account(ROOT_ID, told)

    def _listens(self, peer: Swarmer, port: int, t: float) -> Errands:
        peer.port, peer.due_s = port, None
        self._following.listens(ROOT_ID, t)
        yield from self._limiting.keep(peer)
        yield from self._introducing.elsewhere(peer)
        yield from self._tracking.listens(peer)
        yield from self._told.seed_listens(t)

    def _ended(self, peer: Swarmer, message: dict[str, Any], t: float) -> Errands:
        peer.number = 0
        self._limiting.drop(ROOT_ID)
        self._tally.account(ROOT_ID, message)
        self._following.seed_gone()
        yield from self._told.seed_ended(message, peer.port > 0, t)

    def late(self, t: float) -> bool:
        """Should it have begun to listen by now?"""
        return not (self.gone or self._leaving) and self._is_due(t)

    def leave(self, t: float) -> Errands:
        """All hosts are served, and nobody needs it. Who hangs is waited for no longer than that."""
        peer = self.peer
        if peer is None or self.gone:
            return
        if not self._leaving:
            self._leaving, peer.due_s = True, t + END_S
            yield self._asking.ask(ROOT_ID, "unpeer", {"what": peer.number}, None)
        elif self._is_due(t):
            peer.number = 0

    def _is_due(self, t: float) -> bool:
        return self.peer is not None and self.peer.due_s is not None and t > self.peer.due_s
