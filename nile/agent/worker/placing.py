"""What was made gets its place in the destination, and what was begun of that is seen to its end.

Before anything gets a real name it is written down, beside the directory in
which all of it was made, what is to be done: whose files are to be, and the
attributes of the destination and of directories at the top. That goes when all
has its place. So if whoever does it is killed meanwhile, the next one that
comes to remove what was left behind finds it, and ends it first (`finish`):
the archive had come whole, and so has what comes of it. Nothing that has a real
name is taken away then: somebody may have begun to use it. Where a disk fails,
what has no place yet is kept for the next one, but what somebody else has the name of.

A name that somebody else has given meanwhile is never taken: a file gets its
own by a link, and a directory by a rename over an empty one that we made there.
"""

import contextlib
import errno
import os
import stat
from functools import partial

from nile.agent.worker import attributes, plans
from nile.agent.worker.dressing import Dressing, There
from nile.agent.worker.forking import Failure
from nile.agent.worker.receiving import PLAN
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, List, Tuple

    from nile.agent.worker.archive import Item
    from nile.agent.worker.plans import Identities, Identity, What

OWN = 0o700  # what a directory may be done to by us, as long as it is filled
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CLOSED = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # it may be one that can't be read
_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)
_ANOTHERS = (errno.ENOENT, errno.ELOOP, *_OCCUPIED)  # what we had made is gone, or its name is


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


class Placing:
    """Gives names to what is in `places.inner`. Raises OSError, Failure."""

    def __init__(self, places: Places, what: "What", dressing: Dressing) -> None:
        self._places = places
        self._what = what
        self._dressing = dressing
        self._placed: "List[Tuple[bytes, os.stat_result]]" = []

    def place(self, names: "List[bytes]") -> None:
        """All of these, of which none may be taken."""
        for name in names:
            self._have_free(name)
        self._mend_itself(first=True)
        plans.write(self._places, self._what)
        for name in names:
            self._place(name)
        self._mend_itself(first=False)
        os.unlink(PLAN, dir_fd=self._places.outer)

    def finish(self, which: "Identities") -> None:
        """What is left of them, after somebody who was killed: as far as it can be done.

        Raises the first OSError where another attempt may do more.
        """
        failed = None
        for step in self._left(which):
            WORK.done += 1
            try:
                step()
            except Failure:
                continue  # somebody else has that name, or nobody here is called so
            except OSError as error:
                if error.errno not in _ANOTHERS:
                    failed = failed or error
        if failed is not None:
            raise failed

    def _left(self, which: "Identities") -> "Iterator[Callable[[], None]]":
        left = sorted(map(os.fsencode, os.listdir(self._places.inner)))
        yield lambda: self._mend_itself(first=True)
        for name in self._what.directories.keys() - set(left):
            yield partial(self._dress_again, name, which[name])
        for name in left:
            yield partial(self._place_yet, name)
        yield lambda: self._mend_itself(first=False)

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

    def _place_directory(self, name: bytes, item: "Item") -> None:
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
        fd = os.open(name, _CLOSED, dir_fd=self._places.dest)
        try:
            seen = os.fstat(fd)
            if plans.identity(seen) == which:
                there = There(b"/proc/self/fd/%d" % fd, seen, True)
                self._dressing.mend(there, self._what.directories[name], self._what.looked)
        finally:
            os.close(fd)

    def _place_yet(self, name: bytes) -> None:
        """It was perhaps about to get its name: an empty directory of ours is there, or it has both."""
        places = self._places
        try:
            seen = os.lstat(name, dir_fd=places.dest)
        except FileNotFoundError:
            self._place(name)
            return
        if os.path.samestat(seen, os.lstat(name, dir_fd=places.inner)):
            os.unlink(name, dir_fd=places.inner)
        elif name in self._what.directories and stat.S_ISDIR(seen.st_mode) and _is_as_made(seen):
            os.rmdir(name, dir_fd=places.dest)
            self._place(name)

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


def _is_as_made(seen: os.stat_result) -> bool:
    """In a directory that hands on its group, whatever is made does so, too."""
    return seen.st_uid == os.geteuid() and stat.S_IMODE(seen.st_mode) & ~stat.S_ISGID == OWN


# What was written down.


def finish(dest: bytes, temporary: bytes) -> bool:
    """If somebody was killed while things got their places here, have all get them; nothing else happens.

    Have they, but for those whose names are somebody else's? Raises OSError where not all have, and another
    attempt may do more: nothing is to be removed then.
    """
    try:
        places = Places(dest, temporary)
    except Failure:
        return False
    except OSError as error:
        if error.errno in (errno.EACCES, *_ANOTHERS):
            return False  # there is nothing, or the destination is as it is to be in the end
        raise
    try:
        found = plans.read(places.outer)
        done = found is not None and _finish(places, *found)
        os.unlink(PLAN, dir_fd=places.outer)  # what is left is about to be removed
    except FileNotFoundError:
        return False
    finally:
        places.close()
    return done


def _finish(places: Places, what: "What", which: "Identities") -> bool:
    try:
        dressing = Dressing(what.terms)
        for owners in what.owners:
            dressing.learn(owners)
    except Failure:
        return False
    Placing(places, what, dressing).finish(which)
    return True
