"""Torrents of what is to be copied: what is in them, and that nothing else is."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import pytest

from nile.agent.worker import bencode, metainfo
from nile.agent.worker.forking import Failure
from nile.agent.worker.metainfo import LEAST_PIECE, MOST_PIECE, Metainfo, piece_size
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.trees import Source
from tests.agent.worker.trees import make_all_kinds

NONCE = b"n" * 32


def read(*places: str) -> Source:
    source = Source([os.fsencode(place) for place in places], Patterns())
    source.read(False)
    return source


ARCHIVE = b"an archive"


def made(source: Source, only: bytes = b"", nonce: bytes = NONCE) -> Metainfo:
    with tempfile.TemporaryFile() as file:
        file.write(ARCHIVE)
        file.flush()
        files = metainfo.chosen(source, only)
        return Metainfo(metainfo.make(source, files, file.fileno(), not only, nonce))


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    top.mkdir()
    return top


@pytest.mark.parametrize(
    ("sizes", "piece"),
    [
        ([1], 64 << 10),
        ([100 << 20], 64 << 10),
        ([200 << 20], 128 << 10),
        ([6 << 30], 4 << 20),
        ([60 << 30], 4 << 20),
        ([100 << 10] * 5000, 64 << 10),
        ([], 64 << 10),
    ],
)
def test_a_piece_is_as_large_as_the_rule_has_it(sizes: list[int], piece: int) -> None:
    assert piece_size(sizes) == piece


@pytest.mark.parametrize("megabytes", [16, 33, 100, 500, 3000, 7900])
def test_there_are_250_to_2000_pieces(megabytes: int) -> None:
    size = piece_size([megabytes << 20])
    assert LEAST_PIECE <= size <= MOST_PIECE
    assert 250 <= (megabytes << 20) / size <= 2000


def test_small_files_arent_padded_to_many_times_what_they_are() -> None:
    sizes = [300 << 10] * 20_000
    size = piece_size(sizes)
    assert sum(-each % size for each in sizes) <= sum(sizes) / 8 or size == LEAST_PIECE


def test_each_file_begins_a_piece_and_all_are_hashed(top: Path) -> None:
    contents = {"a": b"a" * 70_000, "b/c": b"c" * 10, "d": os.urandom(65_536), "e": b"e"}
    for name, content in contents.items():
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_bytes(content)
    torrent = made(read(f"{top}/"))
    assert torrent.piece == 65_536
    files = dict(torrent.numbered())
    assert [file.path for file in files.values()] == [b"a", b"b/c", b"d", b"e"]
    padded = b"".join(content + bytes(-len(content) % 65_536) for content in contents.values()) + ARCHIVE
    hashes = [hashlib.sha1(padded[at : at + 65_536]).digest() for at in range(0, len(padded), 65_536)]
    value = bencode.decode(torrent.info)
    assert isinstance(value, dict)
    assert value[b"pieces"] == b"".join(hashes)
    assert value[b"private"] == 1
    assert sum(each[b"length"] for each in value[b"files"]) == len(padded)


def test_files_carry_their_time(top: Path) -> None:
    (top / "a").write_bytes(b"x")
    os.utime(top / "a", ns=(1, 1_234_567_890_123_456_789))
    (file,) = (file for _, file in made(read(f"{top}/")).numbered())
    assert file == (b"a", 1, 1_234_567_890_123_456_789, False)


def test_an_archive_is_the_last_of_its_files(top: Path) -> None:
    (top / "a").write_bytes(b"x")
    source = read(f"{top}/")
    torrent = made(source)
    assert torrent.archive not in dict(torrent.numbered())
    assert torrent.archive == len(torrent.files) - 1
    value = bencode.decode(torrent.info)
    assert isinstance(value, dict)
    assert value[b"files"][-1][b"length"] == len(ARCHIVE)
    assert torrent.whole
    assert not made(source, b"a").whole


def test_a_torrent_of_an_archive_alone(top: Path) -> None:
    torrent = made(read(f"{top}/"))
    assert (torrent.archive, torrent.pieces, list(torrent.numbered())) == (0, 1, [])


def test_nothing_but_files_with_bytes_and_of_hard_links_one(top: Path) -> None:
    make_all_kinds(top)
    (top / "empty").touch()
    paths = {file.path for _, file in made(read(f"{top}/")).numbered()}
    assert paths == {b"plain", b"new\nline", b"\xff\xfe", b" ", b"-n", b"*", b"tab\t", b"\\", b"again"}


def test_only_those_that_are_named(top: Path) -> None:
    make_all_kinds(top)
    named = made(read(f"{top}/"), b"plain\0dir\0dir/file\0nowhere")
    assert [file.path for _, file in named.numbered()] == [b"again", b"plain"]


def test_paths_are_those_of_the_transfer(top: Path, tmp_path: Path) -> None:
    (top / "in").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"y")
    torrent = made(read(str(top), str(tmp_path / "other")))
    assert [file.path for _, file in torrent.numbered()] == [b"other", b"top/in"]


def test_the_info_hash_cant_be_guessed(top: Path) -> None:
    (top / "a").write_bytes(b"x")
    source = read(f"{top}/")
    one, other = (made(source, nonce=nonce) for nonce in (b"1", b"2"))
    assert one.hash != other.hash
    assert one.hash == hashlib.sha1(one.info).digest()


@pytest.mark.parametrize("deed", ["written", "gone", "other"])
def test_a_file_that_isnt_any_more_as_it_was(top: Path, deed: str) -> None:
    (top / "a").write_bytes(b"x" * 100)
    source = read(f"{top}/")
    if deed == "written":
        seen = (top / "a").stat()
        (top / "a").write_bytes(b"y" * 100)
        os.utime(top / "a", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    else:
        (top / "a").unlink()
        if deed == "other":
            (top / "a").symlink_to("b")
    with pytest.raises(Failure) as caught:
        made(source)
    assert (caught.value.code, caught.value.name) == ("source-changed", b"a")


@pytest.mark.parametrize(
    "path", [[b".."], [b"a", b".."], [b""], [], [b"a/b"], [b"a\0"], [b".nile-sync-x", b"a"]]
)
def test_paths_that_lead_elsewhere_are_none(path: list[bytes]) -> None:
    listed = {b"length": 1, b"nile": [0], b"path": path}
    archive = {b"archive": 1, b"length": 1, b"path": [b"archive"]}
    info = {
        b"files": [listed, archive],
        b"whole": 1,
        b"name": b"x",
        b"piece length": 65536,
        b"pieces": bytes(20),
    }
    with pytest.raises(ValueError, match="path"):
        Metainfo(bencode.encode(info))


@pytest.mark.parametrize("info", [b"i1e", b"de", b"le", b"d5:filesli1eee", b"garbage"])
def test_what_isnt_one_of_ours(info: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what is wrong is the matter of whoever decodes
        Metainfo(info)
