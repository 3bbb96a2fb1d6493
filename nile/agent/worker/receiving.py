"""From a worker to another by rsync: the receiver's side.

It meets the sender, reads which `rsync --server` it asks for, and runs that
with the connection as its stdin and stdout. The worker moves no bytes. It
keeps a descriptor of the connection, though: when rsync ends, it shuts the
connection down in order (an end with bytes unread would be a reset, which
takes rsync's last words away from the sender), and it can break it.

A peer that is gone without a word is noticed after `meeting.DEAD_S`, one that
stands still by rsync itself, which hears from the other rsync more often than
its --timeout.
"""

import errno
import os
import select
import stat
import struct

from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.meeting import Listener
from nile.agent.worker.removing import remove_tree
from nile.agent.worker.running import Ending, Running
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from typing import Callable, Iterator, Optional

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.rsync import Rsync

    Done = Callable[[Ending], None]

MOST_ASKED = 64 * 1024  # bytes of the words that the sender asks for
ASKING_S = 30.0  # for the sender to start its rsync and ask
LEAVE_S = 10.0  # for rsync to end once the sender has hung up
NOTHING = 256 * 1024  # bytes: a disk with no more than that is full
LINGER_S = 2.0  # for the sender to take the last words
PLAN = b"to-be-placed"  # in the run's own directory: what `placing` does while that is there
OWN = ("disk-full", "not-writable")  # counts, though whoever gives had it stopped
ERRORS = {
    errno.ENOSPC: ("disk-full", "no space is left"),
    errno.EDQUOT: ("disk-full", "no space is left"),
    errno.EEXIST: ("not-writable", "something else has the name of our directory"),
    errno.ENOTDIR: ("not-writable", "the destination is no directory"),
}


class Receive:
    """One copy that comes. `done(ending)` is called once, when nothing of it is left; `port`: where.

    Beside the codes of `running`: `timeout` (nobody came), `refused` (what the
    sender asked for), `stopped`. What is unfinished is removed, but with `keep`,
    where another attempt may fare better: that begins with what is there, so
    `sweep` is to be called in the end. `kept` says whether something is there
    (None: as it was before). A disk that is full with what was kept may not be
    without. The destination is made if there is none. Files may be linked to
    those in `basis`. Raises OSError where the address isn't ours.
    """

    kept: "Optional[bool]" = None

    def __init__(
        self,
        loop: "Loop",
        rsync: "Rsync",
        dest: bytes,
        temporary: bytes,
        address: str,
        secret: bytes,
        deadline: float,
        done: "Done",
        keep: bool = False,
        basis: bytes = b"",
    ) -> None:
        self._loop = loop
        self._rsync = rsync
        self._dest = dest
        self._temporary = temporary
        self._done = done
        self._keep = keep
        self._basis = basis
        self._connection: "Optional[socket.socket]" = None
        self._asked = b""
        self._running: "Optional[Running]" = None
        self._cause: "Optional[Ending]" = None
        self._ending = Ending("", "")
        self._finished = self._clean = False
        self._timer = -1
        self._listener: "Optional[Listener]" = Listener(loop, address, secret, deadline, self._met)
        self.port = self._listener.port

    def stop(self) -> None:
        """End it; `done` is called with `stopped`."""
        if self._finished:
            return
        self._cause = self._cause or Ending("stopped", "it was told to stop")
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._running is not None:
            self._break()
            self._running.end()
        elif self._connection is None or self._timer >= 0:
            self._finish()

    def _met(self, connection: "Optional[socket.socket]", code: str, reason: str) -> None:
        self._listener = None
        if connection is None:
            self._fail(code, reason, True)
            return
        self._connection = connection
        self._timer = self._loop.at(
            self._loop.now() + ASKING_S,
            lambda: self._fail("timeout", "the sender asked for nothing in time", True),
        )
        self._loop.watch(connection.fileno(), select.POLLIN, self._read)

    def _fail(self, code: str, reason: str, retry: bool = False) -> None:
        self._cause = self._cause or Ending(code, reason, retry)
        self._finish()

    def _read(self, _: int) -> None:
        """Read the words, and not a byte more: what follows is for rsync."""
        wanted = 4
        if len(self._asked) >= 4:
            wanted += struct.unpack_from("!I", self._asked)[0]
        try:
            data = self._peer().recv(wanted - len(self._asked))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._asked += data
        if not data:
            self._fail("broken", "the sender hung up", True)
        elif len(self._asked) >= 4:
            size = struct.unpack_from("!I", self._asked)[0]
            if not 0 < size <= MOST_ASKED:
                self._fail("refused", "the sender asked for %d bytes of words" % size)
            elif len(self._asked) == 4 + size:
                self._start(self._asked[4:].split(b"\0"))

    def _peer(self) -> "socket.socket":
        assert self._connection is not None
        return self._connection

    def _start(self, asked: "list[bytes]") -> None:
        connection = self._peer()
        self._loop.unwatch(connection.fileno())
        self._loop.forget(self._timer)
        self._timer = -1
        try:
            argv = self._answer(asked)
            connection.setblocking(True)
            both = [connection.fileno(), connection.fileno()]
            self._running = Running(self._loop, argv, both, self._over)
            self._loop.watch(connection.fileno(), select.POLLRDHUP, self._hung_up)
        except rsyncs.Refusal as refusal:
            self._fail(refusal.code, refusal.reason)
        except OSError as error:
            code, reason = ERRORS.get(error.errno or 0, ("not-writable", error.strerror or str(error)))
            self._fail(code, "%s: %s" % (os.fsdecode(error.filename or self._dest), reason))

    def _answer(self, asked: "list[bytes]") -> "list[str]":
        """What is run for whoever asks for these words; raises Refusal, or OSError."""
        argv = rsyncs.server_argv(self._rsync, asked, self._dest, self._temporary, self._basis)
        self._clean = prepare(self._dest, self._temporary)
        return argv

    def _hung_up(self, _: int) -> None:
        """The sender is gone. rsync sees that too, unless it is stuck."""
        self._loop.unwatch(self._peer().fileno())
        if self._running is not None:
            self._timer = self._loop.at(self._loop.now() + LEAVE_S, self._running.end)

    def _break(self) -> None:
        import _socket as socket

        try:
            self._peer().shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is broken

    def _over(self, ending: Ending) -> None:
        """rsync is gone, all of it. What it had to say it said to the sender, which may be gone as well."""
        self._running = None
        if ending.code and _is_full(self._dest):
            ending.instead(*ERRORS[errno.ENOSPC])
        if ending.code == "disk-full" and not self._clean:
            ending.retry = True  # what was kept goes
        self._ending = ending
        self._finish()

    # The end

    def _finish(self) -> None:
        """Clean up, then part from the sender in order."""
        if self._finished:
            return
        self._finished = True
        self._loop.forget(self._timer)
        if self._connection is not None:
            self._loop.unwatch(self._connection.fileno())
        if self._cause is not None and self._ending.code not in OWN:
            self._ending.instead(self._cause.code, self._cause.reason, self._cause.retry)
        self._tidy()
        if self._connection is None:
            self._done(self._ending)
            return
        import _socket as socket

        try:
            self._connection.setblocking(False)
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is broken
        self._timer = self._loop.at(self._loop.now() + LINGER_S, self._part)
        self._loop.watch(self._connection.fileno(), select.POLLIN, self._drain)

    def _drain(self, _: int) -> None:
        try:
            data = self._peer().recv(MOST_ASKED)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._part()

    def _part(self) -> None:
        self._loop.forget(self._timer)
        self._loop.unwatch(self._peer().fileno())
        self._peer().close()
        self._done(self._ending)

    def _tidy(self) -> None:
        """Remove what is unfinished. After a success only our own directory can be there."""
        if not self._asked:
            return  # nothing was begun
        try:
            with WORK.told():
                self.kept = self._keep and self._is_worth_another()
                if self._ending.code == "" and self._clean:
                    remove(self._dest, self._temporary)
                elif self.kept:
                    inner = rsyncs.inner_directory(self._dest, self._temporary)
                    try:
                        remove_tree(inner)
                    except OSError:
                        pass  # whoever sweeps tries again
                else:
                    sweep(self._dest, self._temporary)
        except OSError as error:
            if self._ending.code == "":
                reason = "%s can't be removed: %s" % (os.fsdecode(error.filename or b""), error.strerror)
                self._ending.instead("not-writable", reason)

    def _is_worth_another(self) -> bool:
        """May another attempt fare better, with what came so far?"""
        return self._ending.code not in OWN and (self._ending.retry or self._ending.code == "stopped")


