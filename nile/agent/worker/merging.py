"""A tree of which a host may have some already: its archive without contents, and files that were downloaded.

It comes out as `rsync -aHAX` would have it, with or without --delete. First all
that is new is made in the run's own directory (see assembling); a torn or
forged archive, or a file that is missing, ends it before anything else is
touched. Then each gets its place by a rename: over a file or a link that has its
name, so that at any moment there is the old one or the new one, and both are
whole. What is there and stays is only given its attributes. Then goes what is
to be deleted, and last directories get their attributes, from the deepest up.

**What is in the way.** A directory is put where a file or a link was (a link to
a directory, too: it is never followed) after that was moved aside. Where a
directory was, anything else comes only if that is empty, or has nothing in it but what
is to be deleted; if it isn't, it stays, all else is done, and that is `partial`,
as with rsync.

**Broken off** at any moment, it leaves whole files under real names, old ones
and new ones, and the rest in the run's own directory.
"""

import bisect
import errno
import io
import os
import stat
from typing import NamedTuple

from nile.agent import wire
from nile.agent.worker import receiving
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.archive import leads_inside
from nile.agent.worker.assembling import Assembly, Downloads, changed, identity
from nile.agent.worker.beside import Beside
from nile.agent.worker.directories import Directories
from nile.agent.worker.dressing import Dressing, Terms, There
from nile.agent.worker.forking import Failure, Working
from nile.agent.worker.manifest import SYMLINK
from nile.agent.worker.placing import Places, put_directory
from nile.agent.worker.restoring import failing
from nile.agent.worker.running import Ending
from nile.agent.worker.standstill import Standstill, done_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Container, Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple

    from nile.agent.worker.archive import Item
    from nile.agent.worker.assembling import Kept
    from nile.agent.worker.loop import Loop

    Over = Callable[[Ending, "Done"], None]

_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
_PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST = 4096  # bytes that a child says


class Merge(NamedTuple):
    """What is merged, and where.

    The archive and the files have to be known to be the root's by now. Where the first name of a file (its
    `group`) is in `dest` with its size and time, it is taken for that; its content is taken from
    `downloaded` where not, or where it is `differing`. That is a directory of our own in the file system of
    `dest`, mode 0700, whose files are moved out of it: whoever downloads must have finished. With `links`
    they get a second name, and stay there, too. Those that are `sparse` are
    copied, without what they have of zeros. `names` is where in it they are, by path; None: all are at
    their path. `extras` are paths below `dest` that are deleted, as they were found there and aren't at the
    source (not those that are excluded), at most `max_delete`. What isn't in `names` is taken from `beside`,
    if that is a directory: the release before (see there).
    """

    dest: bytes
    temporary: bytes
    downloaded: bytes
    differing: "FrozenSet[bytes]" = frozenset()
    names: "Optional[Dict[bytes, bytes]]" = None
    extras: "Sequence[bytes]" = ()
    max_delete: "Optional[int]" = None
    links: bool = False
    sparse: "FrozenSet[bytes]" = frozenset()
    beside: bytes = b""


class Done(NamedTuple):
    """How much was made (of that, taken from what was downloaded), given other attributes, and deleted."""

    made: int = 0
    taken: int = 0
    mended: int = 0
    deleted: int = 0


def merge(fd: int, what: Merge, terms: Terms) -> Done:
    """Do it; the archive is read from `fd`, which is closed. For a child: it works in another directory then.

    Raises Failure. With `broken`, `corrupt`, `incomplete` (a content wasn't downloaded) nothing was touched;
    `partial` and `max-delete` are rsync's, and all else was done; the others are those of `Unpacking`, and
    what was done so far stays.
    """
    with failing(what.dest), io.open(fd, "rb") as stream:
        merger = _Merger(what, terms)
        try:
            merger.assembly.take(stream)
            return merger.merge()
        except BaseException:
            merger.there.put_back()
            raise


