"""An archive, done to a directory that has nothing of it yet, by a child of the worker.

All of it is made in the run's own directory in the destination, which nobody
else may enter. Once the end has come, what is at the top there gets its place
in the destination, one by one (see placing); before that nothing has a real
name. So a stream that is broken off, or isn't what it should be, leaves nothing.
What can fail for a reason that was there before (a destination that isn't ours,
say) is done before anything gets its place.

Nothing of the stream leads anywhere else. It is worked within a directory that
was opened once; a path has to lie below directories that this archive has
made; links are made and never followed; and what is there isn't overwritten.
"""

import contextlib
import errno
import io
import os

from nile.agent.worker.archive import Data, Item, Looked, Owners, read
from nile.agent.worker.dressing import Dressing, Terms
from nile.agent.worker.forking import Failure
from nile.agent.worker.manifest import DIRECTORY, FILE, TOP
from nile.agent.worker.placing import OWN, Places, Placing, open_up
from nile.agent.worker.plans import What
from nile.agent.worker.receiving import ERRORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Dict, Iterator, List, Optional, Set, Tuple

    from nile.agent.worker.archive import Attributes

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BARRED = (errno.EACCES, errno.EPERM, errno.EROFS)
MOST_KEPT = 512 << 20  # bytes of paths and attributes that are needed until the end
_PAIR = 128  # bytes that an attribute takes beside its name and value, or the name of a user


def restore(fd: int, dest: bytes, temporary: bytes, terms: Terms) -> None:
    """Do the archive that is read from `fd` to `dest`. Raises Failure; then nothing of it has its name."""
    with failing(dest), io.open(fd, "rb") as stream:
        places = Places(dest, temporary)
        places.enter()
        restorer = _Restorer(places, terms)
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


class _Restorer:
    def __init__(self, places: Places, terms: Terms) -> None:
        self._places = places
        self._terms = terms
        self._dressing = Dressing(terms)
        self._owners: "List[Owners]" = []
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
        self._placing: "Optional[Placing]" = None

    # What comes.

    def take(self, stream: "BinaryIO") -> None:
        """All of it, up to the end."""
        for message in read(stream):
            if isinstance(message, Data):
                self._write(message)
            elif isinstance(message, Owners):
                self._keep(sum(len(name) + _PAIR for names in message for name in names.values()))
                self._owners.append(message)
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
            os.mkdir(path, OWN)
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
        what = What(self._terms, self._looked, self._owners, tops, self._itself)
        self._placing = Placing(self._places, what, self._dressing)
        self._placing.place(self._tops)

    def _dress_directory(self, item: Item) -> None:
        fd = os.open(item.entry.path, _DIRECTORY | os.O_NOFOLLOW)
        try:
            self._dressing.dress(fd, item)
        finally:
            os.close(fd)

    def undo(self) -> None:
        """It came to nothing: what has its place already loses it, and all of it can be removed."""
        if self._placing is not None:
            self._placing.undo()
        for item in self._directories if not self._dressing.root else ():
            try:
                open_up(self._places.inner, item.entry.path)
            except OSError:
                continue
