"""What a copy would send, recorded once for many hosts that have the same.

rsync runs as in a push, against one of these hosts, but it writes what it
would send to a file instead (--only-write-batch): over the connection go only
the names, and the checksums of what is there. The file is a FIFO, read here
while it is written, and what comes is kept in the spool, which others may
send on while it grows.

**The gate.** What is sent on can't be called back, so the end is withheld: of
all that was written, `WITHHELD` bytes at least, until rsync has ended well and
the source was then seen unchanged. A reader renames nothing and deletes nothing
before it has the words that end rsync's second round, and these are within the
last hundred bytes (see pushing, and applying for what it does before that).
"""

import errno
import os
import select

from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.hashing import BLAKE2B
from nile.agent.worker.manifest import TEMPORARY
from nile.agent.worker.messages import CantError
from nile.agent.worker.pushing import CHUNK, Push
from nile.agent.worker.removing import remove_tree
from nile.agent.worker.ring import Digest
from nile.agent.worker.running import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from typing import Callable, List, Optional

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.pushing import Done, Gate, Progress

WITHHELD = 64 * 1024  # bytes
LOOK_EVERY = 64 * 1024 * 1024  # bytes that are kept between two looks at what is free
GIB = 1024 * 1024 * 1024
RESERVE = GIB  # bytes of a file system that are for others, or
SHARE = 0.05  # of all of it, whatever is more
REMEDY = "make room there, or have TMPDIR name a directory that has some"
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)  # file systems, old kernels


class FullError(CantError):
    """Nothing more can be kept; the text says why."""

    def __init__(self, directory: bytes, why: str) -> None:
        super().__init__("spool-full", "%s: %s" % (os.fsdecode(directory), why), REMEDY)


class Spool:
    """A stream of bytes in a file without a name; the offsets begin at 0.

    It leaves a part of the file system to others, however many write there.

    `digest`: of what was written, by what it is to be `hashed`, else b"";
    `written`: bytes so far; `limit`: of these, how many may be sent on now;
    `total`: of all, once it is `finished`; `aborted`: why it never will be, or
    "". `changed()` is called whenever one of limit, finished and aborted has
    changed. Raises OSError where there can be no file in `directory`, FullError where it has no room.
    """

    def __init__(self, directory: bytes, changed: "Callable[[], None]", hashed: str = BLAKE2B) -> None:
        self.directory = directory
        self.written = 0
        self.limit = 0
        self.total: "Optional[int]" = None
        self.aborted = ""
        self._look_at = 0
        self._changed = changed
        self._digest = Digest(hashed)
        self._fd = nameless(directory)
        try:
            self._look()
        except FullError:
            self.close()
            raise

    @property
    def fd(self) -> int:
        """The file, to be read."""
        return self._fd

    @property
    def digest(self) -> bytes:
        """See above."""
        return self._digest.value

    @property
    def finished(self) -> bool:
        """Is all of it there, and may all of it be sent?"""
        return self.total is not None

    def append(self, data: bytes) -> None:
        """This follows. Raises FullError where there is no room for it."""
        if self.written >= self._look_at:
            self._look()
        try:
            while data:
                count = os.pwrite(self._fd, data, self.written)
                self.written += count
                self._digest.add(data[:count])
                data = data[count:]
        except OSError as error:
            raise FullError(self.directory, error.strerror or str(error)) from None
        if self.written - WITHHELD > self.limit:
            self.limit = self.written - WITHHELD
            self._changed()

    def _look(self) -> None:
        """See that others have their room still, and when to do so again. Raises FullError."""
        about = os.fstatvfs(self._fd)
        kept = max(RESERVE, int(about.f_blocks * about.f_frsize * SHARE))
        free = about.f_bavail * about.f_frsize
        if free < kept:
            why = "%.1f GiB are free, of which %.1f are kept for others" % (free / GIB, kept / GIB)
            raise FullError(self.directory, why)
        self._look_at = self.written + LOOK_EVERY

    def read(self, offset: int, count: int) -> bytes:
        """What may be sent on from there, at most `count` bytes; b"" where there is nothing (yet)."""
        return os.pread(self._fd, max(0, min(count, self.limit - offset)), offset)

    def finish(self) -> None:
        """That was all, and all of it may go."""
        self.limit = self.total = self.written
        self._changed()

    def abort(self, reason: str) -> None:
        """The rest never comes."""
        if not self.finished and not self.aborted:
            self.aborted = reason
            self._changed()

    def close(self) -> None:
        """Nobody reads it any more; its room is given back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def nameless(directory: bytes) -> int:
    """A new file, to read and to write, that has no name."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    import tempfile  # it takes long to load, and most have O_TMPFILE

    fd, path = tempfile.mkstemp(prefix=TEMPORARY, dir=directory)
    os.unlink(path)
    return fd


def own_directory(within: bytes) -> bytes:
    """A new directory in there that only we may enter. Raises OSError."""
    path = os.path.join(within, TEMPORARY + os.urandom(16).hex().encode())
    os.mkdir(path, 0o700)
    return path


