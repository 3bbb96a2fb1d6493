"""What a gateway takes from outside its rack, bounded apart from all else. Part of a peer's process.

libtorrent bounds together what comes over all connections of one class, and gives a connection its class
when it is made, by its address. A peer that isn't connected to others than its rack needs none. Who becomes
a gateway has connections inside only, by then; from then on whoever isn't known to be near is outside.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Set

_EVERYWHERE = (("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
_NONE = 0


class Uplink:
    """The classes of a session's connections. `lt` is the module libtorrent."""

    def __init__(self, lt: "Any", session: "Any") -> None:
        # By default those at private addresses are served beside all others, however many slots there are:
        # then 12 hosts took 2.1 F/R and the seed sent 1.8 F, where with slots that hold it was 1.8 F/R and
        # 1.5 F.
        self._lt = lt
        self._session = session
        self._near: "Set[str]" = set()
        self._outside = -1
        session.set_peer_class_filter(self._filter(_NONE))

    def bound(self, rate: int, near: "Iterable[str]") -> None:
        """From now on connections are outside but to these addresses, and to those that were `near` before.

        No more than `rate` bytes a second come over those that are; 0: as many as can.
        """
        if self._outside < 0:
            self._outside = self._session.create_peer_class("outside")
        known = self._session.get_peer_class(self._outside)
        self._session.set_peer_class(self._outside, dict(known, download_limit=rate))
        self._near.update(near)
        self._session.set_peer_class_filter(self._filter(1 << self._outside))

    def _filter(self, outside: int) -> "Any":
        classes = self._lt.ip_filter()
        for first, last in _EVERYWHERE:
            classes.add_rule(first, last, outside)
        for address in self._near:
            classes.add_rule(address, address, _NONE)
        return classes
