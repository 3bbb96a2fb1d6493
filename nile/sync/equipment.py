"""What the peers of a swarm are begun with: how much they send, to how many, and what they show. Pure.

Unless all is to travel in the clear, the torrent names an authority that exists
for it alone, and each peer gets a key and a certificate of its own, which the
root makes, and which go to that host and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nile.sync.options import SyncOptions

if TYPE_CHECKING:
    from nile.bootstrap.authority import Authority

NAME = "nile"
"""Of the torrent, which certificates are for."""
SLOTS, SEED_SLOTS = 4, 3
"""Whom a peer serves at one time, and whom the seed does."""


def no_authority() -> Authority:
    """For runs that have no swarm, or one in the clear."""
    raise LookupError("a swarm that is encrypted needs an authority")


class Equipment:
    """That of one swarm. `authority()` makes the one that its certificates are from."""

    def __init__(self, options: SyncOptions, authority: Callable[[], Authority]) -> None:
        self._options = options
        self._authority = None if options.plain else authority()

    def torrent(self) -> dict[str, Any]:
        """What is in the torrent beside files."""
        return {"name": NAME, "certificate": self._authority.certificate if self._authority else ""}

    def seed(self, word: str) -> dict[str, Any]:
        """With what the seed begins; `word`: what its id begins with."""
        return {**self._each(SEED_SLOTS, word), "python": ""}

    def host(self, word: str) -> dict[str, Any]:
        """With what a host's peer begins; it is for that one alone."""
        own = {"python": self._options.peer_python, "all": self._options.checksum}
        return {**self._each(SLOTS, word), **own}

    def _each(self, slots: int, word: str) -> dict[str, Any]:
        limit = (self._options.bwlimit_kib_s or 0) * 1024
        return {"slots": slots, "limit": limit, "word": word, "tls": self._identity()}

    def _identity(self) -> list[str]:
        """A certificate, its key, and parameters, as libtorrent takes them; none in the clear."""
        if self._authority is None:
            return []
        identity = self._authority.issue(NAME)
        return [identity.certificate, identity.key, identity.parameters]
