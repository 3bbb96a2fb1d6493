"""Peers of a swarm, begun on hosts: so many at one time that what they are told fits into memory. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from nile.sync.apart import Apart
from nile.sync.asking import Errands
from nile.sync.equipment import Equipment
from nile.sync.following import Following
from nile.sync.limiting import Limiting
from nile.sync.means import Means
from nile.sync.swarmers import Swarmer, Swarmers
from nile.sync.targets import Step, Target
from nile.sync.torrents import NOTHING, put_in_place

START_S = 60.0
"""For a worker to find a Python with libtorrent, and have it listen."""
MOST_METAINFO = 64 << 20
"""Bytes of it that are on their way to hosts at one time."""
AT_ONE_TIME = 64
"""Hosts whose peers are being started."""


class Launching:
    """Those whose peers are yet to be started. `said(peer, message, t)`: what one of them answers."""

    def __init__(
        self,
        means: Means,
        all_of_them: Swarmers,
        following: Following,
        apart: Apart,
        limiting: Limiting,
        said: Callable[[Swarmer, dict[str, Any], float], Errands],
    ) -> None:
        self._means = means
        self._all = all_of_them
        self._following = following
        self._apart = apart
        self._limiting = limiting
        self._said = said
        self._waiting: deque[Target] = deque()
        self._gets: dict[Target, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, targets: Mapping[Target, dict[str, Any]]) -> None:
        """Theirs are to be, in this order; and which files come to each (see torrents)."""
        for target in targets:
            target.step = Step.SWARMING
        self._gets.update(targets)
        self._waiting.extend(targets)
        self._all.racks.expect(target.id for target in targets)

    def keep(self, targets: Iterable[Target]) -> None:
        """These have all already: theirs are to serve that, before all others."""
        targets = list(targets)
        for target in targets:
            target.seeds = True
        self._waiting.extendleft(reversed(targets))
        self._all.racks.expect(target.id for target in targets)

    def drop(self, target: Target) -> bool:
        """Not this one; was it to be?"""
        if target not in self._waiting:
            return False
        self._waiting.remove(target)
        return True

    def drop_all(self) -> Iterator[Target]:
        """None any more: these were to be."""
        while self._waiting:
            yield self._waiting.popleft()

    def go_on(self, chunks: list[bytes], equipment: Equipment, t: float) -> Errands:
        """Start as many as may be; `chunks` are the torrent."""
        most = max(1, min(AT_ONE_TIME, MOST_METAINFO // max(1, sum(map(len, chunks)))))
        ask = self._means.asking.ask
        while self._waiting and self._all.starting < most:
            target = self._waiting.popleft()
            for chunk in chunks:
                yield ask(target.id, "metainfo", {"chunk": chunk}, None)
            rates, keeps = self._limiting.begins(target.id), target.seeds
            peer = Swarmer(target.id, target, due_s=t + START_S, keeps=keeps, complete=keeps, rates=rates)
            if keeps:  # it reads all of it before it says anything
                peer.due_s = t + START_S + self._means.work_s(0)
            own = equipment.host(target.id, self._following.word(target.id), rates.out)
            how = {
                **put_in_place(self._means.options, target),
                **self._gets.pop(target, NOTHING),
                "keep": keeps,
            }
            fields = {**own, **how, **self._apart.fields(target.id)}
            tell = ask(target.id, "peer", fields, partial(self._said, peer))
            peer.number = tell.message["n"]
            self._all.add(peer)
            yield tell
