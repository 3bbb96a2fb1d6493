"""A tree as a stream, for hosts that have no rsync: what is in it, file by file.

Messages of a kind (one byte), a length (u32) and that many bytes:

    H   {version, users, groups, has}: names of the ids that occur,  first, once
        and what of attributes was looked at
    N   {users, groups}: names of ids that ACLs have                 before the entry that has them
    E   an entry; those of one directory come after it
    D   an offset (u64) in the file that came last, and what is there; the rest of it is a hole
    Z   how many entries there were (u64)                             last, once

Entries are sorted by path. Of names that are hard-linked, the first one has the
content, and the others say which one that is. An archive *without contents* has
no D at all: what is in files travels otherwise. It has a version of its own, so
that nobody ever takes its files for empty ones. Whoever reads takes the other
side to be hostile: all is bounded, and what isn't as it has to be is a ValueError.
"""

import re
import struct
from typing import NamedTuple

from nile.agent import wire
from nile.agent.worker.manifest import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FILE,
    KINDS,
    MOST_DEEP,
    SYMLINK,
    TEMPORARY,
    TOP,
    Entry,
)
from nile.agent.worker.packing import MOST_ENTRIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, Tuple, Union

    Names = Dict[int, bytes]
    Attributes = List[Tuple[bytes, bytes]]

VERSION = 1
BARE = 2  # the version of one without contents
CHUNK = 256 * 1024  # bytes of a file in one message
MOST_MESSAGE = 4 << 20
MOST_NAMES = 100 * 1000  # of users and groups
MOST_ATTRIBUTES = 3 << 20  # bytes
_LONGEST = 4096  # bytes of a path or of a link's target: PATH_MAX
_LONGEST_NAME = 1024  # bytes: more than any user or group has
_HEAD = struct.Struct("!cI")
_ENTRY = struct.Struct("!cHQqIIQHHHI")
_OFFSET = struct.Struct("!Q")
_ODD = re.compile(rb"/\.{0,2}(?=/)")  # an empty component, "." or "..", in what slashes enclose


class Owners(NamedTuple):
    """Names of users and of groups, by id."""

    users: "Names"
    groups: "Names"


class Looked(NamedTuple):
    """Whether extended attributes and ACLs were looked at: where not, there is nothing to be said of them."""

    xattrs: bool
    acls: bool


class Item(NamedTuple):
    """An entry, with its extended attributes and ACLs: (name, value) as the kernel has them."""

    entry: Entry
    attributes: "Attributes"


class Data(NamedTuple):
    """A part of the file that came last."""

    offset: int
    content: bytes


# To write it.


def head(owners: Owners, looked: Looked, bare: bool = False) -> bytes:
    """The first message; `bare`: of an archive without contents."""
    about = dict(_names(owners), version=BARE if bare else VERSION, has=list(looked))
    return _message(b"H", wire.dumps(about))


def more_names(owners: Owners) -> bytes:
    """Names that weren't in the first message."""
    return _message(b"N", wire.dumps(_names(owners)))


def item(entry: Entry, attributes: "Attributes") -> bytes:
    """One entry; raises ValueError where its attributes are too much, or it is too deep."""
    packed = wire.dumps([list(pair) for pair in attributes]) if attributes else b""
    if len(packed) > MOST_ATTRIBUTES:
        raise ValueError("it has %d bytes of extended attributes" % len(packed))
    path, target, group = entry.path, entry.target, entry.group
    if _is_too_deep(path):
        raise ValueError("it is more than %d directories deep" % MOST_DEEP)
    numbers = (entry.mode, entry.size, entry.mtime_ns, entry.uid, entry.gid, entry.device)
    lengths = (len(path), len(target), len(group), len(packed))
    return _message(b"E", _ENTRY.pack(entry.kind, *(numbers + lengths)) + path + target + group + packed)


def data(offset: int, content: "Union[bytes, memoryview]") -> "Iterator[Union[bytes, memoryview]]":
    """A part of the file whose entry came last, at most CHUNK bytes; in two pieces, to copy nothing."""
    yield _HEAD.pack(b"D", _OFFSET.size + len(content)) + _OFFSET.pack(offset)
    yield content


def end(count: int) -> bytes:
    """The last message."""
    return _message(b"Z", _OFFSET.pack(count))


def _names(owners: Owners) -> "Dict[str, Any]":
    return {"users": sorted(owners.users.items()), "groups": sorted(owners.groups.items())}


def _message(kind: bytes, body: bytes) -> bytes:
    return _HEAD.pack(kind, len(body)) + body


# To read it.


