"""A manifest as it travels: zlib over messages of a kind (one byte), a length (u32) and that many bytes.

    H   {version, checksum, users, groups, missing, mounts}      first, once
    U   [[path, reason], ...]                                    unreadable ones
    E   a block of entries, a column for each of their fields
    Z   how many entries there were                              last, once

The values are in the encoding of `nile.agent.wire`. Whoever unpacks takes the
other side to be hostile: all is bounded, and what isn't as it has to be is a
ValueError.
"""

import struct
import zlib

from nile.agent import wire
from nile.agent.worker.manifest import (
    BLOCK,
    CHARACTER,
    DIGEST_BYTES,
    DIRECTORY,
    FILE,
    KINDS,
    SYMLINK,
    TOP,
    Entry,
    Manifest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Sequence, Tuple

VERSION = 1
CHUNK = 64 * 1024  # bytes of the packed stream
LEVEL = 3  # of zlib: from 6 on it takes three times as long for a tenth
MOST_ENTRIES = 5 * 1000 * 1000
MOST_MESSAGE = 4 << 20
_BLOCK_ENTRIES = 4096
_BLOCK_TEXT = 1 << 20  # bytes of paths and link targets
_LONGEST = 4096  # bytes of a path or of a link's target: PATH_MAX
_HEAD = struct.Struct("!cI")
_ABSENT = bytes(DIGEST_BYTES)  # of a file that couldn't be read
# An empty component, "." or "..", in paths that NULs enclose.
_ODD = rb"[\0/]\.{0,2}(?=[\0/])"


def pack(manifest: Manifest) -> "Iterator[bytes]":
    """The manifest, without its marks, in chunks of at most 64 KiB."""
    deflater = zlib.compressobj(LEVEL)
    ready = bytearray()
    for message in _messages(manifest):
        ready += deflater.compress(message)
        while len(ready) >= CHUNK:
            yield bytes(ready[:CHUNK])
            del ready[:CHUNK]
    ready += deflater.flush()
    for start in range(0, len(ready), CHUNK):
        yield bytes(ready[start : start + CHUNK])


def _messages(manifest: Manifest) -> "Iterator[bytes]":
    head = {
        "version": VERSION,
        "checksum": manifest.checksum,
        "users": sorted(manifest.users.items()),
        "groups": sorted(manifest.groups.items()),
        "missing": manifest.missing,
        "mounts": manifest.mounts,
    }
    yield _message(b"H", head)
    for start in range(0, len(manifest.unreadable), 256):
        yield _message(b"U", manifest.unreadable[start : start + 256])
    index = {entry.path: number for number, entry in enumerate(manifest.entries) if entry.group == entry.path}
    for block in _blocks(manifest.entries):
        yield _message(b"E", _columns(block, manifest.checksum, index))
    yield _message(b"Z", len(manifest.entries))


def _message(kind: bytes, value: "Any") -> bytes:
    body = wire.dumps(value)
    return _HEAD.pack(kind, len(body)) + body


def _blocks(entries: "List[Entry]") -> "Iterator[List[Entry]]":
    block: "List[Entry]" = []
    text = 0
    for entry in entries:
        block.append(entry)
        text += len(entry.path) + len(entry.target)
        if len(block) == _BLOCK_ENTRIES or text >= _BLOCK_TEXT:
            yield block
            block, text = [], 0
    if block:
        yield block


def _columns(block: "List[Entry]", checksum: bool, index: "Dict[bytes, int]") -> "List[bytes]":
    linked = [(at, index[entry.group]) for at, entry in enumerate(block) if entry.group]
    return [
        b"".join(entry.kind for entry in block),
        _numbers("H", [entry.mode for entry in block]),
        _numbers("Q", [entry.size for entry in block]),
        _numbers("q", [entry.mtime_ns for entry in block]),
        _numbers("I", [entry.uid for entry in block]),
        _numbers("I", [entry.gid for entry in block]),
        b"\0".join(entry.path for entry in block),
        b"\0".join(entry.target for entry in block if entry.kind == SYMLINK),
        _numbers("Q", [entry.device for entry in block if entry.kind in (BLOCK, CHARACTER)]),
        _numbers("I", [at for at, _ in linked]),
        _numbers("I", [first for _, first in linked]),
        b"".join(entry.digest or _ABSENT for entry in block if entry.kind == FILE) if checksum else b"",
    ]


def _numbers(code: str, values: "Sequence[int]") -> bytes:
    return struct.pack("!%d%s" % (len(values), code), *values)


def unpack(chunks: "Iterable[bytes]", most: int = MOST_ENTRIES) -> Manifest:
    """The manifest that was packed, of at most that many entries; ValueError for anything else."""
    messages = _received(chunks)
    try:
        kind, head = next(messages, (b"", None))
        if kind != b"H":
            raise ValueError("a manifest without a head")
        manifest = _head(head)
        end = None
        for kind, value in messages:
            if end is not None:
                raise ValueError("something behind the end of a manifest")
            if kind == b"E":
                _entries(manifest, value)
            elif kind == b"U":
                manifest.unreadable += [(_bytes(path), _text(reason)) for path, reason in _pairs(value)]
            elif kind == b"Z":
                end = value
            else:
                raise ValueError("a message of kind %r in a manifest" % kind)
            if len(manifest.entries) + len(manifest.unreadable) > most:
                raise ValueError("a manifest of more than %d entries" % most)
    except (wire.WireError, struct.error, KeyError, TypeError) as error:
        raise ValueError("a manifest that makes no sense: %s" % error) from None
    if type(end) is not int or end != len(manifest.entries):
        raise ValueError("a manifest that is cut short")
    return manifest


def _received(chunks: "Iterable[bytes]") -> "Iterator[Tuple[bytes, Any]]":
    buffer = bytearray()
    for raw in _inflated(chunks):
        buffer += raw
        while len(buffer) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(buffer)
            if size > MOST_MESSAGE:
                raise ValueError("a message of %d bytes in a manifest" % size)
            end = _HEAD.size + size
            if len(buffer) < end:
                break
            yield kind, wire.loads(bytes(buffer[_HEAD.size : end]))
            del buffer[:end]
    if buffer:
        raise ValueError("a manifest that is cut short")


def _inflated(chunks: "Iterable[bytes]") -> "Iterator[bytes]":
    """Decompressed, in pieces that stay small whatever was sent."""
    inflater = zlib.decompressobj()
    try:
        for chunk in chunks:
            while chunk:
                yield inflater.decompress(chunk, 4 * CHUNK)
                chunk = inflater.unconsumed_tail
                if inflater.unused_data or (inflater.eof and chunk):
                    raise ValueError("something behind the end of a manifest")
        while True:
            raw = inflater.decompress(b"", 4 * CHUNK)
            if not raw:
                break
            yield raw
    except zlib.error as error:
        raise ValueError("a manifest that can't be unpacked: %s" % error) from None
    if not inflater.eof:
        raise ValueError("a manifest that is cut short")


def _head(value: "Any") -> Manifest:
    if not isinstance(value, dict) or value["version"] != VERSION or type(value["checksum"]) is not bool:
        raise ValueError("a manifest of another version")
    manifest = Manifest((), value["checksum"])
    manifest.users = {_id(number): _bytes(name) for number, name in _pairs(value["users"])}
    manifest.groups = {_id(number): _bytes(name) for number, name in _pairs(value["groups"])}
    manifest.missing = [_bytes(path) for path in _list(value["missing"])]
    manifest.mounts = [_bytes(path) for path in _list(value["mounts"])]
    return manifest


def _entries(manifest: Manifest, value: "Any") -> None:
    """Append a block; paths have to be sorted, and a hard-linked one to name one that came before it."""
    kinds, modes, sizes, times, uids, gids, paths, targets, devices, at, firsts, digests = map(
        _bytes, _list(value, 12)
    )
    count = len(kinds)
    entries = manifest.entries
    each_kind = [kinds[number : number + 1] for number in range(count)]
    each_path = _paths(paths, count, entries[-1].path if entries else b"")
    if not count or not set(each_kind).issubset(KINDS):
        raise ValueError("a manifest with an entry of no kind")
    each_target = iter(_targets(targets, kinds.count(SYMLINK)))
    each_device = iter(_unpacked("Q", devices, kinds.count(BLOCK) + kinds.count(CHARACTER)))
    each_digest = iter(_digests(digests, kinds.count(FILE) if manifest.checksum else 0))
    each_mode, each_size = _unpacked("H", modes, count), _unpacked("Q", sizes, count)
    if max(each_mode) > 0o7777 or max(each_size) >= 1 << 63:
        raise ValueError("a manifest with a mode or a size that can't be")
    columns = zip(  # noqa: B905 - 3.6 has no strict; all are of `count`
        each_path,
        each_kind,
        each_mode,
        each_size,
        _unpacked("q", times, count),
        _unpacked("I", uids, count),
        _unpacked("I", gids, count),
    )
    base = len(entries)
    for path, kind, mode, size, mtime_ns, uid, gid in columns:
        if size and kind != FILE:
            raise ValueError("a manifest with a size that can't be")
        target = next(each_target) if kind == SYMLINK else b""
        device = next(each_device) if kind in (BLOCK, CHARACTER) else 0
        digest = next(each_digest) if kind == FILE and manifest.checksum else b""
        entries.append(Entry(path, kind, mode, size, mtime_ns, uid, gid, target, device, b"", digest))
    _link(entries, base, at, firsts)


def _link(entries: "List[Entry]", base: int, at: bytes, firsts: bytes) -> None:
    count = len(at) // 4
    pairs = zip(_unpacked("I", at, count), _unpacked("I", firsts, count))  # noqa: B905 - 3.6
    for own, first in pairs:
        own += base
        if own >= len(entries) or first > own or entries[own].group:
            raise ValueError("a manifest with a hard link that can't be")
        group = entries[first].path
        if entries[own].kind == DIRECTORY or entries[first].group != (b"" if first == own else group):
            raise ValueError("a manifest with a hard link that can't be")
        entries[own] = entries[own]._replace(group=group)


def _paths(joined: bytes, count: int, before: bytes) -> "List[bytes]":
    paths = joined.split(b"\0")
    if len(paths) != count:
        raise ValueError("a manifest with columns that don't fit")
    if max(map(len, paths)) > _LONGEST:
        raise ValueError("a manifest with a path that is too long")
    import re  # few hosts get a manifest

    named = [path for path in paths if path != TOP]
    if named and re.search(_ODD, b"\0%b\0" % b"\0".join(named)):
        raise ValueError("a manifest with a path that leads elsewhere")
    for path in paths:
        if path <= before:
            raise ValueError("a manifest that isn't sorted")
        before = path
    return paths


def _targets(joined: bytes, count: int) -> "List[bytes]":
    targets = joined.split(b"\0") if count else []
    if len(targets) != count or (joined and not count) or max(map(len, targets or [b""])) > _LONGEST:
        raise ValueError("a manifest with links that lead nowhere")
    return targets


def _digests(joined: bytes, count: int) -> "List[bytes]":
    if len(joined) != count * DIGEST_BYTES:
        raise ValueError("a manifest with columns that don't fit")
    each = [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]
    return [b"" if digest == _ABSENT else digest for digest in each]


def _unpacked(code: str, data: bytes, count: int) -> "Tuple[int, ...]":
    return struct.unpack("!%d%s" % (count, code), data)


def _pairs(value: "Any") -> "List[List[Any]]":
    return [_list(pair, 2) for pair in _list(value)]


def _list(value: "Any", count: int = -1) -> "List[Any]":
    if not isinstance(value, list) or len(value) != count != -1:
        raise ValueError("a manifest with something else where a list should be")
    return value


def _bytes(value: "Any") -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a manifest with something else where bytes should be")
    return value


def _text(value: "Any") -> str:
    if not isinstance(value, str):
        raise ValueError("a manifest with something else where text should be")
    return value


def _id(value: "Any") -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError("a manifest with an id that can't be")
    return value
