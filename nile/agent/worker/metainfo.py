"""The metainfo of a torrent (BEP 3) with files of the source, and what it says of them.

Files follow each other in the order of their paths, and behind each there is
padding (BEP 47), so that no piece has parts of two: whoever has some of the
files needs nothing of these. Of a file it has, beside what BEP 3 knows, its time
under `nile`, and whether it has holes. All else that a tree has is in an archive without contents (see
archive), which is the last file and the only one marked by `archive`; `whole`
says that it has all of the tree. So all of it is covered by the info hash, and
so is a number that was never used before: an info hash that nobody can guess
keeps strangers out who don't read along.

Each file is looked at before and after it was read: what isn't any more as the
manifest has it ends it all. From then on the info hash says what each byte is.
"""

import errno
import hashlib
import os
import stat
from typing import NamedTuple

from nile.agent.worker import bencode
from nile.agent.worker.forking import Failure
from nile.agent.worker.manifest import FILE, TEMPORARY
from nile.agent.worker.trees import HOLES_FROM
from nile.agent.worker.walking import mark
from nile.agent.worker.working import PIECE, WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

    from nile.agent.worker.manifest import Entry
    from nile.agent.worker.trees import Source

LEAST_PIECE, MOST_PIECE = 64 << 10, 4 << 20  # bytes
MOST_PIECES = 2000
PADDING = 8  # of so many bytes one may be padding, for the sake of fewer pieces
NAME = b"nile"
ARCHIVE = b"archive"
_SHA1 = 20  # bytes
_BUFFER = 1 << 20
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE)


class File(NamedTuple):
    """One file of a torrent; the path is within the transfer."""

    path: bytes
    size: int
    mtime_ns: int
    holes: bool = False


