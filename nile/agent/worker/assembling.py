"""From an archive without contents, files that were downloaded, and what is there, to all that is new.

It is made in the run's own directory, which nobody else may enter; the
destination is only looked at. Each thing that is new below a directory that is
there is a *top*: it is made under a number, and gets its place in one piece
later (see merging). What the destination has already, as rsync's quick check
finds it, isn't made again.

As in `restoring`, nothing of the archive leads anywhere else: a path has to lie
below directories that this archive has; in the destination these are looked
for step by step, where no link is followed; and what has been made is named by
numbers.
"""

import os
import stat
from typing import NamedTuple

from nile.agent.worker.archive import BARE, Item, Looked, Owners, leads_inside, read
from nile.agent.worker.directories import Directories
from nile.agent.worker.dressing import There
from nile.agent.worker.forking import Failure
from nile.agent.worker.manifest import BLOCK, CHARACTER, DIRECTORY, FILE, SYMLINK, TOP
from nile.agent.worker.scanning import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Dict, FrozenSet, List, Optional, Set, Tuple

    from nile.agent.worker.beside import Beside
    from nile.agent.worker.dressing import Dressing
    from nile.agent.worker.manifest import Entry

    Identity = Tuple[int, ...]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OWN = 0o700
CHUNK = 64 * 1024  # bytes that are a hole where all of them are zero


def identity(seen: os.stat_result) -> "Identity":
    """Which one it is; the number of one that is gone may be another's soon, so it isn't enough."""
    kind = stat.S_IFMT(seen.st_mode)
    content = (seen.st_size, seen.st_mtime_ns) if kind == stat.S_IFREG else ()
    return (seen.st_dev, seen.st_ino, kind) + content


def changed(path: bytes) -> Failure:
    """Somebody else has changed what is there."""
    return Failure("diverged", "it was changed meanwhile", True, path)


class Kept(NamedTuple):
    """Something that is there and stays, though not all that it has is right."""

    item: Item
    which: "Identity"


class _First(NamedTuple):
    """The first of names that are linked: where it was made, or which one is there."""

    entry: "Entry"
    made: bytes
    which: "Optional[Identity]"


class Downloads:
    """A directory of files that were downloaded, and checked: ours alone, in the destination's file system.

    `names` is where in it the content of a path is, of all that were downloaded; None: at the path itself.
    With `links` it stays there, too. Of those that are `sparse` holes are made again. Raises OSError,
    Failure.
    """

    def __init__(
        self,
        directory: bytes,
        names: "Optional[Dict[bytes, bytes]]",
        links: bool = False,
        sparse: "FrozenSet[bytes]" = frozenset(),
    ) -> None:
        top = os.open(directory, _DIRECTORY)
        seen = os.fstat(top)
        if seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
            raise Failure("not-writable", "others may enter the directory of downloads", name=directory)
        self._directories = Directories(top)
        self._names = names
        self._move = os.link if links else os.rename
        self._links = 1 + links
        self._sparse = sparse

    def has(self, path: bytes) -> bool:
        """Was its content downloaded, as far as that was named?"""
        return self._names is None or path in self._names

    def take(self, entry: "Entry", made: bytes) -> int:
        """Have a file's content at this path; gives it opened. Raises OSError, Failure if it isn't that."""
        at = entry.path if self._names is None else self._names.get(entry.path, b"")
        try:
            if not at:
                raise FileNotFoundError
            if not leads_inside(at):
                raise ValueError("a download with a path that leads elsewhere")
            above, _, name = at.rpartition(b"/")
            self._directories.within(above, lambda fd: self._move(name, made, src_dir_fd=fd))
        except (FileNotFoundError, NotADirectoryError):
            raise Failure("incomplete", "its content wasn't downloaded", True, entry.path) from None
        seen = os.lstat(made)  # nobody else gets at it any more
        whole = stat.S_ISREG(seen.st_mode) and seen.st_size == entry.size
        if not whole or seen.st_nlink != self._links or seen.st_uid != os.geteuid():
            raise Failure("corrupt", "what was downloaded isn't what it should be", True, entry.path)
        fd = os.open(made, _CONTENT)
        return self._with_holes(fd, made, entry) if entry.path in self._sparse else fd

    @staticmethod
    def _with_holes(full: int, made: bytes, entry: "Entry") -> int:
        """A copy in its place, which takes no more room than what is in it."""
        os.unlink(made)
        fd = os.open(made, _NEW, 0o600)
        try:
            os.ftruncate(fd, entry.size)
            for at in range(0, entry.size, CHUNK):
                data = os.pread(full, CHUNK, at)
                if len(data) != min(CHUNK, entry.size - at):
                    raise Failure("corrupt", "what was downloaded is shorter than it was", True, entry.path)
                if data.strip(b"\0"):
                    _write(fd, data, at)
            return os.open(made, _CONTENT)
        finally:
            os.close(full)
            os.close(fd)