class _Merger:
    def __init__(self, what: Merge, terms: Terms) -> None:
        self._places = Places(what.dest, what.temporary)
        self._places.enter()
        self._dressing = Dressing(terms)
        self.there = Directories(self._places.dest)
        self.assembly = Assembly(
            self._dressing,
            self.there,
            os.fstat(self._places.dest).st_dev,
            Downloads(what.downloaded, what.names, what.links, what.sparse),
            what.differing,
            Beside(what.beside) if what.beside else None,
        )
        self._what = what
        self._blocked: "List[bytes]" = []  # where something is in the way
        self._mended = 0

    def merge(self) -> Done:
        """All is made: have it where it belongs."""
        what, assembly = self._what, self.assembly
        extras = _Extras(self.there, what.extras, assembly.paths, what.max_delete)
        for path, made in assembly.tops:
            self._place(path, made, extras)
        for kept in assembly.kept:
            self._mend(kept)
        extras.remove_all()
        self.there.put_back(assembly.paths)
        for item in reversed(assembly.directories):  # those below come first
            self._finish(item)
        if assembly.itself is not None:
            self._mend_directory(self._places.dest, assembly.itself)
        extras.complain(self._blocked)
        return Done(assembly.made, assembly.taken, self._mended, extras.count)

    def _place(self, path: bytes, made: bytes, extras: "_Extras") -> None:
        """A rename, with what it takes where the one is a directory and the other one isn't."""
        above, _, name = path.rpartition(b"/")
        inner = self._places.inner
        directory = stat.S_ISDIR(os.lstat(made, dir_fd=inner).st_mode)

        def put(fd: int) -> None:
            if directory:
                put_directory(made, name, inner, fd)
            else:
                os.rename(made, name, src_dir_fd=inner, dst_dir_fd=fd)

        try:
            self.there.within(above, put)
        except IsADirectoryError:
            extras.remove_below(path)
            try:
                self.there.within(above, lambda fd: os.rmdir(name, dir_fd=fd))
            except OSError as error:
                if error.errno not in _OCCUPIED:
                    raise
                self._blocked.append(path)
                return
            self.there.within(above, put)
        except FileExistsError:
            self.there.within(above, lambda fd: self._instead(fd, path, made))

    def _instead(self, fd: int, path: bytes, made: bytes) -> None:
        """A directory, where something else is; but another one came there meanwhile."""
        inner, old, name = self._places.inner, b"old", os.path.basename(path)
        if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
            raise changed(path)
        os.rename(name, old, src_dir_fd=fd, dst_dir_fd=inner)
        try:
            os.rename(made, name, src_dir_fd=inner, dst_dir_fd=fd)
        except OSError:
            os.rename(old, name, src_dir_fd=inner, dst_dir_fd=fd)
            raise
        os.unlink(old, dir_fd=inner)

    def _mend(self, kept: "Kept") -> None:
        above, _, name = kept.item.entry.path.rpartition(b"/")

        def mend(fd: int) -> None:
            try:
                pin = os.open(name, _PIN, dir_fd=fd)
            except FileNotFoundError:
                raise changed(kept.item.entry.path) from None
            try:
                seen = os.fstat(pin)
                if identity(seen) != kept.which:
                    raise changed(kept.item.entry.path)
                if kept.item.entry.kind == SYMLINK:  # its descriptor is good for nothing
                    there = There(b"/proc/self/fd/%d/%b" % (fd, name), seen, False)
                else:
                    there = There(b"/proc/self/fd/%d" % pin, seen, True)
                self._dressing.mend(there, kept.item, self.assembly.looked)
            finally:
                os.close(pin)

        self.there.within(above, mend)
        self._mended += 1

    def _finish(self, item: "Item") -> None:
        """Nothing is done in this directory any more."""
        self.there.within(item.entry.path, lambda fd: self._mend_directory(fd, item))
        self.there.settled(item.entry.path)

    def _mend_directory(self, fd: int, item: "Item") -> None:
        there = There(b"/proc/self/fd/%d" % fd, os.fstat(fd), True)
        if not self._dressing.is_right(there, item, self.assembly.looked):
            self._dressing.mend(there, item, self.assembly.looked)
            self._mended += 1