def _is_full(dest: bytes) -> bool:
    try:
        found = os.statvfs(dest)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < NOTHING


def prepare(dest: bytes, temporary: bytes) -> bool:
    """Make the destination, if it isn't there, and our directories in it; False if they were there.

    Raises OSError.
    """
    os.makedirs(dest, exist_ok=True)
    own = os.path.join(dest, temporary)
    before = os.stat(dest)
    new = True
    try:
        as_owner(dest, before, lambda: os.mkdir(own, 0o700))
    except FileExistsError:
        found = os.lstat(own)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise
        new = False
    try:
        os.mkdir(os.path.join(own, temporary), 0o700)
    except FileExistsError:
        pass
    return new


def sweep(dest: bytes, temporary: bytes) -> None:
    """Remove every directory of this name at or below `dest`, and nothing else; raises the first OSError."""
    failed = None
    try:
        parents = list(_parents(dest, temporary))
    except RecursionError:  # os.walk's, before Python 3.12
        raise _too_deep(dest) from None
    for parent in parents:
        try:
            remove(parent, temporary)
        except OSError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _parents(dest: bytes, temporary: bytes) -> "Iterator[bytes]":
    """The directories that have an entry of this name; links aren't followed."""
    for path, directories, files in os.walk(dest):
        WORK.done += 1 + len(files)
        if temporary in directories:
            directories.remove(temporary)
            yield path


def remove(parent: bytes, temporary: bytes) -> None:
    """Remove this directory of ours, once all has its place that is to have one; its parent's times stay."""
    path = os.path.join(parent, temporary)
    see_placed(parent, temporary)
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            as_owner(parent, os.stat(parent), lambda: remove_tree(path))
    except FileNotFoundError:
        pass  # rsync has removed it
    except RecursionError:
        raise _too_deep(path) from None


def see_placed(parent: bytes, temporary: bytes) -> bool:
    """If somebody was killed while it gave names to what an archive had brought, give the others theirs.

    Was that so, and have they all? Raises OSError where they can't have them yet.
    """
    if not os.path.lexists(os.path.join(parent, temporary, PLAN)):
        return False
    from nile.agent.worker import placing

    return placing.finish(parent, temporary)


def _too_deep(path: bytes) -> OSError:
    return OSError(errno.ENAMETOOLONG, "deeper than can be removed", path)


def as_owner(directory: bytes, before: os.stat_result, change: "Callable[[], None]") -> None:
    """Change an entry of a directory that may be read-only for its owner, us; its mode and times stay."""
    try:
        change()
    except PermissionError:
        os.chmod(directory, stat.S_IMODE(before.st_mode) | stat.S_IRWXU)
        try:
            change()
        finally:
            os.chmod(directory, stat.S_IMODE(before.st_mode))
    try:
        os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
    except PermissionError:
        pass  # another's directory: rsync can't set its times either
