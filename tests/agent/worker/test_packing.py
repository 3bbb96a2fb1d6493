"""A manifest that travels arrives as it was; whatever else arrives is a ValueError, and soon."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nile.agent import wire
from nile.agent.worker import packing
from nile.agent.worker.manifest import Entry, Manifest, Terms
from nile.agent.worker.packing import pack, unpack
from tests.agent.worker.values import fields, manifests

HEAD = {"version": 1, "checksum": False, "users": [], "groups": [], "missing": [], "mounts": []}


def raw(*messages: tuple[bytes, Any]) -> bytes:
    bodies = [(kind, wire.dumps(value)) for kind, value in messages]
    return b"".join(kind + struct.pack("!I", len(body)) + body for kind, body in bodies)


def columns(**otherwise: bytes) -> list[bytes]:
    """A block of the file `a` (1 byte) and the link `b` to it."""
    plain = {
        "kinds": b"fl",
        "modes": struct.pack("!2H", 0o644, 0o777),
        "sizes": struct.pack("!2Q", 1, 0),
        "times": struct.pack("!2q", 5, 6),
        "uids": struct.pack("!2I", 7, 8),
        "gids": struct.pack("!2I", 9, 10),
        "paths": b"a\0b",
        "targets": b"a",
        "devices": b"",
        "at": b"",
        "firsts": b"",
        "digests": b"",
    }
    assert plain.keys() >= otherwise.keys()
    return list({**plain, **otherwise}.values())


def sent(*blocks: Any, head: Any = HEAD, end: Any = 2) -> list[bytes]:
    return [zlib.compress(raw((b"H", head), *((b"E", block) for block in blocks), (b"Z", end)))]


@settings(deadline=None, max_examples=100)
@given(manifests(), st.integers(1, 64))
def test_what_goes_in_comes_out_in_whatever_pieces(found: Manifest, size: int) -> None:
    packed = b"".join(pack(found))
    again = unpack(packed[at : at + size] for at in range(0, len(packed), size))
    assert fields(again) == fields(found)
    assert again.marks == {}
    assert again.fingerprint(Terms()) == found.fingerprint(Terms())


def test_what_the_hand_made_blocks_of_these_tests_say() -> None:
    found = unpack(sent(columns()))
    assert found.entries == [
        Entry(b"a", b"f", 0o644, 1, 5, 7, 9),
        Entry(b"b", b"l", 0o777, 0, 6, 8, 10, b"a"),
    ]


def test_many_entries_come_in_several_blocks_and_small_chunks() -> None:
    many = [Entry(b"%06d" % (n // 2 * 2 + n % 2), b"f", 0o644, n, n * 7919**3, 0, 0) for n in range(20_000)]
    many = [entry._replace(group=b"%06d" % (n // 2 * 2)) for n, entry in enumerate(many)]
    found = Manifest(many)
    found.unreadable = [(b"%d" % n, "Permission denied") for n in range(1000)]
    chunks = list(pack(found))
    assert len(chunks) > 1
    assert max(map(len, chunks)) <= 65536
    assert fields(unpack(chunks)) == fields(found)


def test_long_paths_are_split_into_blocks_that_the_other_side_takes() -> None:
    long = b"/".join([b"n" * 255] * 15)
    many = [Entry(b"%04d/%b" % (n, long), b"l", 0, 0, 0, 0, 0, b"t" * 4095) for n in range(2000)]
    assert unpack(pack(Manifest(many))).entries == many


@settings(deadline=None, max_examples=120)
@given(manifests(6), st.data())
def test_bytes_that_were_damaged_are_a_value_error_or_another_manifest(
    found: Manifest, data: st.DataObject
) -> None:
    plain = bytearray(zlib.decompress(b"".join(pack(found))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(plain) - 1))
        plain[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        if not plain:
            break
    try:
        again = unpack([zlib.compress(bytes(plain))])
    except ValueError:
        return
    assert fields(unpack(pack(again))) == fields(again)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=5))
def test_any_bytes_are_a_value_error(chunks: list[bytes]) -> None:
    with pytest.raises(ValueError, match="manifest"):
        unpack(chunks)


def test_every_truncation_is_noticed() -> None:
    packed = b"".join(pack(unpack(sent(columns()))))
    for end in range(len(packed)):
        with pytest.raises(ValueError, match=r"cut short|without a head"):
            unpack([packed[:end]])
    with pytest.raises(ValueError, match="behind the end"):
        unpack([packed, b"x"])
    with pytest.raises(ValueError, match="behind the end"):
        unpack([packed + b"x"])
    plain = zlib.decompress(packed)
    for end in range(len(plain)):
        with pytest.raises(ValueError, match=r"cut short|without a head"):
            unpack([zlib.compress(plain[:end])])


two = struct.pack
BAD_BLOCKS = {
    "kind": {"kinds": b"xl", "sizes": bytes(16)},
    "kinds": {"kinds": b"f"},
    "many": {"kinds": b"flf"},
    "mode": {"modes": two("!2H", 0o644, 0o10000)},
    "modes": {"modes": b"123"},
    "size": {"sizes": two("!2Q", 1 << 63, 0)},
    "size of a link": {"sizes": two("!2Q", 1, 1)},
    "times": {"times": b""},
    "uids": {"uids": b"1234567"},
    "gids": {"gids": b"123456789"},
    "absolute": {"paths": b"/a\0b"},
    "slash at the end": {"paths": b"a/\0b"},
    "double slash": {"paths": b"a//b\0b"},
    "no path": {"paths": b"\0b"},
    "up": {"paths": b"..\0b"},
    "up within": {"paths": b"a/../b\0b"},
    "up at the end": {"paths": b"a/..\0b"},
    "a dot within": {"paths": b"a/./b\0b"},
    "two dots": {"paths": b".\0."},
    "a dot below": {"paths": b"./a\0b"},
    "unsorted": {"paths": b"b\0a"},
    "twice": {"paths": b"a\0a"},
    "too few": {"paths": b"a"},
    "too many": {"paths": b"a\0b\0c"},
    "too long": {"paths": b"a\0" + b"b" * 4097},
    "a target too many": {"kinds": b"ff"},
    "no target": {"targets": b"a\0b"},
    "a long target": {"targets": b"t" * 4097},
    "a device": {"devices": b"12345678"},
    "a link of a later one": {"at": two("!I", 0), "firsts": two("!I", 1)},
    "a link of an earlier one": {"at": two("!2I", 1, 0), "firsts": two("!2I", 1, 1)},
    "a link behind the end": {"at": two("!I", 2), "firsts": two("!I", 0)},
    "a link to no first one": {"at": two("!I", 1), "firsts": two("!I", 0)},
    "a link twice": {"at": two("!2I", 0, 0), "firsts": two("!2I", 0, 0)},
    "half a link": {"at": two("!I", 1), "firsts": b""},
    "links": {"at": b"123", "firsts": b"123"},
    "a directory that is linked": {
        "kinds": b"dd",
        "sizes": bytes(16),
        "targets": b"",
        "at": bytes(4),
        "firsts": bytes(4),
    },
    "digests": {"digests": bytes(32)},
}


@pytest.mark.parametrize("block", BAD_BLOCKS.values(), ids=BAD_BLOCKS)
def test_a_block_that_cannot_be_is_refused(block: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="manifest"):
        unpack(sent(columns(**block)))


def test_blocks_have_to_follow_each_other_in_order() -> None:
    later = columns(paths=b"c\0d")
    assert [entry.path for entry in unpack(sent(columns(), later, end=4)).entries] == [b"a", b"b", b"c", b"d"]
    with pytest.raises(ValueError, match="sorted"):
        unpack(sent(later, columns(), end=4))
    with pytest.raises(ValueError, match="sorted"):
        unpack(sent(columns(), columns(), end=4))


def test_one_entry_is_in_one_group() -> None:
    three = {"kinds": b"fff", "modes": bytes(6), "sizes": bytes(24), "times": bytes(24), "uids": bytes(12)}
    three |= {"gids": bytes(12), "paths": b"a\0b\0c", "targets": b""}
    groups = {"at": two("!3I", 0, 1, 2), "firsts": two("!3I", 0, 1, 1)}
    assert [entry.group for entry in unpack(sent(columns(**three, **groups), end=3)).entries] == [
        b"a",
        b"b",
        b"b",
    ]
    groups = {"at": two("!4I", 0, 1, 2, 2), "firsts": two("!4I", 0, 1, 0, 1)}
    with pytest.raises(ValueError, match="hard link"):
        unpack(sent(columns(**three, **groups), end=3))


@pytest.mark.parametrize("joined", [b".\0b", b"-\0.", b"!\0-\0.\0b"])
def test_the_top_comes_where_its_dot_belongs(joined: bytes) -> None:
    listed = [Entry(path, b"d", 0o755, 0, 0, 0, 0) for path in joined.split(b"\0")]
    assert unpack(pack(Manifest(listed))).entries == listed


@pytest.mark.parametrize(
    "messages",
    [
        [(b"Z", 0)],
        [(b"H", HEAD)],
        [(b"H", HEAD), (b"Z", 1)],
        [(b"H", HEAD), (b"Z", False)],
        [(b"H", HEAD), (b"H", HEAD), (b"Z", 0)],
        [(b"H", HEAD), (b"Z", 0), (b"Z", 0)],
        [(b"H", HEAD), (b"Z", 0), (b"U", [])],
        [(b"H", HEAD), (b"X", []), (b"Z", 0)],
        [(b"H", HEAD), (b"E", None), (b"Z", 0)],
        [(b"H", HEAD), (b"E", []), (b"Z", 0)],
        [(b"H", HEAD), (b"E", [b""] * 12), (b"Z", 0)],
        [(b"H", HEAD), (b"E", ["f"] * 12), (b"Z", 0)],
        [(b"H", HEAD), (b"U", [[b"a"]]), (b"Z", 0)],
        [(b"H", HEAD), (b"U", [["a", "b"]]), (b"Z", 0)],
        [(b"H", HEAD), (b"U", [[b"a", b"b"]]), (b"Z", 0)],
        [(b"H", HEAD), (b"U", {"a": "b"}), (b"Z", 0)],
        [(b"H", HEAD), (b"U", [1]), (b"Z", 0)],
        [(b"H", []), (b"Z", 0)],
        [(b"H", {}), (b"Z", 0)],
        *(
            [(b"H", {**HEAD, "users": users}), (b"Z", 0)]
            for users in ([[-1, b"a"]], [[1 << 32, b"a"]], [[0, "a"]], [0])
        ),
        [(b"H", {**HEAD, "groups": [[True, b"a"]]}), (b"Z", 0)],
        [(b"H", {**HEAD, "version": 2}), (b"Z", 0)],
        [(b"H", {**HEAD, "checksum": 1}), (b"Z", 0)],
        [(b"H", {**HEAD, "missing": ["a"]}), (b"Z", 0)],
        [(b"H", {**HEAD, "mounts": b"a"}), (b"Z", 0)],
    ],
)
def test_messages_that_make_no_sense_are_refused(messages: list[tuple[bytes, Any]]) -> None:
    with pytest.raises(ValueError, match="manifest"):
        unpack([zlib.compress(raw(*messages))])


def test_no_more_entries_than_the_caller_allows() -> None:
    assert len(unpack(sent(columns()), most=2).entries) == 2
    with pytest.raises(ValueError, match="more than 1 entries"):
        unpack(sent(columns()), most=1)
    with pytest.raises(ValueError, match="more than 1 entries"):
        unpack([zlib.compress(raw((b"H", HEAD), (b"U", [[b"a", "x"], [b"b", "y"]]), (b"Z", 0)))], most=1)


def test_a_message_that_is_too_long_is_refused_before_it_is_there() -> None:
    with pytest.raises(ValueError, match="message of 4194305 bytes"):
        unpack([zlib.compress(b"H" + struct.pack("!I", packing.MOST_MESSAGE + 1))])


def test_a_small_thing_that_unpacks_to_a_huge_one_takes_little_memory() -> None:
    bomb = zlib.compress(b"H" + struct.pack("!I", packing.MOST_MESSAGE) + bytes(200 << 20))
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="manifest"):
            unpack([bomb])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20