def _write(fd: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(fd, left, at)
        left, at = left[count:], at + count


class Assembly:
    """What is to be done to the destination, once all of the archive was taken.

    `tops`: (path, name until it gets its place); `kept`: what is there, and is to be mended; `directories`:
    those that get their attributes last, in order; `itself`: the destination, if that is in the archive;
    `paths`: all that the archive has; `made` and `taken`: how much was made, and of that, with what came.
    """

    def __init__(
        self,
        dressing: "Dressing",
        directories: Directories,
        device: int,
        downloads: Downloads,
        differing: "FrozenSet[bytes]",
        beside: "Optional[Beside]" = None,
    ) -> None:
        """`device` is the file system of the destination; we work in the directory where all is made.

        `beside` has files that weren't downloaded.
        """
        self.looked = Looked(False, False)
        self.tops: "List[Tuple[bytes, bytes]]" = []
        self.kept: "List[Kept]" = []
        self.directories: "List[Item]" = []
        self.itself: "Optional[Item]" = None
        self.paths: "Set[bytes]" = set()
        self.made = self.taken = 0
        self._dressing = dressing
        self._there = directories
        self._device = device
        self._downloads = downloads
        self._differing = differing
        self._beside = beside
        self._known: "Dict[bytes, Optional[bytes]]" = {b"": None}  # directories: where they were made, if so
        self._fresh: "List[Tuple[bytes, Item]]" = []
        self._foreign: "Set[bytes]" = set()
        self._firsts: "Dict[bytes, _First]" = {}

    def take(self, stream: "BinaryIO") -> None:
        """All of it, up to the end. Raises ValueError, EOFError, OSError, Failure."""
        for message in read(stream, BARE):
            if isinstance(message, Item):
                self._add(message)
            elif isinstance(message, Owners):
                self._dressing.learn(message)
            elif isinstance(message, Looked):
                self.looked = message
        for made, item in reversed(self._fresh):  # those below come first
            fd = os.open(made, _DIRECTORY)
            try:
                self._dressing.dress(fd, item)
            finally:
                os.close(fd)

    def _add(self, item: Item) -> None:
        entry = item.entry
        path, group = entry.path, entry.group
        self.paths.add(path)
        if path == TOP:
            self.itself = item
            return
        above = path.rpartition(b"/")[0]
        if above not in self._known:
            raise ValueError("an archive with a path below what is no directory")
        seen = self._look(path) if self._known[above] is None else None
        if entry.kind == DIRECTORY:
            self._add_directory(item, seen)
        elif not self._dressing.may(entry):
            pass
        elif group in (b"", path):
            self._add_one(item, seen)
        else:
            self._add_link(entry, seen)

    def _look(self, path: bytes) -> "Optional[os.stat_result]":
        try:
            return self._there.lookup(path)
        except FileNotFoundError:
            return None

    def _place(self, path: bytes) -> bytes:
        """Where this one is made."""
        self.made += 1
        above, _, name = path.rpartition(b"/")
        made = self._known[above]
        if made is not None:
            return os.path.join(made, name)
        if above in self._foreign:  # nothing can be moved there
            raise Failure("diverged", "another file system is mounted there", name=above)
        self.tops.append((path, b"%d" % len(self.tops)))
        return self.tops[-1][1]

    def _add_directory(self, item: Item, seen: "Optional[os.stat_result]") -> None:
        path = item.entry.path
        if seen is not None and stat.S_ISDIR(seen.st_mode):
            self._known[path] = None
            self.directories.append(item)
            if seen.st_dev != self._device:
                self._foreign.add(path)
            return
        made = self._place(path)
        os.mkdir(made, _OWN)
        self._known[path] = made
        # Only root may move what is closed to him, and remove what is in it, should it come to nothing.
        if self._dressing.root:
            self._fresh.append((made, item))
        if not self._dressing.root or b"/" not in made:
            self.directories.append(item)

    def _add_one(self, item: Item, seen: "Optional[os.stat_result]") -> None:
        entry = item.entry
        made = b""
        which: "Optional[Identity]" = None
        if seen is not None and self._is_it(entry, seen):
            which = identity(seen)
            if not self._is_right(item, seen):
                self.kept.append(Kept(item, which))
        else:
            made = self._place(entry.path)
            self._make(item, made)
        if entry.group:
            self._firsts[entry.path] = _First(entry, made, which)

    def _is_it(self, entry: "Entry", seen: os.stat_result) -> bool:
        """Has it the same in it? Of files size and time say so, if nobody has found that they lie."""
        path, kind = entry.path, entry.kind
        if kind_of(seen.st_mode) != kind:
            return False
        if kind == FILE:
            same = (seen.st_size, seen.st_mtime_ns) == (entry.size, entry.mtime_ns)
            return same and path not in self._differing
        if kind == SYMLINK:
            above, _, name = path.rpartition(b"/")
            return self._there.within(above, lambda fd: os.readlink(name, dir_fd=fd)) == entry.target
        return kind not in (BLOCK, CHARACTER) or seen.st_rdev == entry.device

    def _is_right(self, item: Item, seen: os.stat_result) -> bool:
        above, _, name = item.entry.path.rpartition(b"/")

        def look(fd: int) -> bool:
            there = There(b"/proc/self/fd/%d/%b" % (fd, name), seen, False)
            return self._dressing.is_right(there, item, self.looked)

        return self._there.within(above, look)

    def _make(self, item: Item, made: bytes) -> None:
        entry = item.entry
        if entry.kind != FILE:
            self._dressing.make(made, entry)
            self._dressing.dress(made, item)
            return
        fd = self._content(item, made) if entry.size else os.open(made, _NEW, 0o600)
        if fd is None:
            return
        try:
            if entry.size:
                self._dressing.undress(fd)
                self.taken += 1
            self._dressing.dress(fd, item)
        finally:
            os.close(fd)

    def _content(self, item: Item, made: bytes) -> "Optional[int]":
        """Opened; None where nothing is to be done to it any more."""
        if self._beside is None or self._downloads.has(item.entry.path):
            return self._downloads.take(item.entry, made)
        return self._beside.take(item, made, self._dressing, self.looked)

    def _add_link(self, entry: "Entry", seen: "Optional[os.stat_result]") -> None:
        first = self._firsts.get(entry.group)
        if first is None or first.entry.kind != entry.kind:
            raise ValueError("an archive with a hard link to what isn't there")
        if first.which is None:
            os.link(first.made, self._place(entry.path), follow_symlinks=False)
        elif seen is None or identity(seen) != first.which:
            made = self._place(entry.path)
            above, _, name = entry.group.rpartition(b"/")
            self._there.within(above, lambda fd: os.link(name, made, src_dir_fd=fd, follow_symlinks=False))
            if identity(os.lstat(made)) != first.which:
                raise changed(first.entry.path)
