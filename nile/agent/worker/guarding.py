"""With whom a peer of a swarm has to do: from whom of those that it meets it parts, and who may come back.

libtorrent bans one port of an address, and knows nothing of who comes back by another one. So where it is
known whose fault a damaged piece was (see banned) nobody is let in from there any more, unless others are at
that address, too, or may be: the culprit may have been a web server, beside a peer. Who is banned and may be
innocent is forgotten, and connected anew.
"""

from nile.agent.worker import peersettings, refusing
from nile.agent.worker.banned import Banned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Sequence, Set, Tuple


class Guard:
    """That of one session, which refuses who is in ranges of addresses (see refusing); `lt` is libtorrent."""

    def __init__(self, lt: "Any", session: "Any", refused: "Sequence[bytes]") -> None:
        self._lt = lt
        self._session = session
        self._refused = refused
        self._banned = Banned()
        self._shut: "List[str]" = []  # addresses of those whose fault it was
        self._told: "Set[Tuple[str, int]]" = set()
        self._handle: "Any" = None
        self.webs = False
        """Do web servers serve it, too?"""
        self._refuse([])

    @property
    def alarmed(self) -> bool:
        """Was there a damaged piece?"""
        return self._banned.alarmed

    def guards(self, handle: "Any", sizes: "Any") -> None:
        """This torrent; for `sizes` see `Banned.news`."""
        self._handle = handle
        self._sizes = sizes

    def connect(self, place: "Tuple[str, int]") -> None:
        """Go to somebody who is there: he needn't be the one that was shut out there, behind one address."""
        if place[0] in self._shut and place not in self._told:
            self._shut.remove(place[0])
            self._refuse([])
        self._told.add(place)
        self._handle.connect_peer(place)

    def hear(self, what: str, alert: "Any") -> str:
        """The address of somebody of whom this alert tells that damaged pieces came from there; else ""."""
        before = self._banned.alarmed
        guilty = self._banned.news(what, alert, self._sizes)
        if self._banned.alarmed and not before:
            self._session.apply_settings(peersettings.alarmed(self._lt))
        if guilty:
            self._shut_out(guilty)
        elif what == "peer_ban" and self._banned.pardoned(str(alert.endpoint[0])):
            self._pardon(str(alert.endpoint[0]))
        return guilty

    def _shut_out(self, address: str) -> None:
        there = {port for told, port in self._told if told == address}
        connected = {peer.pid.to_bytes() for peer in self._handle.get_peer_info() if peer.ip[0] == address}
        if not self.webs and len(there) < 2 and len(connected) < 2:
            self._shut.append(address)
            self._refuse([])

    def _pardon(self, address: str) -> None:
        """Of whom it refuses by address libtorrent forgets all, and then he is refused no more."""
        self._refuse([address])
        self._refuse([])
        for told in self._told:
            if told[0] == address:
                self._handle.connect_peer(told)

    def _refuse(self, more: "List[str]") -> None:
        addresses = refusing.refused(self._lt, self._refused)
        for address in self._shut + more:
            addresses.add_rule(address, address, refusing.BLOCKED)
        self._session.set_ip_filter(addresses)
