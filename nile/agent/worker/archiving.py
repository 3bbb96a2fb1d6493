"""The source as an archive: what hosts get that have no rsync, recorded once for all of them.

A child of the worker reads the source and writes the archive to a pipe; what
comes goes into a spool, as a recording of rsync's does, and the same gate is at
its end. The child looks at each file before and after it was read: what isn't
any more as the manifest has it ends the archive, so that none has half of one
version and half of another in it.
"""

import errno
import io
import os
import stat

from nile.agent.worker import archive, attributes
from nile.agent.worker.archive import Looked, Owners
from nile.agent.worker.forking import Failure, Working
from nile.agent.worker.manifest import FILE, TOP
from nile.agent.worker.recording import Spooled
from nile.agent.worker.walking import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, FrozenSet, Iterator, List, Optional, Set, Tuple

    from nile.agent.worker.archive import Attributes
    from nile.agent.worker.loop import Loop
    from nile.agent.worker.manifest import Entry
    from nile.agent.worker.pushing import Done, Gate
    from nile.agent.worker.recording import Spool
    from nile.agent.worker.running import Ending
    from nile.agent.worker.trees import Source

_ZEROS = bytes(archive.CHUNK)
FEATURES = frozenset({"xattrs", "ACLs"})


class Archiving(Spooled):
    """One archive of the source, into `spool`; as a Recording."""

    def __init__(
        self,
        loop: "Loop",
        source: "Source",
        has: "FrozenSet[str]",
        spool: "Spool",
        gate: "Gate",
        done: "Done",
    ) -> None:
        """`has`: which of FEATURES are taken along. Raises OSError where there can be no child."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            self._working = Working(loop, lambda: write(1, source, has), [null, writer], self._ended)
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
            os.close(null)
        super().__init__(loop, reader, spool, gate, done)

    def _end(self) -> None:
        self._working.kill()

    @property
    def pid(self) -> int:
        """The child."""
        return self._working.pid

    def _ended(self, ending: "Ending") -> None:
        ending.sent = 0  # nothing went over a connection
        self._over(ending)


def write(fd: int, source: "Source", has: "FrozenSet[str]" = FEATURES) -> None:
    """Write the archive to a file or a pipe. Raises Failure where the source isn't as it was."""
    with io.open(fd, "wb", buffering=archive.CHUNK) as out:
        _Writer(out, source, has, False).write(source.manifest.entries)


def write_bare(
    fd: int, source: "Source", has: "FrozenSet[str]" = FEATURES, paths: "Optional[bytes]" = None
) -> None:
    """Write one without contents: those of files travel otherwise, and are put to it by `merging`.

    With `paths` (a zero byte between them) only of these, and of all without which they can't be done, as
    `Source.named` has it. Raises Failure as `write` does; it may block as that does, so have a child do it.
    """
    entries = source.manifest.entries if paths is None else source.chosen(paths)
    with io.open(fd, "wb", buffering=archive.CHUNK) as out:
        _Writer(out, source, has, True).write(entries)


class _Writer:
    def __init__(self, out: "BinaryIO", source: "Source", has: "FrozenSet[str]", bare: bool) -> None:
        self._out = out
        self._source = source
        self._has = has
        self._bare = bare
        manifest = source.manifest
        self._users: "Set[int]" = {entry.uid for entry in manifest.entries}
        self._groups: "Set[int]" = {entry.gid for entry in manifest.entries}

    def write(self, entries: "List[Entry]") -> None:
        manifest = self._source.manifest
        looked = Looked(*(each in self._has and attributes.can() for each in ("xattrs", "ACLs")))
        self._out.write(archive.head(Owners(manifest.users, manifest.groups), looked, self._bare))
        for entry in entries:
            try:
                self._write(entry)
            except OSError as error:
                gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
                code = "source-changed" if gone else "source"
                raise Failure(code, error.strerror or "it can't be read", name=entry.path) from None
        self._out.write(archive.end(len(entries)))

    def _write(self, entry: "Entry") -> None:
        place = self._place(entry.path)
        linked = entry.group not in (b"", entry.path)
        found = [] if linked else attributes.taken(place, "xattrs" in self._has, "ACLs" in self._has)
        self._name(found)
        try:
            self._out.write(archive.item(entry, found))
        except ValueError as error:
            raise Failure("source", str(error), name=entry.path) from None
        if entry.kind == FILE and not linked and not self._bare:
            self._write_content(entry, place)

    def _place(self, path: bytes) -> bytes:
        """Where on the disk that is which was found; it has to be the same still."""
        for place in self._source.places(path):
            try:
                seen = os.stat(place) if path == TOP else os.lstat(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if mark(seen) == self._source.manifest.marks[path]:
                return place
        raise _changed(path)

    def _name(self, found: "Attributes") -> None:
        """Say how those are called whom only an ACL speaks of."""
        users, groups = attributes.named(found)
        users, groups = users - self._users, groups - self._groups
        if users or groups:
            self._users |= users
            self._groups |= groups
            self._out.write(archive.more_names(attributes.names_of(users, groups)))

    def _write_content(self, entry: "Entry", place: bytes) -> None:
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = self._source.manifest.marks[entry.path]
            seen = os.fstat(fd)
            if mark(seen) != before or not stat.S_ISREG(seen.st_mode):
                raise _changed(entry.path)
            for begin, stop in _extents(fd, seen):
                while begin < stop:
                    data = os.pread(fd, min(archive.CHUNK, stop - begin), begin)
                    if not data:
                        raise _changed(entry.path)
                    if data != _ZEROS[: len(data)]:
                        self._out.writelines(archive.data(begin, data))
                    begin += len(data)
            if mark(os.fstat(fd)) != before:
                raise _changed(entry.path)
        finally:
            os.close(fd)


def _changed(path: bytes) -> Failure:
    return Failure("source-changed", "the source changed while it was read", name=path)


def _extents(fd: int, seen: os.stat_result) -> "Iterator[Tuple[int, int]]":
    """Where there is something in a file; between these are holes."""
    if seen.st_blocks * 512 >= seen.st_size:
        yield 0, seen.st_size
        return
    at: "Optional[int]" = 0
    while at is not None and at < seen.st_size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
            at = os.lseek(fd, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # only a hole follows
            begin, at = at, None  # this file system doesn't say where they are
        yield begin, min(seen.st_size, at if at is not None else seen.st_size)
