"""How each host of a swarm fares, as peers report it, and how that is told. Pure.

Peers report twice a second. Who looks on is told every second at most, and of
many hosts the more seldom, so that what is told never is more than a line or
so of a screen; where nothing changes, hardly ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from nile.events import STALLS, Stall, SwarmHost, SwarmLimits, SwarmProgress, SwarmState
from nile.sync.targets import Target, count
from nile.topology.model import ROOT_ID

EVERY_S = 1.0
HOSTS_A_SECOND = 100
"""Of whom it is told, at most."""
UNCHANGED_S = 15.0
"""Between two that say the same."""
STALLED_S = 3.0
"""Who got nothing for so long stands still."""
SILENT_S = 5.0
"""Of whom nothing was heard for so long nothing is known."""
MOST_RACKS = 0xFFFF
_NONE = SwarmLimits()


@dataclass(slots=True)
class _Peer:
    """What it said last of itself; bytes, and bytes a second."""

    name: str
    state: SwarmState = SwarmState.STARTING
    at: int = 0
    whole: int = 0
    got: int = 0
    sent: int = 0
    down: int = 0
    up: int = 0
    peers: int = 0
    useful: int = 0
    serving: int = 0
    origins: list[int] = field(default_factory=lambda: [0, 0, 0])
    heard_s: float = 0.0
    moved_s: float = 0.0
    reason: str = ""
    banned_by: int = 0

    def stall(self, t: float) -> Stall | None:
        """Why it gets nothing, if it should and doesn't."""
        if self.state not in (SwarmState.STARTING, SwarmState.GETTING) or t - self.moved_s < STALLED_S:
            return None
        if self.state is SwarmState.STARTING:
            return Stall.STARTING
        if t - self.heard_s > SILENT_S:
            return Stall.SILENT
        if not self.peers:
            return Stall.ALONE
        if not self.useful:
            return Stall.NOTHING_NEW
        return Stall.WAITING if self.serving else Stall.CHOKED


