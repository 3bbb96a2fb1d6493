"""aria2 as a peer of a swarm: how it is called, what it is told, and what its words mean. Pure.

It reads nothing of its user's, and nobody can steer it: all that it is to do is
in its words and in one list, and whom it may connect to a tracker of ours says
(see ariapeer). Where it is, it says every second.

It takes padding for files, which come along and have names of their own. A file
that isn't wanted has a name too, at which nothing comes.
"""

import re
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple

    from nile.agent.worker.metainfo import Metainfo

_OPTIONS = (
    "--no-conf --no-netrc --enable-rpc=false --quiet=false --stderr=false --enable-color=false"
    " --console-log-level=error --show-console-readout=false --download-result=hide --human-readable=false"
    " --summary-interval=1 --enable-dht=false --enable-dht6=false --bt-enable-lpd=false"
    " --enable-peer-exchange=false --bt-save-metadata=false --async-dns=false --seed-ratio=0.0"
    " --bt-max-peers=0 --bt-request-peer-speed-limit=1000M --bt-tracker-interval=1 --bt-tracker-timeout=5"
    " --file-allocation=none --disk-cache=0 --allow-overwrite=true --auto-save-interval=10"
).split()
_SERVES = ["--bt-seed-unverified=true"]  # what its control file says
_VERSION = re.compile(rb"aria2 version ([0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)\s")
_SAID = re.compile(
    rb"\[#[0-9a-f]+ (?:SEED\([^)]*\)|([0-9]+)B/([0-9]+)B(?:\([0-9]+%\))?) CN:([0-9]+)(?: SD:[0-9]+)?"
    rb"(?: DL:([0-9]+)B)?(?: UL:([0-9]+)B\(([0-9]+)B\))?"
)
_CAUSE = re.compile(rb"errorCode=[0-9]+ (?:URI=\S* )?(.*)|\[ERROR\] (.*)")
_CODES = {9: "disk-full"}  # its exit statuses
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Said(NamedTuple):
    """How it is. `at`, `whole`: bytes, None where it has all; rates; `sent` is None where it doesn't say."""

    at: "Optional[int]"
    whole: "Optional[int]"
    peers: int
    down: int
    up: int
    sent: "Optional[int]"


def names(torrent: "Metainfo") -> "List[str]":
    """Of all its files, where they come to: padding is the same wherever there is as much of it."""
    pads = [file is None and number != torrent.archive for number, file in enumerate(torrent.files)]
    return ["p%d" % torrent.sizes[at] if pad else "%d" % at for at, pad in enumerate(pads)]


def version(said: bytes) -> str:
    """What its --version says; "" where that is no aria2, or one that knows no torrents."""
    found = _VERSION.search(said)
    return found.group(1).decode() if found and b"BitTorrent" in said else ""


def words(
    program: str,
    directory: str,
    listed: str,
    tracker: int,
    port: int,
    limit: int,
    most: int,
    word: str,
    pid: int,
    serves: bool,
) -> "List[str]":
    """How it is called.

    `listed` is the path of its list, `tracker` and `port` are TCP ports, `limit` is what it sends at most
    in bytes a second (0: anything), `most` what it takes, `word` what its id begins with; it ends when the
    process `pid` does. One that `serves` has all that its control file says.
    """
    own = ["--dir=" + directory, "--input-file=" + listed, "--listen-port=%d" % port]
    own += ["--bt-tracker=http://127.0.0.1:%d/announce" % tracker, "--stop-with-process=%d" % pid]
    own += ["--max-overall-upload-limit=%d" % limit, "--max-overall-download-limit=%d" % most]
    own += ["--peer-id-prefix=" + word] if word else []
    return [program] + list(_OPTIONS) + own + (_SERVES if serves else [])


def listed(torrent: str, names: "List[str]", wanted: bytes) -> bytes:
    """Its list: where the torrent is, which of its files are wanted, and what each is called."""
    lines = [torrent, " select-file=" + ",".join(_ranges(wanted))]
    lines += [" index-out=%d=%s" % (number, name) for number, name in enumerate(names, 1)]
    return "\n".join(lines).encode() + b"\n"


def _ranges(wanted: bytes) -> "List[str]":
    """Numbers of what is wanted, from 1 on, those that follow each other as one."""
    return ["%d-%d" % (run.start() + 1, run.end()) for run in re.finditer(rb"[^\0]+", wanted)]


def heard(line: bytes) -> "Optional[Said]":
    """What a line says of how it is; None where it says anything else."""
    found = _SAID.match(line)
    if found is None:
        return None
    at, whole, peers, down, up, sent = (None if each is None else int(each) for each in found.groups())
    return Said(at, whole, peers or 0, down or 0, up or 0, sent)


def cause(line: bytes) -> str:
    """Why it failed, if a line says so, else ""."""
    found = _CAUSE.search(line)
    return (found.group(1) or found.group(2)).decode("utf-8", "replace").strip() if found else ""


def code(status: "Optional[int]") -> str:
    """What its exit status means."""
    return _CODES.get(status or 0, "copy")


def control(torrent: "Metainfo", wanted: bytes, sent: int) -> "Tuple[bytes, bytes]":
    """A control file, which says that it has all that is wanted and has `sent` so much: its name, and it.

    As aria2's technical notes have it, version 1. Raises ValueError where its name isn't known.
    """
    if _CONTROL.search(torrent.name):
        raise ValueError("a torrent with an odd name")
    bits = bytearray(-(-torrent.pieces // 8))
    at = 0
    for number, size in enumerate(torrent.sizes):
        end = -(-(at + size) // torrent.piece) if wanted[number] else 0
        for piece in range(at // torrent.piece, end):
            bits[piece // 8] |= 0x80 >> piece % 8
        at += size
    parts = [b"\0\1", (1).to_bytes(4, "big"), len(torrent.hash).to_bytes(4, "big"), torrent.hash]
    parts += [torrent.piece.to_bytes(4, "big"), at.to_bytes(8, "big"), sent.to_bytes(8, "big")]
    parts += [len(bits).to_bytes(4, "big"), bytes(bits), bytes(4)]
    return torrent.name + b".aria2", b"".join(parts)
