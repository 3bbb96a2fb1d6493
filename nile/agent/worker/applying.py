"""What was recorded for many hosts (see recording), done to the copy of this one.

The copy has to be what the one was against which it was recorded; what else it
is, rsync notices: the checksum of a whole file that was put together from the
wrong pieces isn't right, and a file that should be there and isn't has nothing
in the recording. That is `diverged`: no file has a wrong content then, but the
copy isn't what it should be, and needs an ordinary push.

As ever no file gets another content, and none is deleted, before the end of
rsync's second round is read, which the recorder withholds until all is well.
What has no data is done at once, as in a push: new directories, symbolic links,
special files and further names of a file that is as it should be; changed
owners, modes, attributes and times of files whose content stays; and what
stands where something of another type is to come goes.

rsync waits forever for the rest of half a stream, even where that has an end.
So it is watched: where nothing of it has read, written or computed anything for
some time, though it had something to read, it is killed. Where nothing comes (the
source is slow, or looked at once more), whoever sends that is at fault, and not rsync.
"""

import fcntl
import os
import struct
import termios

from nile.agent.worker import receiving
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.running import Ending, Running
from nile.agent.worker.standstill import Standstill, done_by
from nile.agent.worker.working import WORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Tuple

    from nile.agent.worker.loop import Loop

    Done = Callable[[Ending], None]

LEAVE_S = 10.0  # for rsync to go on, or to end, once the stream has ended
# All that rsync has to say of a file that it put together from the wrong pieces; its status is 0.
_WRONG = "^(?:WARNING|ERROR): .* failed verification -- update"


class Fed:
    """A program that does a stream to a destination. `done(ending)` is called once, when nothing is left.

    `stdin` is the non-blocking end of a pipe: every byte is to be written to
    it, in order, and then it is to be closed, by whoever writes. It breaks
    when the program is over. Beside the codes of its own: `timeout` (it stood still), `stopped`.
    """

    def __init__(
        self,
        loop: "Loop",
        copy: rsyncs.Copy,
        dest: bytes,
        done: "Done",
        moved: "Optional[Callable[[], None]]" = None,
    ) -> None:
        """The destination is made if there is none; raises Refusal for what it may be (see receiving).

        `moved()` is called time and again while it does anything (see standstill).
        """
        self._loop = loop
        self._copy = copy
        self._dest = dest
        self._temporary = copy.temporary
        self._done = done
        self._cause: "Optional[Ending]" = None
        try:
            self._clean = self._prepare()
        except OSError as error:
            code, reason = receiving.ERRORS.get(
                error.errno or 0, ("not-writable", error.strerror or str(error))
            )
            where = os.fsdecode(error.filename or dest)
            raise rsyncs.Refusal(code, "%s: %s" % (where, reason)) from None
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            self._reader, self.stdin = os.pipe()
            self._start(null)
        finally:
            os.close(null)
        # Its end is told also to who doesn't ask: there is nothing to be read here.
        loop.watch(self._reader, 0, self._stream_ended)
        self._standstill = Standstill(
            loop, float(copy.stall_s), self._moved, self._stands_still, moved, lambda: not self._waiting()
        )

    def _start(self, null: int) -> None:
        try:
            os.set_blocking(self.stdin, False)
            self._running = self._run([self._reader, null])
        except OSError as error:
            os.close(self.stdin)
            os.close(self._reader)
            self._tidy(Ending("no-rsync", ""))
            raise self._unable(error) from None

    def _prepare(self) -> bool:
        """As `receiving.prepare`."""
        return receiving.prepare(self._dest, self._temporary)

    def _run(self, fds: "List[int]") -> Running:
        """Start it; raises OSError."""
        raise NotImplementedError

    def _unable(self, error: OSError) -> rsyncs.Refusal:
        """Why it couldn't be started."""
        raise NotImplementedError

    def _judge(self, ending: Ending) -> None:
        """What its own end means here."""

    def abort(self) -> None:
        """Kill it; `done` is called with `stopped`."""
        self._kill(Ending("stopped", "it was told to stop"))

    def _kill(self, cause: Ending) -> None:
        self._cause = self._cause or cause
        self._running.kill()

    # Does it stand still?

    def _stream_ended(self, _: int) -> None:
        """Nobody writes any more."""
        self._loop.unwatch(self._reader)
        self._standstill.given_all(self._leave_s())

    def _leave_s(self) -> float:
        """How long it may stand still then."""
        return LEAVE_S

    def _stands_still(self) -> None:
        self._kill(Ending("timeout", "the stream stands still", True))

    def _moved(self) -> "Tuple[int, ...]":
        """What changes while anything goes on: the bytes that wait, and what the processes have done."""
        return (self._waiting(), *done_by(self._running.pid))

    def _waiting(self) -> int:
        """Bytes that it has yet to read."""
        return int(struct.unpack("i", fcntl.ioctl(self._reader, termios.FIONREAD, b"\0" * 4))[0])

    # The end

    def _over(self, ending: Ending) -> None:
        self._standstill.stop()
        self._loop.unwatch(self._reader)
        os.close(self._reader)
        if self._cause is not None:
            ending.instead(self._cause.code, self._cause.reason, self._cause.retry)
        else:
            self._judge(ending)
        self._tidy(ending)
        self._done(ending)

    def _tidy(self, ending: Ending) -> None:
        """Remove what is unfinished. After a success only our own directory can be there."""
        try:
            with WORK.told():
                if ending.code == "" and self._clean:
                    receiving.remove(self._dest, self._temporary)
                else:
                    receiving.sweep(self._dest, self._temporary)
        except OSError as error:
            if ending.code == "":
                reason = "%s can't be removed: %s" % (os.fsdecode(error.filename or b""), error.strerror)
                ending.instead("not-writable", reason)


class Applying(Fed):
    """One recording, applied by rsync.

    Beside the codes of `running`, and of whatever is fed: `diverged` (a push mends it). Raises Refusal
    where it can't begin: `old-rsync`, and what a destination may be.
    """

    def __init__(
        self,
        loop: "Loop",
        rsync: rsyncs.Rsync,
        copy: rsyncs.Copy,
        dest: bytes,
        recorded: "rsyncs.Version",
        done: "Done",
        moved: "Optional[Callable[[], None]]" = None,
    ) -> None:
        """`copy` is as for the recording, `recorded` the older version of those that made it.

        The one that is recorded against has to wait until that is over: what is done at once would change
        what is recorded.
        """
        self._argv = rsyncs.applying_argv(rsync, copy, dest, recorded)
        super().__init__(loop, copy, dest, done, moved)

    def _run(self, fds: "List[int]") -> Running:
        return Running(self._loop, self._argv, fds, self._over)

    def _unable(self, error: OSError) -> rsyncs.Refusal:
        return rsyncs.Refusal("no-rsync", "%s can't be run: %s" % (self._argv[0], error.strerror))

    def _judge(self, ending: Ending) -> None:
        """Is it the copy that is at fault?"""
        wrong = ending.words and _is_wrong(ending.words)
        if wrong or ending.code in ("partial", "protocol", "vanished"):
            ending.instead("diverged", "what is here isn't what the delta was made for", True)


def _is_wrong(words: str) -> bool:
    import re

    return re.search(_WRONG, words, re.MULTILINE) is not None
