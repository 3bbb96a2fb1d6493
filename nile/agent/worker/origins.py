"""From whom a peer of a swarm got what: the seed, hosts of its own rack, others. It needs no libtorrent.

Each peer begins its id with a word that the root gave it. That word says what
it is, whoever connected to whom and from whatever address; nothing but what
people are shown hangs on it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Tuple

SEED = b"-NLS"
LENGTH = 8  # of such a word
NO_RACK = b"-NLH0000"
BY_SEED, BY_RACK, BY_OTHERS = range(3)
MOST_LEFT = 1000
KIB = 1024  # libtorrent remembers what a connection brought to that


class Origins:
    """`word` is our own; `flags` has the bits of libtorrent's peer_info.

    After a `look`, `useful` is how many connections lead to somebody who has what we lack, and `serving` how
    many of these serve us.
    """

    def __init__(self, word: str, flags: "Any") -> None:
        self._word = word.encode()
        self._interesting = int(flags.interesting)
        self._choked = int(flags.remote_choked)
        self._seen: "Dict[Tuple[Any, bytes], Tuple[int, int]]" = {}
        self._gone = [0, 0, 0]  # over connections that are no more
        self._left: "Dict[Tuple[Any, bytes], int]" = {}  # some of these, which may go on where they were
        self.useful = self.serving = 0

    def look(self, peers: "Iterable[Any]") -> None:
        """At all connections, as libtorrent has them."""
        seen = {}
        self.useful = self.serving = 0
        for peer in peers:
            name = peer.pid.to_bytes()
            seen[(peer.ip, name)] = (self._kind(name), peer.total_download)
            if peer.flags & self._interesting:
                self.useful += 1
                self.serving += not peer.flags & self._choked
        for key, (kind, count) in self._seen.items():
            if key not in seen or seen[key][1] < count:
                self._gone[kind] += count
                self._left[key] = count
        for key in seen.keys() & self._left.keys():
            kind, count = seen[key]
            before = self._left.pop(key)
            if count > before - KIB:
                self._gone[kind] -= before
        while len(self._left) > MOST_LEFT:
            self._left.pop(next(iter(self._left)))
        self._seen = seen

    def _kind(self, name: bytes) -> int:
        if name.startswith(SEED):
            return BY_SEED
        near = name[:LENGTH] == self._word and self._word != NO_RACK
        return BY_RACK if near else BY_OTHERS

    @property
    def bytes(self) -> "List[int]":
        """So many, by the seed, by the own rack, by others."""
        found = list(self._gone)
        for kind, count in self._seen.values():
            found[kind] += count
        return found
