"""The tracker at the root, where one is asked for: who may ask it, and of whom it tells. Pure."""

from __future__ import annotations

from typing import Any

from nile.cascade import Publish
from nile.events import Notice
from nile.sync.asking import Errands
from nile.sync.means import Means
from nile.sync.streaming import in_order
from nile.sync.swarmers import Swarmer
from nile.sync.targets import count, words
from nile.sync.wording import no_tracker, tracker_begins, turned_away
from nile.topology.model import ROOT_ID

MOST_STRANGERS = 3
"""Of whom it is said that they were turned away."""


class Tracking:
    """That of one swarm."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._asking = means.asking
        self._number = 0
        self._strangers = 0

    def begin(self) -> Errands:
        """The torrent is made: have it announced."""
        options = self._means.options
        if options.tracker_at is None:
            return
        address, port = options.tracker_at
        sites = self._means.hosts.sites
        fields = {
            "address": address,
            "port": port,
            "hosts": [[self._address(each), sites.place(each)] for each in in_order(self._means.hosts)],
            "peering": sites.peering,
            "trackers": list(options.trackers),
            "webs": list(options.web_seeds),
        }
        tell = self._asking.ask(ROOT_ID, "track", fields, self._said)
        self._number = tell.message["n"]
        yield tell

    def listens(self, peer: Swarmer) -> Errands:
        """It can be reached; so can the seed, perhaps, where others see the root."""
        if self._number:
            fields = {"name": self._address(peer.id), "port": peer.port}
            yield self._asking.ask(ROOT_ID, "introduce", fields, None)

    def out(self, peer: Swarmer) -> Errands:
        """It can't be any more."""
        if self._number and peer.port:
            yield self._asking.ask(ROOT_ID, "dismiss", {"name": self._address(peer.id)}, None)

    def end(self) -> Errands:
        """The swarm is over."""
        if self._number:
            self._number = 0
            yield self._asking.ask(ROOT_ID, "untrack", {}, None)

    def _address(self, node_id: int) -> str:
        at = self._means.options.tracker_at
        return at[0] if node_id == ROOT_ID and at else self._means.paths.address(ROOT_ID, node_id)

    def _said(self, message: dict[str, Any], t: float) -> Errands:
        if message.get("code"):
            self._number = 0
            yield Publish(Notice(no_tracker(words(message["reason"]))))
        elif "port" in message:
            assert self._means.options.tracker_at is not None
            address, _ = self._means.options.tracker_at
            text = tracker_begins(address, count(message["port"]), words(message["hash"]))
            yield Publish(Notice(text))
        elif self._strangers < MOST_STRANGERS:
            self._strangers += 1
            yield Publish(Notice(turned_away(words(message["stranger"]))))