def piece_size(sizes: "Sequence[int]") -> int:
    """Bytes of a piece: so many that there are 250 to 2000, between 64 KiB and 4 MiB; a power of two.

    Where files are small there are more, since each begins a piece, and what is padded has to be hashed.
    """
    size, total = LEAST_PIECE, sum(sizes)
    while size < MOST_PIECE and sum(-(-each // size) for each in sizes) > MOST_PIECES:
        size *= 2
    while size > LEAST_PIECE and sum(-each % size for each in sizes) > total // PADDING:
        size //= 2
    return size


def pieces(files: "Sequence[Entry]") -> int:
    """How many a torrent with these files has."""
    size = piece_size([entry.size for entry in files])
    return sum(-(-entry.size // size) for entry in files)


def chosen(source: "Source", only: bytes = b"") -> "List[Entry]":
    """The files that a torrent carries: all that have bytes, of hard links one name.

    `only` are paths with a zero byte between them: then these of them. b"": all.
    """
    named = set(only.split(b"\0")) if only else None
    files = [entry for entry in source.manifest.entries if entry.kind == FILE and entry.size]
    groups = {entry.group for entry in files if named is None or entry.path in named}
    return [
        entry
        for entry in files
        if entry.group in (b"", entry.path)
        and (named is None or entry.path in named or (entry.group and entry.group in groups))
    ]


def make(
    source: "Source",
    files: "Sequence[Entry]",
    archive: int,
    whole: bool,
    nonce: bytes,
    name: bytes = NAME,
    certificate: bytes = b"",
) -> bytes:
    """The info of a torrent with these files, bencoded. Raises Failure where they aren't as they were.

    `archive` is a descriptor of what says how they are put together, and all else there is; `whole`: of all.
    `certificate` is that of an authority: whoever has none that it signed may not take part (see authority).
    """
    size = os.fstat(archive).st_size
    piece = piece_size([entry.size for entry in files] + [size])
    pieces: "List[bytes]" = []
    for entry in files:
        try:
            pieces += _hashes(source, entry, piece)
        except OSError as error:
            code = "source-changed" if error.errno in _GONE else "source"
            raise Failure(code, error.strerror or "it can't be read", name=entry.path) from None
    pieces += (_hash(archive, ARCHIVE, at, min(size, at + piece), 0) for at in range(0, size, piece))
    info: "Dict[bytes, Any]" = {
        b"files": [*_listed(source, files, piece), {b"archive": 1, b"length": size, b"path": [ARCHIVE]}],
        b"name": name,
        b"nonce": nonce,
        b"piece length": piece,
        b"pieces": b"".join(pieces),
        b"private": 1,
        b"whole": int(whole),
    }
    if certificate:
        info[b"ssl-cert"] = certificate
    return bencode.encode(info)


def has_holes(source: "Source", entry: "Entry") -> bool:
    """Are there any worth keeping? (A file system that compresses has fewer blocks, too.)"""
    if entry.size < HOLES_FROM:
        return False
    try:
        fd = os.open(source.place(entry.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.fstat(fd).st_blocks * 512 < entry.size and os.lseek(fd, 0, os.SEEK_HOLE) < entry.size
    except OSError:  # this file system doesn't say where they are
        return False
    finally:
        os.close(fd)


def _listed(source: "Source", files: "Sequence[Entry]", piece: int) -> "Iterator[Dict[bytes, Any]]":
    for entry in files:
        about = [entry.mtime_ns] + [1] * has_holes(source, entry)
        yield {b"length": entry.size, b"nile": about, b"path": list(entry.path.split(b"/"))}
        padding = -entry.size % piece
        if padding:
            yield {b"attr": b"p", b"length": padding, b"path": [b".pad", b"%d" % padding]}


def _hashes(source: "Source", entry: "Entry", piece: int) -> "Iterator[bytes]":
    """Those of the pieces of one file, of which the last one is padded with zeros."""
    fd = os.open(source.place(entry.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = source.manifest.marks[entry.path]
        seen = os.fstat(fd)
        if mark(seen) != before or not stat.S_ISREG(seen.st_mode):
            raise _changed(entry.path)
        for begin in range(0, entry.size, piece):
            yield _hash(fd, entry.path, begin, min(entry.size, begin + piece), piece)
        if mark(os.fstat(fd)) != before:
            raise _changed(entry.path)
    finally:
        os.close(fd)


def _hash(fd: int, path: bytes, begin: int, end: int, padded: int) -> bytes:
    value, at = hashlib.sha1(), begin
    while at < end:
        data = os.pread(fd, min(_BUFFER, end - at), at)
        if not data:
            raise _changed(path)
        value.update(data)
        at += len(data)
        WORK.done += len(data) // PIECE
    value.update(bytes(max(0, padded - (end - begin))))
    return value.digest()


def _changed(path: bytes) -> Failure:
    return Failure("source-changed", "the source changed while it was read", name=path)


class Metainfo:
    """What an info dictionary says. `files` are in their order, None for padding and for the archive.

    `archive` is the number of that, and `whole` says whether it has all that the source has. `sizes` are
    those of all files, padding and archive among them, and `hashes` those of all pieces.
    """

    def __init__(self, info: bytes) -> None:
        """Raises ValueError where it isn't one of ours."""
        self.info = info
        value = bencode.decode(info)
        try:
            assert isinstance(value, dict)
            self.piece: int = value[b"piece length"]
            self.name: bytes = value[b"name"]
            self.hashes: bytes = value[b"pieces"]
            self.pieces = len(self.hashes) // _SHA1
            *files, archive = value[b"files"]
            assert archive[b"archive"] == 1
            self.files: "List[Optional[File]]" = [_read(each) for each in files] + [None]
            self.archive = len(files)
            self.sizes: "List[int]" = [each[b"length"] for each in value[b"files"]]
            self.whole = value[b"whole"] == 1
        except (AssertionError, KeyError, TypeError, IndexError):
            raise ValueError("a torrent that isn't one of ours") from None

    @property
    def torrent(self) -> bytes:
        """What is in a torrent file, as others read it."""
        return b"d4:info" + self.info + b"e"

    @property
    def hash(self) -> bytes:
        """The info hash."""
        return hashlib.sha1(self.info).digest()

    def first_wrong(self, directory: bytes, wanted: bytes) -> "Optional[int]":
        """The first of the files that are `wanted`, by number, that isn't in there as it should be.

        Each has its number as a name. Raises OSError.
        """
        at = 0
        for number, size in enumerate(self.sizes):
            if wanted[number] and not self._is_right(directory, number, at):
                return number
            at += size
        return None

    def _is_right(self, directory: bytes, number: int, at: int) -> bool:
        size, piece = self.sizes[number], self.piece
        fd = os.open(os.path.join(directory, b"%d" % number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if at % piece or os.fstat(fd).st_size != size:
                return False
            padded = 0 if number == self.archive else piece
            for begin in range(0, size, piece):
                which = _SHA1 * ((at + begin) // piece)
                found = _hash(fd, b"", begin, min(size, begin + piece), padded)
                if found != self.hashes[which : which + _SHA1]:
                    return False
            return True
        except Failure:  # it is shorter by now
            return False
        finally:
            os.close(fd)

    def numbered(self) -> "Iterator[Tuple[int, File]]":
        """Files with their numbers, padding and the archive left out."""
        return ((number, file) for number, file in enumerate(self.files) if file is not None)


def _read(listed: "Dict[bytes, Any]") -> "Optional[File]":
    if b"p" in listed.get(b"attr", b""):
        return None
    parts, (mtime_ns, *holes) = listed[b"path"], listed[b"nile"]
    odd = any(not part or part in (b".", b"..") or b"/" in part or b"\0" in part for part in parts)
    if odd or not parts or parts[0].startswith(TEMPORARY):
        raise ValueError("a torrent with a path that is none")
    if not all(isinstance(each, int) for each in (mtime_ns, listed[b"length"])):
        raise ValueError("a torrent with a file that is none")
    return File(b"/".join(parts), listed[b"length"], mtime_ns, bool(holes))