class Following:
    """Told of what happens in a swarm; `due` says it. `rack(id)`: what a host is kept together by, or ""."""

    def __init__(self, rack: Callable[[int], str]) -> None:
        self._rack = rack
        self._racks: dict[str, int] = {"": 0}
        self._peers: dict[int, _Peer] = {}
        self._seed: _Peer | None = None
        self._told_s: float | None = None
        self._changed = False
        self._serving_on = self._over = False
        self._limits = SwarmLimits()
        """What was told of them last."""

    def word(self, node_id: int) -> str:
        """What a peer's id is to begin with: the others know by that what it is (see worker.origins)."""
        if node_id == ROOT_ID:
            return "-NLS0000"
        number = self._racks.setdefault(self._rack(node_id), len(self._racks))
        return f"-NLH{number if number <= MOST_RACKS else 0:04x}"

    # What happens.

    def begin(self, targets: Iterable[Target], t: float) -> None:
        """These are to take part."""
        self._peers = {target.id: _Peer(target.name, heard_s=t, moved_s=t) for target in targets}

    def joins(self, target: Target, t: float) -> None:
        """One more is to."""
        self._peers[target.id] = _Peer(target.name, heard_s=t, moved_s=t)
        self._serving_on, self._changed = False, True

    def listens(self, node_id: int, t: float) -> None:
        """Its peer runs; the seed's too."""
        if node_id == ROOT_ID:
            self._seed = _Peer("")
        elif (peer := self._peers.get(node_id)) is not None:
            peer.state, peer.heard_s, peer.moved_s = SwarmState.GETTING, t, t
        self._changed = True

    def report(self, node_id: int, told: dict[str, Any], t: float) -> None:
        """How it is; raises KeyError, TypeError or ValueError."""
        peer = self._seed if node_id == ROOT_ID else self._peers.get(node_id)
        if peer is None:
            return
        before = (peer.at, peer.sent, peer.up, peer.peers)
        peer.at, peer.whole = count(told["at"]), count(told["whole"])
        peer.sent, peer.peers = count(told["sent"]), count(told["peers"])
        peer.down, peer.up = count(told.get("down", 0)), count(told.get("up", 0))
        peer.useful, peer.serving = count(told.get("useful", 0)), count(told.get("serving", 0))
        seed, rack, others = map(count, told.get("from", peer.origins))
        peer.origins = [seed, rack, others]
        if (got := count(told["got"])) > peer.got:
            peer.got, peer.moved_s = got, t
        peer.heard_s = t
        self._changed |= before != (peer.at, peer.sent, peer.up, peer.peers)

    def stalled(self, node_id: int, t: float) -> str:
        """Why it gets nothing, in words; "" where that can't be said."""
        peer = self._peers.get(node_id)
        stall = peer.stall(t) if peer is not None else None
        return STALLS[stall] if stall is not None else ""

    def is_at(self, node_id: int, state: SwarmState, reason: str = "") -> None:
        """From now on."""
        if (peer := self._peers.get(node_id)) is not None:
            peer.state, peer.reason = state, reason
            peer.down = 0
            if state in (SwarmState.LEFT_OUT, SwarmState.ENDED):
                peer.up = peer.peers = 0
            self._changed = True

    def out(self, node_id: int) -> None:
        """Nothing more is heard of it."""
        peer = self._peers.get(node_id)
        if peer is not None and peer.state not in (SwarmState.LEFT_OUT, SwarmState.ENDED):
            all_there = peer.state is SwarmState.COMPLETE
            self.is_at(node_id, SwarmState.ENDED if all_there else SwarmState.LEFT_OUT)

    def is_banned(self, node_id: int, by: int) -> None:
        """So many others have nothing more to do with it, since it sent what isn't as it should be."""
        if (peer := self._peers.get(node_id)) is not None:
            peer.banned_by = by
            self._changed = True

    def serves_on(self) -> None:
        """All have all, or are out, and it isn't over."""
        self._changed |= not self._serving_on
        self._serving_on = True

    def seed_gone(self) -> None:
        """The root serves nobody any more."""
        if self._seed is not None:
            self._seed.up = self._seed.peers = 0
            self._over = self._changed = True

    # How it is told.

    def due(self, t: float, limits: SwarmLimits = _NONE) -> SwarmProgress | None:
        """What is to be told now, if it is time to: nothing before the seed runs."""
        self._changed |= limits != self._limits
        if self._seed is None or not (self._is_due(t) or self._is_news(limits)):
            return None
        self._told_s, self._changed, self._limits = t, False, limits
        seed = self._seed
        return SwarmProgress(
            hosts=tuple(_told(peer, t) for peer in self._peers.values()),
            seeding=not self._over,
            seed_sent=seed.sent,
            seed_up=seed.up,
            seed_peers=seed.peers,
            sent=seed.sent + sum(peer.sent for peer in self._peers.values()),
            serving_on=self._serving_on and not self._over,
            limits=limits,
        )

    def _is_news(self, limits: SwarmLimits) -> bool:
        """Has somebody changed them, or do all keep to them now? Then it isn't waited for anything."""
        before = self._limits
        changed = (before.seed, before.host, before.rack) != (limits.seed, limits.host, limits.rack)
        return changed or before.keeping < before.peers == limits.peers == limits.keeping

    def _is_due(self, t: float) -> bool:
        if self._told_s is None:
            return True
        passed = t - self._told_s
        if passed < max(EVERY_S, len(self._peers) / HOSTS_A_SECOND):
            return False
        stands = not self._over and any(peer.stall(t) for peer in self._peers.values())
        return self._changed or stands or passed >= UNCHANGED_S


def _told(peer: _Peer, t: float) -> SwarmHost:
    stall = peer.stall(t)
    seed, rack, others = peer.origins
    whole = peer.state in (SwarmState.COMPLETE, SwarmState.ENDED)
    return SwarmHost(
        host=peer.name,
        state=peer.state,
        got=peer.whole if whole else peer.at,
        whole=peer.whole,
        down=peer.down if peer.state is SwarmState.GETTING and not stall else 0,
        up=peer.up,
        peers=peer.peers,
        by_seed=seed,
        by_rack=rack,
        by_others=others,
        stall=stall,
        still_s=t - peer.moved_s if stall else 0.0,
        reason=peer.reason,
        banned_by=peer.banned_by,
    )
