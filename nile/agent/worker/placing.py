"""What was made gets its place in the destination, and what was begun of that is seen to its end.

Before anything gets a real name it is written down, beside the directory in
which all of it was made, what is to be done: whose files are to be, and the
attributes of the destination and of directories at the top. That goes when all
has its place. So if whoever does it is killed meanwhile, the next one that
comes to remove what was left behind finds it, and ends it first (`finish`):
the archive had come whole, and so has what comes of it. Nothing that has a real
name is taken away then: somebody may have begun to use it.

A name that somebody else has given meanwhile is never taken: a file gets its
own by a link, and a directory by a rename over an empty one that we made there.
"""

import contextlib
import errno
import io
import os
import stat
import struct
from typing import NamedTuple

from nile.agent import wire
from nile.agent.worker import archive, attributes
from nile.agent.worker.archive import BARE, Item, Looked, Owners, read
from nile.agent.worker.dressing import Dressing, Terms, There
from nile.agent.worker.forking import Failure
from nile.agent.worker.manifest import TOP
from nile.agent.worker.packing import MOST_ENTRIES
from nile.agent.worker.receiving import PLAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO, Dict, Iterator, List, Optional, Tuple

    Identity = Tuple[int, int]
    Identities = Dict[bytes, Identity]  # of the directories at the top

OWN = 0o700  # what a directory may be done to by us, as long as it is filled
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)
_SIZES = struct.Struct("!II")
_IDENTITY = struct.Struct("!QQ")  # the file system, and the number in it
_MOST_TERMS = 10000  # bytes


class Places:
    """The destination, and the directory where all of it is made first.

    That is `dest`/`temporary`/`temporary`, which has to be there and ours alone. Raises OSError, Failure.
    """

    def __init__(self, dest: bytes, temporary: bytes) -> None:
        with contextlib.ExitStack() as stack:
            opened = [os.open(dest, _DIRECTORY)]
            stack.callback(os.close, opened[0])
            for _ in range(2):
                opened.append(os.open(temporary, _DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[-1]))
                stack.callback(os.close, opened[-1])
            for fd in opened[1:]:
                seen = os.fstat(fd)
                if seen.st_uid != os.geteuid() or seen.st_mode & 0o077:
                    reason = "others may enter the directory of this run"
                    raise Failure("not-writable", reason, name=temporary)
            stack.pop_all()
        self.dest, self.outer, self.inner = opened

    def enter(self) -> None:
        """Work there from now on. What we make is ours alone."""
        os.umask(0o077)
        attributes.without_inherited(self.inner)
        os.fchdir(self.inner)

    def close(self) -> None:
        """Nothing more is done there."""
        for fd in (self.dest, self.outer, self.inner):
            os.close(fd)


class What(NamedTuple):
    """What all needs to know of it that is to be placed.

    `directories` are those at the top; `itself` is the destination, if there is anything to be said of it.
    """

    terms: Terms
    looked: Looked
    owners: "List[Owners]"
    directories: "Dict[bytes, Item]"
    itself: "Optional[Item]"


class Placing:
    """Gives names to what is in `places.inner`. Raises OSError, Failure."""

    def __init__(self, places: Places, what: What, dressing: Dressing) -> None:
        self._places = places
        self._what = what
        self._dressing = dressing
        self._placed: "List[Tuple[bytes, os.stat_result]]" = []

    def place(self, names: "List[bytes]") -> None:
        """All of these, of which none may be taken."""
        for name in names:
            self._have_free(name)
        self._mend_itself(first=True)
        _write_down(self._places, self._what)
        for name in names:
            self._place(name)
        self._mend_itself(first=False)
        os.unlink(PLAN, dir_fd=self._places.outer)

    def finish(self, which: "Identities") -> None:
        """What is left of them, after somebody who was killed: as far as it can be done."""
        inner = self._places.inner
        with contextlib.suppress(OSError, Failure):
            self._mend_itself(first=True)
        left = sorted(map(os.fsencode, os.listdir(inner)))
        for name in self._what.directories.keys() - set(left):
            with contextlib.suppress(OSError, Failure):
                self._dress_again(name, which[name])
        for name in left:
            with contextlib.suppress(OSError, Failure):
                self._clear_way(name)
                self._place(name)
        with contextlib.suppress(OSError, Failure):
            self._mend_itself(first=False)

    def _have_free(self, name: bytes) -> None:
        try:
            os.lstat(name, dir_fd=self._places.dest)
        except FileNotFoundError:
            return
        raise _taken(name)

    def _mend_itself(self, first: bool) -> None:
        """The destination: it was there, and loses what it isn't to have. At first it stays open to us."""
        item, fd = self._what.itself, self._places.dest
        if item is None:
            return
        try:
            there = There(b"/proc/self/fd/%d" % fd, os.fstat(fd), True)
            self._dressing.mend(there, item, self._what.looked)
            if first and not self._dressing.root:
                os.chmod(fd, item.entry.mode | OWN)
        except OSError as error:
            error.filename = None  # a number says nothing
            raise

    def _place(self, name: bytes) -> None:
        directory = self._what.directories.get(name)
        if directory is None:
            self._place_one(name)
        else:
            self._place_directory(name, directory)

    def _place_directory(self, name: bytes, item: Item) -> None:
        """Only who may write in a directory may move it: it is given its mode when it has its place."""
        places = self._places
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=places.inner)
        try:
            with _unless_taken(name):
                put_directory(name, name, places.inner, places.dest)
            self._placed.append((name, os.fstat(fd)))
            self._dressing.dress(fd, item)
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
            with _unless_taken(name):
                os.rename(name, name, src_dir_fd=places.inner, dst_dir_fd=places.dest)
            self._placed.append((name, which))
            return
        self._placed.append((name, which))
        os.unlink(name, dir_fd=places.inner)

    # After somebody who was killed.

    def _dress_again(self, name: bytes, which: "Identity") -> None:
        """A directory that has its place, and perhaps nothing else yet; if it is still there."""
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._places.dest)
        try:
            if _identity(os.fstat(fd)) == which:
                os.chmod(fd, OWN)  # else its attributes may be closed to us
                self._dressing.dress(fd, self._what.directories[name])
        finally:
            os.close(fd)

    def _clear_way(self, name: bytes) -> None:
        """Where it was about to get its name: an empty directory of ours is there, or a second name of it."""
        places = self._places
        try:
            seen = os.lstat(name, dir_fd=places.dest)
        except FileNotFoundError:
            return
        if os.path.samestat(seen, os.lstat(name, dir_fd=places.inner)):
            os.unlink(name, dir_fd=places.dest)
        elif name in self._what.directories and stat.S_ISDIR(seen.st_mode) and _is_as_made(seen):
            os.rmdir(name, dir_fd=places.dest)

    # It came to nothing.

    def undo(self) -> None:
        """What has its place already loses it, and all of it can be removed."""
        with contextlib.suppress(OSError):
            os.unlink(PLAN, dir_fd=self._places.outer)
        for name, which in self._placed:
            with contextlib.suppress(OSError):  # somebody else was quicker
                self._take_back(name, which)

    def _take_back(self, name: bytes, which: os.stat_result) -> None:
        """Unless by now that name is something else's, which is somebody else's."""
        places = self._places
        seen = os.lstat(name, dir_fd=places.dest)
        if not os.path.samestat(seen, which):
            return
        if name not in self._what.directories:
            if seen.st_mtime_ns == which.st_mtime_ns:  # the number of a file that is gone may be given again
                os.unlink(name, dir_fd=places.dest)
            return
        if not self._dressing.root:
            open_up(places.dest, name)
        os.rename(name, name, src_dir_fd=places.dest, dst_dir_fd=places.inner)