def dispose(directory: bytes) -> None:
    """Remove it, with all that is in it; what can't be removed stays."""
    try:
        remove_tree(directory)
    except OSError:
        pass


class Spooled:
    """What comes from a pipe, into `spool`. `done(ending)` is called once, when nothing of it is left.

    Then the spool is finished or aborted. Beside the codes of whatever writes there is
    `spool-full`; `source-changed` means that `gate()`, which is called once
    at the end, named files.
    """

    def __init__(self, loop: "Loop", reader: int, spool: Spool, gate: "Gate", done: "Done") -> None:
        """`reader` is the non-blocking end of a pipe; it is ours from now on."""
        self._loop = loop
        self._reader = reader
        self._spool = spool
        self._gate = gate
        self._done = done
        self._cause: "Optional[Ending]" = None  # if it isn't the writer's own
        self._ending: "Optional[Ending]" = None
        loop.watch(reader, select.POLLIN, self._read)

    def stop(self) -> None:
        """End it at once; `done` is called with `stopped`."""
        self._kill(Ending("stopped", "it was told to stop"))

    def _kill(self, cause: Ending) -> None:
        self._cause = self._cause or cause
        if self._ending is None:
            self._end()

    def _end(self) -> None:
        """End whatever writes; `_over` is called then."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The process that writes, or whose children do; 0: there is none."""
        raise NotImplementedError

    def _came(self) -> None:
        """The first of it came."""

    def _read(self, _: int) -> None:
        """Keep what comes."""
        try:
            data = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return
        if self._spool.written == 0:
            self._came()
        try:
            self._spool.append(data)
        except FullError as error:
            self._kill(Ending("spool-full", str(error)))
        if not data or self._cause is not None:
            self._close()
            self._perhaps_done()

    def _over(self, ending: Ending) -> None:
        """Whatever wrote has ended, and all that it forked: the pipe has an end now, if it was ever open."""
        self._ending = ending
        if ending.code:
            self._close()
        self._perhaps_done()

    def _perhaps_done(self) -> None:
        if self._ending is None or self._reader >= 0:
            return
        ending = self._ending
        if self._cause is not None:
            ending.instead(self._cause.code, self._cause.reason)
        elif ending.code in ("", "partial", "vanished"):  # perhaps because of what changed
            try:
                self._look(ending)
            except BaseException:  # nobody wants it any more, and this isn't called again
                ending.instead("stopped", "it was told to stop")
                self._finish(ending)
                raise
        self._finish(ending)

    def _finish(self, ending: Ending) -> None:
        self._part()
        if ending.code:
            self._spool.abort(ending.reason)
        else:
            self._spool.finish()
        self._done(ending)

    def _look(self, ending: Ending) -> None:
        """All is there: is the source as it was?"""
        changed = self._gate()
        if changed:
            ending.instead("source-changed", "the source changed while it was read").names = list(changed)

    def _part(self) -> None:
        """It is over."""

    def _close(self) -> None:
        if self._reader >= 0:
            self._loop.unwatch(self._reader)
            os.close(self._reader)
            self._reader = -1


class Recording(Spooled):
    """One recording of rsync's. Its codes are those of a push, and those of whatever is spooled."""

    def __init__(
        self,
        loop: "Loop",
        argv: "List[str]",
        connection: "socket.socket",
        spool: Spool,
        gate: "Gate",
        done: "Done",
        progress: "Optional[Progress]" = None,
        names: bytes = b"",
    ) -> None:
        """`argv` is of `rsync.client_argv`, with `pushing.helper()`; the peer is a `receiving.Receive`.

        `names`, if there are any, are all that is recorded: paths below its one source, zero bytes behind.
        `connection` is a non-blocking socket of a meeting; it is ours from now on, and closed.
        Raises OSError where there can be no FIFO in the directory of the spool.
        """
        self._directory = own_directory(spool.directory)
        try:
            listed = self._write(names) if names else b""
            fifo = os.path.join(self._directory, b"batch")
            os.mkfifo(fifo, 0o600)
            reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._part()
            connection.close()
            raise
        argv = rsyncs.recording_argv(argv, os.fsdecode(fifo), os.fsdecode(listed))
        self._push = Push(loop, argv, connection, self._over, None, progress)
        super().__init__(loop, reader, spool, gate, done)

    def _write(self, names: bytes) -> bytes:
        """A file with that in it; rsync opens it before the FIFO."""
        path = os.path.join(self._directory, b"names")
        with open(path, "wb") as file:
            file.write(names)
        return path

    def _end(self) -> None:
        self._push.stop()

    @property
    def pid(self) -> int:
        """rsync."""
        return self._push.pid

    def _came(self) -> None:
        """rsync has opened the FIFO, and all that is beside it."""
        self._part()

    def _part(self) -> None:
        dispose(self._directory)