class _Extras:
    """What is deleted: what is named, and nothing else. A directory that isn't empty then stays.

    Raises ValueError for a path that leads elsewhere.
    """

    def __init__(
        self, there: Directories, paths: "Iterable[bytes]", but: "Container[bytes]", most: "Optional[int]"
    ) -> None:
        self._there = there
        self._left = sorted({path for path in paths if path not in but})
        if not all(map(leads_inside, self._left)):
            raise ValueError("something to be deleted that is elsewhere")
        self._most = most
        self.count = 0
        self._beyond = 0  # how many more there were
        self._failed: "List[Tuple[bytes, OSError]]" = []

    def remove_below(self, path: bytes) -> None:
        """Now, those that are in this directory."""
        first = bisect.bisect_left(self._left, path + b"/")
        last = bisect.bisect_left(self._left, path + b"0")  # what comes next to a slash
        found = self._left[first:last]
        del self._left[first:last]
        for each in reversed(found):
            self._remove(each)

    def remove_all(self) -> None:
        """All that are left."""
        while self._left:
            self._remove(self._left.pop())

    def _remove(self, path: bytes) -> None:
        above, _, name = path.rpartition(b"/")

        def remove(fd: int) -> None:
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)

        try:
            if self._most is not None and self.count >= self._most:
                self._there.lookup(path)
                self._beyond += 1
                return
            self._there.within(above, remove)
            self.count += 1
        except (FileNotFoundError, NotADirectoryError):
            pass  # it is gone, and so may what it was in
        except OSError as error:
            if error.errno not in _OCCUPIED:
                self._failed.append((path, error))

    def complain(self, blocked: "List[bytes]") -> None:
        """Raise Failure where not all is as it should be."""
        if blocked:
            raise Failure("partial", "a directory that isn't empty is in the way", name=blocked[0])
        if self._failed:
            path, error = self._failed[0]
            raise Failure("partial", "it can't be deleted: %s" % error.strerror, name=path)
        if self._beyond:
            raise Failure("max-delete", "%d more would have been deleted" % self._beyond)


class Merging:
    """One merge, in a child. `done(ending, what was done)` is called once, when nothing of it is left.

    Its codes are those of `merge`, and beside them `killed`, `failed`, `timeout` (it stood still),
    `stopped`. What it made and couldn't place is removed; `downloaded`, and all else of the run, stays.
    """

    def __init__(
        self,
        loop: "Loop",
        archive: int,
        what: Merge,
        terms: Terms,
        done: "Over",
        moved: "Optional[Callable[[], None]]" = None,
        stall_s: float = rsyncs.STALL_S,
    ) -> None:
        """`archive` is a descriptor to be read, from where it stands; it remains the caller's to close.

        `moved()` is called time and again while it does anything. Raises OSError where the
        destination can't be written, or there can be no child.
        """
        self._what = what
        self._done = done
        self._cause: "Optional[Ending]" = None
        receiving.prepare(what.dest, what.temporary)
        self._reader, writer = os.pipe()
        try:
            self._working = Working(loop, lambda: _work(what, terms), [archive, writer], self._over)
        except OSError:
            os.close(self._reader)
            self._tidy()
            raise
        finally:
            os.close(writer)
        self._standstill = Standstill(
            loop, stall_s, lambda: done_by(self._working.pid), self._stands_still, moved
        )

    def abort(self) -> None:
        """Kill it; `done` is called with `stopped`."""
        self._kill(Ending("stopped", "it was told to stop"))

    def _kill(self, cause: Ending) -> None:
        self._cause = self._cause or cause
        self._working.kill()

    def _stands_still(self) -> None:
        self._kill(Ending("timeout", "it stands still", True))

    def _over(self, ending: Ending) -> None:
        self._standstill.stop()
        said = os.read(self._reader, _MOST)
        os.close(self._reader)
        if self._cause is not None:
            ending.instead(self._cause.code, self._cause.reason, self._cause.retry)
        try:
            self._tidy()
        except OSError as error:
            if not ending.code:
                ending.instead("not-writable", "what is left can't be removed: %s" % error.strerror)
        self._done(ending, Done(*wire.loads(said)) if said else Done())

    def _tidy(self) -> None:
        receiving.remove(os.path.join(self._what.dest, self._what.temporary), self._what.temporary)


def _work(what: Merge, terms: Terms) -> None:
    os.write(1, wire.dumps(list(merge(0, what, terms))))