def put_directory(made: bytes, name: bytes, inner: int, above: int) -> None:
    """Give one that was made in `inner` this name in another directory: OSError where that is taken."""
    os.mkdir(name, OWN, dir_fd=above)
    try:
        os.rename(made, name, src_dir_fd=inner, dst_dir_fd=above)
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=above)
        raise


def open_up(top: int, path: bytes) -> None:
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
        os.chmod("/proc/self/fd/%d" % at, OWN)
    finally:
        os.close(at)


@contextlib.contextmanager
def _unless_taken(name: bytes) -> "Iterator[None]":
    try:
        yield
    except OSError as error:
        if error.errno in _OCCUPIED:
            raise _taken(name) from None
        raise


def _taken(name: bytes) -> Failure:
    return Failure("diverged", "something has that name by now", name=name)


def _identity(seen: os.stat_result) -> "Identity":
    return seen.st_dev, seen.st_ino


def _is_as_made(seen: os.stat_result) -> bool:
    return seen.st_uid == os.geteuid() and stat.S_IMODE(seen.st_mode) == OWN


# What is written down.


def finish(dest: bytes, temporary: bytes) -> None:
    """If somebody was killed while things got their places here, have all get them; nothing else happens."""
    try:
        places = Places(dest, temporary)
    except (OSError, Failure):
        return
    try:
        found = _written_down(places)
        if found is not None:
            what, which = found
            dressing = Dressing(what.terms)
            for owners in what.owners:
                dressing.learn(owners)
            Placing(places, what, dressing).finish(which)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(PLAN, dir_fd=places.outer)  # what is left is about to be removed
    except (OSError, Failure):
        pass
    finally:
        places.close()


def _write_down(places: Places, what: What) -> None:
    """Whole, or it can't be understood: then nothing has its place yet."""
    items = list(what.directories.values())
    if what.itself is not None:
        items.append(what.itself)
    items.sort(key=lambda item: item.entry.path)
    terms = wire.dumps({"numeric_ids": what.terms.numeric_ids, "chown": what.terms.chown})
    which = [_identity(os.lstat(name, dir_fd=places.inner)) for name in sorted(what.directories)]
    with io.open(os.open(PLAN, _WRITE, 0o600, dir_fd=places.outer), "wb") as out:
        out.write(_SIZES.pack(len(terms), len(which)) + terms)
        out.writelines(_IDENTITY.pack(*each) for each in which)
        out.write(archive.head(Owners({}, {}), what.looked, bare=True))
        out.writelines(map(archive.more_names, what.owners))
        for item in items:
            out.write(archive.item(item.entry, item.attributes))
        out.write(archive.end(len(items)))


def _written_down(places: Places) -> "Optional[Tuple[What, Identities]]":
    """None where there is nothing that can be understood. Raises OSError."""
    try:
        fd = os.open(PLAN, _READ, dir_fd=places.outer)
    except FileNotFoundError:
        return None
    with io.open(fd, "rb") as stream:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid():
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
    each = [_IDENTITY.unpack(stream.read(_IDENTITY.size)) for _ in range(count)]
    what = What(Terms(said["numeric_ids"], said["chown"]), Looked(False, False), [], {}, None)
    for message in read(stream, BARE):
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
