"""An archive, done to a directory that has nothing of it yet, by a child of the worker.

All of it is made in the run's own directory in the destination, which nobody
else may enter. Once the end has come, what is at the top there gets its place
in the destination, one by one; before that nothing has a real name. So a
stream that is broken off, or isn't what it should be, leaves nothing. What can
fail for a reason that was there before (a destination that isn't ours, say)
is done before anything gets its place.

Nothing of the stream leads anywhere else. It is worked within a directory that
was opened once; a path has to lie below directories that this archive has
made; links are made and never followed; and what is there isn't overwritten.
"""

import contextlib
import errno
import io
import os

from nile.agent.worker import attributes
from nile.agent.worker.archive import Data, Item, Looked, Owners, read
from nile.agent.worker.dressing import Dressing, Terms, There
from nile.agent.worker.forking import Failure
from nile.agent.worker.manifest import DIRECTORY, FILE, TOP
from nile.agent.worker.receiving import ERRORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Dict, Iterator, List, Optional, Set, Tuple

    from nile.agent.worker.archive import Attributes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BARRED = (errno.EACCES, errno.EPERM, errno.EROFS)
_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)
_OWN = 0o700  # what a directory may be done to by us, as long as it is filled
MOST_KEPT = 512 << 20  # bytes of paths and attributes that are needed until the end
_PAIR = 128  # bytes that an attribute takes beside its name and value


def restore(fd: int, dest: bytes, temporary: bytes, terms: Terms) -> None:
    """Do the archive that is read from `fd` to `dest`. Raises Failure; then nothing of it has its name."""
    with failing(dest), io.open(fd, "rb") as stream:
        restorer = _Restorer(Places(dest, temporary), terms)
        try:
            restorer.take(stream)
            restorer.finish()
        except BaseException:
            restorer.undo()
            raise


@contextlib.contextmanager
def failing(dest: bytes) -> "Iterator[None]":
    """Whatever comes to nothing here is a Failure."""
    try:
        yield
    except EOFError as error:
        raise Failure("broken", str(error), True) from None
    except ValueError as error:
        raise Failure("corrupt", str(error), True) from None
    except OSError as error:
        code, reason = ERRORS.get(error.errno or 0, ("", error.strerror or str(error)))
        code = code or ("not-writable" if error.errno in _BARRED else "files")
        name = error.filename if isinstance(error.filename, bytes) else dest
        raise Failure(code, reason, name=name) from None


class Places:
    """The destination, and the directory where all of it is made first, in which we work from now on.

    That is `dest`/`temporary`/`temporary`, which has to be there, empty and ours. What we make is ours alone.
    """

    def __init__(self, dest: bytes, temporary: bytes) -> None:
        os.umask(0o077)
        self.dest = os.open(dest, _DIRECTORY)
        outer = os.open(temporary, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.dest)
        self.inner = os.open(temporary, _DIRECTORY | os.O_NOFOLLOW, dir_fd=outer)
        for fd in (outer, self.inner):
            seen = os.fstat(fd)
            if seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
                raise Failure("not-writable", "others may enter the directory of this run", name=temporary)
        attributes.without_inherited(self.inner)
        os.fchdir(self.inner)


