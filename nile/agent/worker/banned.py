"""Who sent a peer damaged pieces. It needs no libtorrent.

libtorrent bans whoever alone sent a piece that isn't as it should be. Where several did it waits until the
piece came right, and then parts from the one whose blocks were others; but somebody who had a part in several
such pieces it bans, too, and that may be for what another one sent. So it isn't named who is banned, but who
it was for sure. For a part in fewer than `SHARED` nobody is banned: who is, while no more failed, was alone.
That holds until somebody is forgotten, as who is shut out or pardoned is: his blocks stay where they are, and
who sent the others of such a piece is banned as if all were his. From then on, or when more failed, it is
known from who sends which block, which is told only once there was a damaged piece. Then, too, a piece is
asked for as a whole, of one peer: nobody comes under suspicion for others. Who is banned and may be innocent
is pardoned: if he isn't, his next piece says so.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Set

MOST = 16  # of whom that is told
MOST_PARDONS = 5  # of one address
SHARED = 4  # pieces: libtorrent takes two points for each that fails, and bans at seven
BLOCK = 16 * 1024  # bytes
BY_BLOCKS = 91  # libtorrent's error where it parts from somebody whose blocks were others: peer_banned
ALARMED = {"whole_pieces_threshold": 20}  # seconds: who sends a piece within that is asked for all of it


class Banned:
    """Addresses of those whose fault it is, each told once."""

    def __init__(self) -> None:
        self.alarmed = False
        """Was there a damaged piece?"""
        self._known: "Set[str]" = set()
        self._pardoned: "Dict[str, int]" = {}  # how often
        self._failed = 0  # pieces
        self._forgotten = False
        """May somebody be, of whom there are blocks in pieces that aren't whole?"""
        self._senders: "Dict[int, Dict[int, str]]" = {}  # by piece and block

    def news(self, what: str, alert: "Any", sizes: "Any") -> str:
        """The address of somebody of whom this alert, which is called `what`, tells that; else "".

        `sizes.piece_size(number)` is how long a piece is.
        """
        guilty = ""
        if what == "hash_failed":
            self.alarmed = True
            self._failed += 1
            guilty = self._alone(alert.piece_index, sizes)
        elif what == "peer_ban":  # it comes before it is said which piece failed
            alone = self._failed + 1 < SHARED and not self._forgotten
            guilty = str(alert.endpoint[0]) if alone else ""
        elif what == "alerts_dropped":  # who knows how many failed?
            self._failed += SHARED
        elif what == "block_finished":
            self._senders.setdefault(alert.piece_index, {})[alert.block_index] = str(alert.endpoint[0])
        elif what == "piece_finished":
            self._senders.pop(alert.piece_index, None)
        elif what == "peer_disconnected":
            error = alert.error
            if error.category().name() == "libtorrent" and error.value() == BY_BLOCKS:
                guilty = str(alert.endpoint[0])
        if not guilty or guilty in self._known or len(self._known) >= MOST:
            return ""
        self._known.add(guilty)
        self._forgotten = True
        return guilty

    def pardoned(self, address: str) -> bool:
        """Is this one, who was banned, to have another chance?"""
        times = self._pardoned.get(address, 0)
        if address in self._known or times >= MOST_PARDONS:
            return False
        self._pardoned[address] = times + 1
        self._forgotten = True
        return True

    def _alone(self, piece: int, sizes: "Any") -> str:
        """Who sent all blocks of it; "" where several did, or it isn't known of all."""
        senders = self._senders.pop(piece, {})
        whole = len(senders) == -(-sizes.piece_size(piece) // BLOCK)
        addresses = set(senders.values())
        return addresses.pop() if whole and len(addresses) == 1 else ""
