"""What the peers of a swarm are begun with: how much they send, to how many, and what they show. Pure.

Unless all is to travel in the clear, the torrent names an authority that exists
for it alone, and each peer gets a key and a certificate of its own, which the
root makes, and which go to that host and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from nile.sync.options import SyncOptions

if TYPE_CHECKING:
    from nile.bootstrap.authority import Authority

SLOTS, SEED_SLOTS = 20, 20
"""Whom a peer serves at one time, and whom the seed does: as good as all that it is told of.

Of 12 hosts on one switch, side by side on a busy machine, where each gets another part of the pieces from the
seed first: with 4 and 3, and no such parts, all took 2.19 F/R and the seed sent 1.46 F; with 4 and 20 it was
2.07 and 1.33; with 20 and 20 1.98 and 1.27. A seed that shows each piece to one peer first (super-seeding)
sends 1.15 F, and all take a fifth longer, or more.
"""

ASKED = 96
"""Blocks of 16 KiB for which all together may have asked the seed at one time: 1.5 MiB, 0.2 s at 64 Mbit/s.

What one of them asked for others ask for, too, as long as nobody has it: in the end all of that was sent
several times. And who has asked for more gets more: others' parts came late. On one switch, 12 hosts
took 1.62 and 1.70 F/R with what libtorrent likes, and the seed sent 1.31 and 1.39 F; with 240 blocks 1.56
and 1.70, 1.20 and 1.23; with 96 1.41 and 1.43, and 1.11, side by side.
"""
LEAST_ASKED = 4


def asked(takers: int) -> int:
    """For how many blocks each of so many may have asked; 0, where that isn't known: for any number."""
    return max(LEAST_ASKED, ASKED // takers) if takers else 0


def no_authority() -> Authority:
    """For runs that have no swarm, or one in the clear."""
    raise LookupError("a swarm that is encrypted needs an authority")


class Equipment:
    """That of one swarm. `authority()` makes the one that its certificates are from."""

    def __init__(self, options: SyncOptions, authority: Callable[[], Authority]) -> None:
        self._options = options
        self._authority = None if options.plain else authority()
        self._statement: dict[str, Any] = {}
        self._certified: frozenset[int] = frozenset()
        self._opened: dict[int, bytes] = {}

    def torrent(self) -> dict[str, Any]:
        """What is in the torrent beside files."""
        certificate = self._authority.certificate if self._authority else ""
        return {"name": self._options.torrent_name, "certificate": certificate}

    def seed(self, word: str, limit: int, takers: int) -> dict[str, Any]:
        """With what the seed begins; `word`: what its id begins with; `limit`: bytes/s that it sends.

        `takers`: to how many it goes at most, where that is known, or 0.
        """
        return {**self._each(SEED_SLOTS, limit, word), "python": "", "asked": self._asked(takers)}

    def _asked(self, takers: int) -> int:
        """In the clear there may be aria2s, which don't heed it: what is beyond would be refused them."""
        return asked(takers) if self._authority else 0

    def signed(self, message: Mapping[str, Any]) -> None:
        """So the operator's keys say that it is theirs."""
        self._statement = {"statement": message["body"], "signatures": message["signatures"]}
        self._certified = frozenset(message["certified"])
        self._opened = message["opened"]

    def host(self, node_id: int, word: str, limit: int) -> dict[str, Any]:
        """With what a host's peer begins; it is for that one alone."""
        options = self._options
        own = {"python": options.peer_python}
        known = {"certified": node_id in self._certified, "opened": self._opened.get(node_id, b"")}
        signed = {**self._statement, **known}
        return {**self._each(SLOTS, limit, word), **own, **signed}

    def _each(self, slots: int, limit: int, word: str) -> dict[str, Any]:
        return {
            "slots": slots,
            "limit": limit,
            "word": word,
            "tls": self._identity(),
            "ports": list(self._options.peer_ports or ()),
        }

    def _identity(self) -> list[str]:
        """A certificate, its key, and parameters, as libtorrent takes them; none in the clear."""
        if self._authority is None:
            return []
        identity = self._authority.issue(self._options.torrent_name)
        return [identity.certificate, identity.key, identity.parameters]
