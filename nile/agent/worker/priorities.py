"""Which pieces a peer gets first, and which ones never. Pure.

Pieces of files that aren't wanted have priority 0, whatever else is said. Priorities are set for pieces
alone: libtorrent applies those of files later, once its disk threads know of them, over those of pieces.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Sequence, Tuple

# libtorrent gets what fewest have, and of that what has the highest priority: it counts copies 8 less that.
FIRST, SECOND, LATER = 7, 6, 1
NO_SHARE = (1, 1)


def priorities(wanted: "Sequence[int]", share: "Tuple[int, int]", archive: int) -> "List[int]":
    """Of each piece; `wanted` are those before, 0 for the ones that aren't.

    First come the pieces from `archive` on (none, where there are no more), then those whose number,
    divided by the second of the `share`, leaves the first.
    """
    part, parts = share
    own = FIRST if archive >= len(wanted) else SECOND
    each = [own if number == part else LATER for number in range(parts)]
    found = [before and each[number % parts] for number, before in enumerate(wanted)]
    return found[:archive] + [before and FIRST for before in wanted[archive:]]
