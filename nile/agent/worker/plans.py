"""What is to get its place in a destination, written down beside it (see placing).

It counts as long as it is known to be true: after a loss of power files may be
empty of which only the names had come to the disk, and after some time whoever
uses the destination may have changed it altogether.
"""

import errno
import io
import os
import stat
import struct
import time
from typing import NamedTuple

from nile.agent import wire
from nile.agent.worker import archive
from nile.agent.worker.archive import BARE, Item, Looked, Owners
from nile.agent.worker.dressing import Terms
from nile.agent.worker.manifest import TOP
from nile.agent.worker.packing import MOST_ENTRIES
from nile.agent.worker.receiving import PLAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Dict, List, Optional, Tuple

    from nile.agent.worker.placing import Places

    Identity = Tuple[int, int]
    Identities = Dict[bytes, Identity]  # of the directories at the top

LATEST_S = 3600.0  # from when it was written until somebody ends what was begun
BOOT = "/proc/sys/kernel/random/boot_id"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SIZES = struct.Struct("!II")
_IDENTITY = struct.Struct("!QQ")  # the file system, and the number in it
_MOST_TERMS = 10000  # bytes


class What(NamedTuple):
    """What all needs to know of it that is to be placed.

    `directories` are those at the top; `itself` is the destination, if there is anything to be said of it.
    """

    terms: Terms
    looked: Looked
    owners: "List[Owners]"
    directories: "Dict[bytes, Item]"
    itself: "Optional[Item]"


def identity(seen: os.stat_result) -> "Identity":
    """Which directory it is."""
    return seen.st_dev, seen.st_ino


def _boot() -> str:
    """Which start of this machine this is; "" where it isn't told."""
    try:
        with open(BOOT) as file:
            return file.read(100).strip()
    except OSError:
        return ""


def write(places: "Places", what: What) -> None:
    """Whole, or it can't be understood: then nothing has its place yet."""
    items = list(what.directories.values())
    if what.itself is not None:
        items.append(what.itself)
    items.sort(key=lambda item: item.entry.path)
    terms = wire.dumps({**what.terms._asdict(), "boot": _boot()})
    which = [identity(os.lstat(name, dir_fd=places.inner)) for name in sorted(what.directories)]
    with io.open(os.open(PLAN, _WRITE, 0o600, dir_fd=places.outer), "wb") as out:
        out.write(_SIZES.pack(len(terms), len(which)) + terms)
        out.writelines(_IDENTITY.pack(*each) for each in which)
        out.write(archive.head(Owners({}, {}), what.looked, bare=True))
        out.writelines(map(archive.more_names, what.owners))
        for item in items:
            out.write(archive.item(item.entry, item.attributes))
        out.write(archive.end(len(items)))


def read(outer: int) -> "Optional[Tuple[What, Identities]]":
    """None where there is nothing that can be understood, and still counts. Raises OSError."""
    try:
        fd = os.open(PLAN, _READ, dir_fd=outer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ELOOP):  # a socket, a link
            return None
        raise
    with io.open(fd, "rb") as stream:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid():
            return None
        if abs(time.time() - seen.st_mtime) > LATEST_S:
            return None
        try:
            return _understood(stream)
        except (ValueError, EOFError, KeyError, TypeError, struct.error, wire.WireError):
            return None


def _understood(stream: "BinaryIO") -> "Tuple[What, Identities]":
    size, count = _SIZES.unpack(stream.read(_SIZES.size))
    if size > _MOST_TERMS or count > MOST_ENTRIES:
        raise ValueError("what nobody would have written down")
    said = wire.loads(stream.read(size))
    if said["boot"] != _boot():
        raise ValueError("files that may never have come to the disk")
    each = [_IDENTITY.unpack(stream.read(_IDENTITY.size)) for _ in range(count)]
    what = What(Terms(said["numeric_ids"], said["chown"]), Looked(False, False), [], {}, None)
    for message in archive.read(stream, BARE):
        if isinstance(message, Owners):
            what.owners.append(message)
        elif isinstance(message, Looked):
            what = what._replace(looked=message)
        elif isinstance(message, Item) and message.entry.path == TOP:
            what = what._replace(itself=message)
        elif isinstance(message, Item):
            what.directories[message.entry.path] = message
    if len(what.directories) != count:
        raise ValueError("directories of which it isn't known which ones they are")
    return what, dict(zip(sorted(what.directories), each))  # noqa: B905 - 3.6 has no strict
