"""What a swarm brings to a host: where it lies, and how it gets to its place.

It comes into a directory of our own in the destination, under numbers. Once all
of it is there it is merged, with the archive that came along, into what the
destination has (see merging), and the files keep the names that they have here,
so that others can be served on; where the file system knows no hard links they
are moved, and whoever serves them has to stop before.

The destination is opened once, and all that is done there is done in what was
opened: whoever may rename a directory above it can lead nothing elsewhere.
"""

import contextlib
import errno
import os
import stat

from nile.agent.worker import receiving, target
from nile.agent.worker.manifest import TEMPORARY, TOP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.manifest import Manifest
    from nile.agent.worker.merging import Merging
    from nile.agent.worker.metainfo import File, Metainfo
    from nile.agent.worker.place import Place
    from nile.agent.worker.running import Ending

    Message = Dict[str, Any]
    There = Dict[bytes, Tuple[int, int]]

OWN = b"-swarm"  # after the name of the run's own directory
NEW = b"new"  # no file of a swarm is called so: these have numbers
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def can_link(directory: bytes) -> bool:
    """Does the file system know hard links? A file more is there for a moment."""
    path = os.path.join(directory, NEW)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.link(path, path + b"er")
        os.unlink(path + b"er")
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return True


def wanted(files: "Iterator[Tuple[int, File]]", there: "There") -> "Iterator[Tuple[int, bytes]]":
    """Numbers and paths of those that aren't `there`: size and time in ns, by path."""
    for number, file in files:
        if there.get(file.path) != (file.size, file.mtime_ns):
            yield number, file.path


class Landing:
    """A new directory for what comes, for this user only; raises OSError.

    Also where somebody else could put another one in its place. `directory` is its path for any process of
    ours, as long as this one lives; `links`: what was merged stays there, too.
    """

    def __init__(self, place: "Place") -> None:
        self._fd = os.open(place.dest, _DIRECTORY)
        self._top = b"/proc/%d/fd/%d" % (os.getpid(), self._fd)
        self._name = place.temporary + OWN
        self._beside = place.basis
        self._merging: "Optional[Merging]" = None
        try:
            _refuse_shared(os.fstat(self._fd), place.dest)
            self.directory = target.temporary(self._top, os.fsdecode(self._name[len(TEMPORARY) :]))
        except OSError:
            os.close(self._fd)
            raise
        self.links = can_link(self.directory)

    @property
    def top(self) -> int:
        """The destination, opened."""
        return self._fd

    @property
    def merging(self) -> bool:
        """Is that under way?"""
        return self._merging is not None

    def merge(
        self,
        loop: "Loop",
        torrent: "Metainfo",
        names: "Dict[bytes, bytes]",
        found: "Optional[Manifest]",
        how: "Message",
        over: "Callable[[Ending], None]",
        moved: "Callable[[], None]",
    ) -> None:
        """Begin to; `names` are those that what came has here, by path, and `found` is what was there before.

        `over(ending)` is called once, later. `how`: `delete` what the source hasn't, at most `max_delete`
        (None: any number); and whose files are to be (see ownership). Raises OSError.
        """
        # To compile all that takes longer than to begin to take part.
        from nile.agent.worker.dressing import Terms
        from nile.agent.worker.merging import Merge, Merging

        extras: "List[bytes]" = []
        if how["delete"] and torrent.whole and found is not None:  # less takes all that it doesn't name away
            extras = [entry.path for entry in found.entries if entry.path != TOP]
        what = Merge(
            self._top,
            self._name,
            self.directory,
            frozenset(names),
            names,
            extras,
            how["max_delete"],
            self.links,
            frozenset(file.path for _, file in torrent.numbered() if file.holes),
            self._beside,
        )

        def done(ending: "Ending", _: object) -> None:
            self._merging = None
            over(ending)

        archive = os.open(os.path.join(self.directory, b"%d" % torrent.archive), _CONTENT)
        try:
            terms = Terms(how["numeric_ids"], how["chown"])
            self._merging = Merging(loop, archive, what, terms, done, moved)
        finally:
            os.close(archive)

    def abort(self) -> None:
        """End a merge: it is over soon."""
        if self._merging is not None:
            self._merging.abort()

    def clear(self) -> None:
        """Remove the directory. A file that loses a name looks as if somebody had written to it."""
        if self._fd < 0:
            return
        self.abort()
        with contextlib.suppress(OSError):  # then the next run removes it
            receiving.remove(self._top, self._name)
        os.close(self._fd)
        self._fd = -1


def _refuse_shared(seen: os.stat_result, dest: bytes) -> None:
    open_to_others = seen.st_mode & 0o022 and not seen.st_mode & stat.S_ISVTX
    if seen.st_uid not in (0, os.geteuid()) or open_to_others:
        raise OSError(errno.EPERM, "others may change what is in it", dest)