def read(stream: "BinaryIO", version: int = VERSION) -> "Iterator[Union[Owners, Looked, Item, Data]]":
    """All of it up to its end, behind which there has to be nothing. ValueError, EOFError if torn.

    What was `Looked` at comes before all else.
    """
    messages = _messages(stream)
    try:
        kind, body = next(messages, (b"", b""))
        if kind != b"H":
            raise ValueError("an archive without a head")
        owners = _owners(body, version)
        names = len(owners.users) + len(owners.groups)
        yield _looked(body)
        yield owners
        count, before, size = 0, b"", 0
        for kind, body in messages:
            if kind == b"E":
                one = _item(body)
                if one.entry.path <= before:
                    raise ValueError("an archive that isn't sorted")
                before, count = one.entry.path, count + 1
                if count > MOST_ENTRIES:
                    raise ValueError("an archive of more than %d entries" % MOST_ENTRIES)
                linked = one.entry.group not in (b"", before)
                size = 0 if linked or version == BARE else one.entry.size
                yield one
            elif kind == b"D":
                part = Data(_OFFSET.unpack_from(body)[0], body[_OFFSET.size :])
                if not part.content or part.offset + len(part.content) > size:
                    raise ValueError("an archive with content that is nobody's")
                yield part
            elif kind == b"N":
                owners = _owners(body)
                names += len(owners.users) + len(owners.groups)
                if names > MOST_NAMES:
                    raise ValueError("an archive with %d names" % names)
                yield owners
            elif kind == b"Z":
                _finish(stream, body, count)
                return
            else:
                raise ValueError("a message of kind %r in an archive" % kind)
    except (wire.WireError, struct.error, KeyError, TypeError) as error:
        raise ValueError("an archive that makes no sense: %s" % error) from None


def _messages(stream: "BinaryIO") -> "Iterator[Tuple[bytes, bytes]]":
    while True:
        kind, size = _HEAD.unpack(_exactly(stream, _HEAD.size))
        if size > MOST_MESSAGE:
            raise ValueError("a message of %d bytes in an archive" % size)
        yield kind, _exactly(stream, size)


def _exactly(stream: "BinaryIO", size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError("an archive that is cut short")
    return found


def _finish(stream: "BinaryIO", body: bytes, count: int) -> None:
    if _OFFSET.unpack(body)[0] != count:
        raise ValueError("an archive that lacks something")
    if stream.read(1):
        raise ValueError("something behind the end of an archive")


def _owners(body: bytes, version: int = 0) -> Owners:
    value = wire.loads(body)
    if not isinstance(value, dict) or (version and value["version"] != version):
        raise ValueError("an archive of another version")
    owners = Owners(_pairs(value["users"], _id), _pairs(value["groups"], _id))
    if any(len(name) > _LONGEST_NAME for names in owners for name in names.values()):
        raise ValueError("an archive with a name that nobody has")
    return owners


def _looked(body: bytes) -> Looked:
    xattrs, acls = wire.loads(body)["has"]
    return Looked(xattrs is True, acls is True)


def _item(body: bytes) -> Item:
    kind, mode, size, mtime_ns, uid, gid, device, *lengths = _ENTRY.unpack_from(body)
    if _ENTRY.size + sum(lengths) != len(body):
        raise ValueError("an entry of another length in an archive")
    parts, at = [], _ENTRY.size
    for length in lengths:
        parts.append(body[at : at + length])
        at += length
    path, target, group, packed = parts
    if kind not in KINDS or mode > 0o7777 or size >= 1 << 63 or (size and kind != FILE):
        raise ValueError("an archive with an entry that can't be")
    if bool(target) != (kind == SYMLINK) or len(target) > _LONGEST or b"\0" in target:
        raise ValueError("an archive with a link that leads nowhere")
    if group and (kind == DIRECTORY or group > path):
        raise ValueError("an archive with a hard link that can't be")
    if device and kind not in (BLOCK, CHARACTER):
        raise ValueError("an archive with an entry that can't be")
    if not leads_inside(path) and not (path == TOP and kind == DIRECTORY):
        raise ValueError("an archive with a path that leads elsewhere")
    if group and not leads_inside(group):
        raise ValueError("an archive with a hard link that leads elsewhere")
    entry = Entry(path, kind, mode, size, mtime_ns, uid, gid, target, device, group)
    pairs = wire.loads(packed) if packed else []
    return Item(entry, list(_pairs(pairs, _bytes).items()))


def leads_inside(path: bytes) -> bool:
    """Below the top, and to nothing that a look at a tree passes over."""
    inside = b"/" + path
    odd = len(path) > _LONGEST or _is_too_deep(path) or b"\0" in path or _ODD.search(inside + b"/")
    return not odd and b"/" + TEMPORARY not in inside


def _is_too_deep(path: bytes) -> bool:
    return path.count(b"/") >= MOST_DEEP


def _pairs(value: "Any", first: "Callable[[Any], Any]") -> "Dict[Any, bytes]":
    if not isinstance(value, list):
        raise ValueError("an archive with something else where a list should be")
    return {first(one): _bytes(other) for one, other in _in_pairs(value)}


def _in_pairs(value: "Iterable[Any]") -> "Iterator[Tuple[Any, Any]]":
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError("an archive with something else where a pair should be")
        yield pair[0], pair[1]


def _bytes(value: "Any") -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("an archive with something else where bytes should be")
    return value


def _id(value: "Any") -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError("an archive with an id that can't be")
    return value
