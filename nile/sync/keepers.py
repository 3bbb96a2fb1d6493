"""Seeders of a swarm that have had all from the beginning: each serves that, and one that fails is one less.

Such a host has its copy already, so it is ok in the end, whatever becomes of its peer. But that looks at each
byte: where the copy isn't what its sizes and times make of it, the host gets one as others do. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nile.cascade import Publish
from nile.events import Code, Notice
from nile.sync.asking import Errands
from nile.sync.carrying import RSYNC
from nile.sync.following import Following
from nile.sync.launching import Launching
from nile.sync.remarks import Remarks
from nile.sync.swarmers import Swarmer
from nile.sync.targets import Target, words
from nile.sync.wording import serve_no_release, serve_too


class Keepers:
    """Those of one swarm, of all its `seeders`. `otherwise(target, reason)`: a host is to be served so."""

    def __init__(
        self,
        seeders: frozenset[int],
        launching: Launching,
        following: Following,
        remarks: Remarks,
        otherwise: Callable[[Target, str], Errands],
    ) -> None:
        self._seeders = seeders
        self._launching = launching
        self._following = following
        self._remarks = remarks
        self._otherwise = otherwise

    def begin(self, having: list[Target], release: str, t: float) -> Errands:
        """Some of those that have all: whoever of them is a seeder is to serve it, but for a release.

        Beside the files of one that is there nothing is to lie, be it for a while.
        """
        targets = [target for target in having if target.id in self._seeders]
        if targets and release:
            yield Publish(Notice(serve_no_release([target.name for target in targets])))
        elif targets:
            self._launching.keep(targets)
            for target in targets:
                self._following.joins(target, t)
            yield Publish(Notice(serve_too([target.name for target in targets])))

    def ended(self, peer: Swarmer, message: dict[str, Any]) -> Errands:
        """One whose peer wasn't told to."""
        target = peer.target
        assert target is not None
        reason = words(message["reason"]) if message.get("code") else "its peer ended"
        self.left(target, reason)
        if message.get("code") == Code.DIFFERS:
            target.seeds, target.checked_bytes, target.peer = False, True, RSYNC
            yield from self._otherwise(target, reason)

    def left(self, target: Target, reason: str) -> None:
        """One that takes part no more."""
        self._remarks.no_seeder(target.name, reason)
