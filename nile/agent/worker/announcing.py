"""What a tracker is asked, and what it answers, as text: HTTP and bencoding. Pure.

BEP 3 (announce), 7 and 23 (addresses as bytes), 48 (scrape), and the metainfo
itself below /metainfo/. All that comes is taken to be hostile; whom the tracker
knows is the matter of nile.agent.worker.register.
"""

import ipaddress
import re
from typing import NamedTuple

from nile.agent.worker import bencode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Sequence, Tuple

    from nile.agent.worker.register import Peer, Register

HASH = 20  # bytes, as many as a peer's id has
WANTED = 50  # peers in an answer, where the asker doesn't say how many
MOST_WANTED = 200
MOST_FIELDS = 100
PLAIN = b"text/plain"
TORRENT = b"application/x-bittorrent"

_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    431: b"Request Header Fields Too Large",
    505: b"HTTP Version Not Supported",
}
_REQUEST = re.compile(rb"([A-Z]{1,20}) (?:http://[^/? ]*)?(/[!-~]*) HTTP/([0-9])\.[0-9]\Z")
_METAINFO = re.compile(rb"/metainfo/([0-9a-fA-F]{40})\.torrent\Z")
_ESCAPED = re.compile(rb"%([0-9a-fA-F]{2})?")
_NUMBER = re.compile(rb"-?[0-9]{1,20}\Z")


class Refused(Exception):
    """No answer of use: an HTTP status, 200 where a tracker says it in its own words, and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Reply(NamedTuple):
    """What is sent back: an HTTP status, the type of the body, the body."""

    status: int
    kind: bytes
    body: bytes

    def head(self) -> bytes:
        """What goes before the body."""
        words = (self.status, _REASONS[self.status], self.kind, len(self.body))
        return (
            b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % words
        )


class Asked(NamedTuple):
    """An announce. `left`: bytes that the peer lacks; `event`: as BEP 3 has it, b"" if there is none."""

    info_hash: bytes
    peer_id: bytes
    port: int
    left: int
    event: bytes
    wanted: int
    compact: bool
    with_ids: bool


# What is asked.


def request(head: bytes) -> "Tuple[bytes, bytes]":
    """Path and query of an HTTP request, of which `head` is all before the empty line. Raises Refused."""
    line = _REQUEST.match(head.partition(b"\r\n")[0])
    if line is None:
        raise Refused(400, "this is no HTTP request")
    if line.group(3) != b"1":
        raise Refused(505, "HTTP/1.1 is spoken here")
    if line.group(1) != b"GET":
        raise Refused(405, "only GET is answered")
    path, _, query = line.group(2).partition(b"?")
    return path, query


def fields(query: bytes) -> "Dict[bytes, List[bytes]]":
    """What a query says, each name with all its values. Raises Refused."""
    found: "Dict[bytes, List[bytes]]" = {}
    words = query.split(b"&", MOST_FIELDS)
    if len(words) > MOST_FIELDS:
        raise Refused(400, "more than %d fields" % MOST_FIELDS)
    for word in words:
        name, _, value = word.partition(b"=")
        found.setdefault(_plain(name), []).append(_plain(value))
    return found


def _plain(word: bytes) -> bytes:
    def meant(match: "Any") -> bytes:
        if match.group(1) is None:
            raise Refused(400, "a % that two hexadecimal digits don't follow")
        return bytes([int(match.group(1), 16)])

    return _ESCAPED.sub(meant, word.replace(b"+", b" "))


def announced(query: bytes) -> Asked:
    """The announce that a query is. Raises Refused."""
    said = fields(query)
    info_hash, peer_id = _one(said, b"info_hash"), _one(said, b"peer_id")
    if len(info_hash) != HASH or len(peer_id) != HASH:
        raise Refused(200, "info_hash and peer_id have %d bytes" % HASH)
    port = _number(said, b"port", -1)
    left = _number(said, b"left", 1)
    if not 0 <= port < 1 << 16 or left < 0:
        raise Refused(200, "no such port, or nothing that can be left")
    wanted = _number(said, b"numwant", WANTED)
    return Asked(
        info_hash,
        peer_id,
        port,
        left,
        _one(said, b"event"),
        min(wanted, MOST_WANTED) if wanted >= 0 else WANTED,
        _one(said, b"compact") != b"0",
        _one(said, b"no_peer_id") != b"1",
    )


def _one(said: "Dict[bytes, List[bytes]]", name: bytes) -> bytes:
    values = said.get(name, [b""])
    if len(values) > 1:
        raise Refused(200, "%s is there twice" % name.decode())
    return values[0]


def _number(said: "Dict[bytes, List[bytes]]", name: bytes, default: int) -> int:
    value = _one(said, name)
    if not value:
        return default
    if not _NUMBER.match(value):
        raise Refused(200, "%s is no number" % name.decode())
    return int(value)


# What is answered.


def told(peers: "Sequence[Peer]", asked: Asked) -> "Dict[bytes, Any]":
    """Peers, as the asker wants them."""
    if not asked.compact:
        return {b"peers": [_spelt(peer, asked.with_ids) for peer in peers]}
    ends = [(len(peer.address), peer.address + peer.port.to_bytes(2, "big")) for peer in peers]
    answer = {b"peers": b"".join(end for size, end in ends if size == 4)}
    if any(size == 16 for size, _ in ends):
        answer[b"peers6"] = b"".join(end for size, end in ends if size == 16)
    return answer


def _spelt(peer: "Peer", with_id: bool) -> "Dict[bytes, Any]":
    spelt: "Dict[bytes, Any]" = {
        b"ip": str(ipaddress.ip_address(peer.address)).encode(),
        b"port": peer.port,
    }
    if with_id and peer.peer_id:
        spelt[b"peer id"] = peer.peer_id
    return spelt


def answer(register: "Register", head: bytes, address: str, now: float) -> Reply:
    """What to send to who comes from this address, of the plan or not, and said this before an empty line."""
    try:
        if not register.admits(address):
            raise Refused(403, "%s isn't an address of the plan" % address)
        return _answer(register, head, address, now)
    except Refused as refused:
        reason = str(refused).encode()
        if refused.status == 200:
            return Reply(200, PLAIN, bencode.encode({b"failure reason": reason}))
        return refusal(refused)


def refusal(refused: Refused) -> Reply:
    """What is sent instead of an answer."""
    return Reply(refused.status, PLAIN, str(refused).encode() + b"\n")


def _answer(register: "Register", head: bytes, address: str, now: float) -> Reply:
    path, query = request(head)
    metainfo = _METAINFO.match(path)
    if metainfo is not None:
        return Reply(200, TORRENT, register.metainfo(bytes.fromhex(metainfo.group(1).decode())))
    if path == b"/announce":
        said = register.announce(announced(query), address, now)
    elif path == b"/scrape":
        said = register.scrape(fields(query).get(b"info_hash", []), now)
    else:
        raise Refused(404, "there is /announce, /scrape and /metainfo/INFO-HASH.torrent")
    return Reply(200, PLAIN, bencode.encode(said))
