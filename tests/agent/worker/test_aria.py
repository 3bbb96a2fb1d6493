"""What aria2 is told, and what its words mean."""

from __future__ import annotations

import hashlib

import pytest

from nile.agent.worker import aria, bencode
from nile.agent.worker.aria import Said
from nile.agent.worker.metainfo import Metainfo

PIECE = 1 << 16
SIZES = (PIECE + 1, PIECE, 3)


def torrent(name: bytes = b"nile") -> Metainfo:
    """Two files, of which the first is padded, and an archive."""
    first, second, archive = SIZES
    files = [
        {b"length": first, b"nile": [1], b"path": [b"a"]},
        {b"attr": b"p", b"length": PIECE - 1, b"path": [b".pad", b"%d" % (PIECE - 1)]},
        {b"length": second, b"nile": [1], b"path": [b"b"]},
        {b"archive": 1, b"length": archive, b"path": [b"archive"]},
    ]
    info = {
        b"files": files,
        b"name": name,
        b"piece length": PIECE,
        b"pieces": bytes(4 * 20),
        b"whole": 1,
    }
    return Metainfo(bencode.encode(info))


def words(**changed: object) -> list[str]:
    told: dict[str, object] = {
        "directory": "/srv/x",
        "listed": "/proc/1/fd/3",
        "tracker": 1234,
        "port": 4321,
        "limit": 0,
        "most": 0,
        "word": "",
        "pid": 77,
        "serves": False,
    }
    return aria.words("/usr/bin/aria2c", **{**told, **changed})  # type: ignore[arg-type]


def test_it_reads_nothing_of_its_user_and_nobody_steers_it() -> None:
    assert {"--no-conf", "--no-netrc", "--enable-rpc=false", "--enable-dht=false"} <= set(words())
    assert words()[0] == "/usr/bin/aria2c"
    assert not [word for word in words() if word.startswith("--bt-seed") or "prefix" in word]


def test_what_differs_from_host_to_host() -> None:
    found = words(limit=1000, most=2000, word="-NLH0001", serves=True)
    assert "--max-overall-download-limit=2000" in found
    assert {"--max-overall-upload-limit=1000", "--listen-port=4321", "--stop-with-process=77"} <= set(found)
    assert {"--peer-id-prefix=-NLH0001", "--bt-seed-unverified=true", "--dir=/srv/x"} <= set(found)


def test_its_list_names_files_by_their_numbers_and_padding_by_its_size() -> None:
    names = aria.names(torrent())
    assert names == ["0", f"p{PIECE - 1}", "2", "3"]
    assert aria.listed("/t", names, b"\1\0\1\1").decode().splitlines() == [
        "/t",
        " select-file=1-1,3-4",
        " index-out=1=0",
        f" index-out=2=p{PIECE - 1}",
        " index-out=3=2",
        " index-out=4=3",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            b"[#2089b0 1048576B/2097152B(50%) CN:3 SD:1 DL:999B ETA:4s]",
            Said(1 << 20, 2 << 20, 3, 999, 0, None),
        ),
        (b"[#2089b0 0B/5B CN:0 SD:0 DL:0B]", Said(0, 5, 0, 0, 0, None)),
        (b"[#2089b0 1B/5B(20%) CN:1 SD:1 DL:1B UL:7B(70B) ETA:4s]", Said(1, 5, 1, 1, 7, 70)),
        (b"[#2089b0 SEED(0.5) CN:2 SD:0 UL:10B(1234B)]", Said(None, None, 2, 0, 10, 1234)),
        (b"[#2089b0 SEED(--) CN:2 SD:0]", Said(None, None, 2, 0, 0, None)),
        (b"FILE: [#1 SEED(0) CN:1]", None),
        (b"", None),
    ],
)
def test_how_it_says_that_it_is(line: bytes, said: Said | None) -> None:
    assert aria.heard(line) == said


def test_its_version() -> None:
    said = b"aria2 version 1.36.0\nCopyright\n\nEnabled Features: Async DNS, BitTorrent, GZip\n"
    assert aria.version(said) == "1.36.0"
    assert aria.version(said.replace(b"BitTorrent, ", b"")) == ""
    assert aria.version(b"something else 1.2.3, BitTorrent") == ""


def test_why_it_ended() -> None:
    full = b"Exception: [DiskWriter.cc:1] errNum=28 errorCode=9 Failed to write into the file x, cause: full"
    assert aria.cause(full) == "Failed to write into the file x, cause: full"
    assert aria.cause(b"01/02 03:04:05 [ERROR] Failed to bind a socket") == "Failed to bind a socket"
    assert aria.cause(b"anything") == ""
    assert (aria.code(9), aria.code(1), aria.code(None)) == ("disk-full", "copy", "copy")


def test_a_control_file_says_which_pieces_are_there() -> None:
    found = torrent()
    name, control = aria.control(found, b"\1\0\0\1", 5)
    assert name == b"nile.aria2"
    total = 3 * PIECE + 3
    head = [b"\0\1\0\0\0\1", b"\0\0\0\x14", hashlib.sha1(found.info).digest()]
    sizes = [PIECE.to_bytes(4, "big"), total.to_bytes(8, "big"), (5).to_bytes(8, "big")]
    assert control == b"".join([*head, *sizes, b"\0\0\0\1", bytes([0b11010000]), bytes(4)])


def test_no_control_file_is_called_oddly() -> None:
    with pytest.raises(ValueError, match="odd"):
        aria.control(torrent(b"a\nb"), b"\1\1\1\1", 0)
