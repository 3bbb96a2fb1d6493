"""Which addresses a peer has nothing to do with: a filter of libtorrent's."""

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Sequence, Tuple

BLOCKED = 1
_KINDS = ((0, socket.AF_INET, 4), (1, socket.AF_INET6, 16))


def ranges(packed: "Sequence[bytes]") -> "Iterator[Tuple[str, str]]":
    """First and last addresses: of IPv4 in the first bytes, of IPv6 in the second, one after the other."""
    for number, family, size in _KINDS[: len(packed)]:
        ends = packed[number]
        for at in range(0, len(ends), 2 * size):
            first, last = ends[at : at + size], ends[at + size : at + 2 * size]
            yield socket.inet_ntop(family, first), socket.inet_ntop(family, last)


def refused(lt: "Any", packed: "Sequence[bytes]") -> "Any":
    """A filter of whom is neither connected to nor let in; `lt` is the module libtorrent."""
    addresses = lt.ip_filter()
    for first, last in ranges(packed):
        addresses.add_rule(first, last, BLOCKED)
    return addresses