class _Restorer:
    def __init__(self, places: Places, terms: Terms) -> None:
        self._places = places
        self._dressing = Dressing(terms)
        self._known: "Set[bytes]" = {b""}  # directories that were made
        self._directories: "List[Item]" = []
        self._tops: "List[bytes]" = []  # what is to get its place in the destination
        self._skipped: "Set[bytes]" = set()
        self._itself: "Optional[Item]" = None  # the destination
        self._file = -1  # the one that is being written
        self._item: "Optional[Item]" = None
        self._looked = Looked(False, False)
        self._attributes: "Dict[Tuple[Tuple[bytes, bytes], ...], Attributes]" = {}  # those of directories
        self._kept = 0  # bytes
        self._placed: "List[Tuple[bytes, os.stat_result]]" = []

    # What comes.

    def take(self, stream: "BinaryIO") -> None:
        """All of it, up to the end."""
        for message in read(stream):
            if isinstance(message, Data):
                self._write(message)
            elif isinstance(message, Owners):
                self._dressing.learn(message)
            elif isinstance(message, Looked):
                self._looked = message
            elif isinstance(message, Item):
                self._close()
                self._make(message)
        self._close()

    def _make(self, item: Item) -> None:
        entry = item.entry
        path = entry.path
        if path == TOP:
            self._itself = item
            return
        for each in (path, entry.group):
            if each.rpartition(b"/")[0] not in self._known:
                raise ValueError("an archive with a path below what is no directory")
        if b"/" not in path:
            self._tops.append(path)
            self._keep(len(path))
        if entry.kind == DIRECTORY:
            os.mkdir(path, _OWN)
            self._known.add(path)
            self._directories.append(self._shared(item))
        elif entry.group in self._skipped or not self._dressing.may(entry):
            self._skip(path)
        elif entry.group not in (b"", path):
            os.link(entry.group, path, follow_symlinks=False)
        elif entry.kind == FILE:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file, self._item = os.open(path, flags, 0o600), item
        else:
            self._dressing.make(path, entry)
            self._dressing.dress(path, item)

    def _shared(self, item: Item) -> Item:
        """It as it is kept until the end: attributes that many directories have are kept once."""
        self._keep(len(item.entry.path))
        pairs = tuple(item.attributes)
        if pairs not in self._attributes:
            self._keep(sum(len(name) + len(value) + _PAIR for name, value in pairs))
        return item._replace(attributes=self._attributes.setdefault(pairs, item.attributes))

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > MOST_KEPT:
            raise ValueError("an archive of which %d bytes have to be kept" % self._kept)

    def _skip(self, path: bytes) -> None:
        self._keep(len(path))
        self._skipped.add(path)
        if b"/" not in path:
            self._tops.pop()

    def _write(self, data: Data) -> None:
        content, offset = memoryview(data.content), data.offset
        while content:
            count = os.pwrite(self._file, content, offset)
            content, offset = content[count:], offset + count

    def _close(self) -> None:
        """The file that came last is whole."""
        if self._item is not None:
            os.ftruncate(self._file, self._item.entry.size)
            self._dressing.dress(self._file, self._item)
            os.close(self._file)
            self._item = None

    # The end.

    def finish(self) -> None:
        """All is there: directories, which were changed all the time, then the places in the destination."""
        tops: "Dict[bytes, Item]" = {}
        for item in reversed(self._directories):  # those below come first
            if b"/" in item.entry.path:
                self._dress_directory(item)
            else:
                tops[item.entry.path] = item
        for name in self._tops:
            self._have_free(name)
        self._mend_itself(first=True)
        for name in self._tops:
            self._place(name, tops.get(name))
        self._mend_itself(first=False)

    def _mend_itself(self, first: bool) -> None:
        """The destination: it was there, and loses what it isn't to have. At first it stays open to us."""
        item, fd = self._itself, self._places.dest
        if item is None:
            return
        try:
            there = There(b"/proc/self/fd/%d" % fd, os.fstat(fd), True)
            self._dressing.mend(there, item, self._looked)
            if first and not self._dressing.root:
                os.chmod(fd, item.entry.mode | _OWN)
        except OSError as error:
            error.filename = None  # a number says nothing
            raise

    def _dress_directory(self, item: Item) -> None:
        fd = os.open(item.entry.path, _DIRECTORY | os.O_NOFOLLOW)
        try:
            self._dressing.dress(fd, item)
        finally:
            os.close(fd)

    def _have_free(self, name: bytes) -> None:
        try:
            os.lstat(name, dir_fd=self._places.dest)
        except FileNotFoundError:
            return
        raise _taken(name)

    def _place(self, name: bytes, directory: "Optional[Item]") -> None:
        """Only who may write in a directory may move it: it is given its mode when it has its place."""
        if directory is None:
            self._place_one(name)
            return
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW)
        try:
            self._move(name, os.fstat(fd))
            self._dressing.dress(fd, directory)
        finally:
            os.close(fd)

    def _place_one(self, name: bytes) -> None:
        """A second name overwrites nothing, as a rename would."""
        places = self._places
        which = os.lstat(name, dir_fd=places.inner)
        try:
            os.link(name, name, src_dir_fd=places.inner, dst_dir_fd=places.dest, follow_symlinks=False)
        except FileExistsError:
            raise _taken(name) from None
        except OSError:  # not every file system has links
            self._have_free(name)
            self._move(name, which)
            return
        self._placed.append((name, which))
        os.unlink(name, dir_fd=places.inner)

    def _move(self, name: bytes, which: os.stat_result) -> None:
        try:
            os.rename(name, name, src_dir_fd=self._places.inner, dst_dir_fd=self._places.dest)
        except OSError as error:
            if error.errno in _OCCUPIED:
                raise _taken(name) from None
            raise
        self._placed.append((name, which))

    def undo(self) -> None:
        """It came to nothing: what has its place already loses it, and all of it can be removed."""
        places = self._places
        for name, which in self._placed:
            try:
                self._take_back(name, which)
            except OSError:
                continue  # somebody else was quicker
        for item in self._directories if not self._dressing.root else ():
            try:
                _open_up(places.inner, item.entry.path)
            except OSError:
                continue

    def _take_back(self, name: bytes, which: os.stat_result) -> None:
        """Unless by now that name is something else's, which is somebody else's."""
        places = self._places
        seen = os.lstat(name, dir_fd=places.dest)
        if not os.path.samestat(seen, which):
            return
        if name not in self._known:
            if seen.st_mtime_ns == which.st_mtime_ns:  # the number of a file that is gone may be given again
                os.unlink(name, dir_fd=places.dest)
            return
        if not self._dressing.root:
            _open_up(places.dest, name)
        os.rename(name, name, src_dir_fd=places.dest, dst_dir_fd=places.inner)


def _taken(name: bytes) -> Failure:
    return Failure("diverged", "something has that name by now", name=name)


def _open_up(top: int, path: bytes) -> None:
    """Have a directory below `top` be one that we may change and move.

    Others may have written there meanwhile: no link is followed. It may be closed to us, so that it
    can't be opened to be read.
    """
    at = os.dup(top)
    try:
        for name in path.split(b"/"):
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        os.chmod("/proc/self/fd/%d" % at, _OWN)
    finally:
        os.close(at)
