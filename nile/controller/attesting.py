"""By which of the operator's keys what a swarm brings is signed, and which hosts can tell whether it is so.

A host knows the key by which it is logged in to, and need know no other: where
that is known here, it is the one. Elsewhere it may be any that the login offers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nile.transport.base import PublicKey, ResolvedLogin
from nile.transport.sshsig import is_certificate

MOST_KEYS = 8
"""By which one thing is signed: hosts may know different ones."""
LIKELY = 3
"""So many at least, where that is a guess for some hosts."""


@dataclass(frozen=True, slots=True)
class Taker:
    """A host that is to take it; `opened`: the identity by which it was logged in to, if that is known."""

    login: ResolvedLogin
    opened: bytes | None

    @property
    def keys(self) -> list[PublicKey]:
        """Those of which it knows one, the likeliest first; certificates are no keys of a list."""
        bare = [key for key in self.login.identities if not is_certificate(key)]
        return bare if self.opened is None else [key for key in bare if key.blob == self.opened]

    def can_tell(self, signed: Collection[bytes]) -> bool:
        """Is the key that it knows among these, for certain?"""
        own = self.keys
        by_certificate = self.opened is None and len(own) < len(self.login.identities)
        return bool(own) and not by_certificate and all(key.blob in signed for key in own)


def likeliest(takers: Iterable[Taker]) -> list[PublicKey]:
    """The keys to sign with: of each host one, and then those that are tried first at most of them."""
    weights: Counter[bytes] = Counter()
    keys: dict[bytes, PublicKey] = {}
    left = list[list[bytes]]()
    for own in (taker.keys for taker in takers):
        left.append([key.blob for key in own])
        for rank, key in enumerate(own):
            keys.setdefault(key.blob, key)
            weights[key.blob] += len(own) - rank
    chosen = _covering(left, weights)
    more = [blob for blob, _ in weights.most_common() if blob not in chosen]
    return [keys[blob] for blob in [*chosen, *more[: max(0, LIKELY - len(chosen))]]]


def _covering(left: list[list[bytes]], weights: Counter[bytes]) -> list[bytes]:
    """One of each, as far as so few can be: each time the one that most of those that are left have."""
    chosen = list[bytes]()
    while len(chosen) < MOST_KEYS:
        held = Counter(blob for each in left for blob in each)
        if not held:
            break
        best = max(held, key=lambda blob: (held[blob], weights[blob]))
        chosen.append(best)
        left = [each for each in left if best not in each]
    return chosen
