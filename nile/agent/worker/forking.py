"""Work that may block, done by a copy of this process: it is fed by a pipe, and can be killed at any time."""

import os
import signal

from nile.agent.worker.running import Ending, Running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Optional, Sequence

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.running import Over

    Work = Callable[[], None]

FAILED = 1
_OURS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM)


class Failure(Exception):
    """The work came to nothing: a `code`, a `reason`, and whether another attempt may fare better."""

    def __init__(self, code: str, reason: str, retry: bool = False, name: bytes = b"") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.retry = retry
        self.name = name  # of the file that it is about

    def pack(self) -> bytes:
        """In one line, as `unpack` takes it."""
        words = [
            self.code.encode(),
            b"retry" if self.retry else b"",
            self.name[:1000],
            self.reason.encode()[:1000],
        ]
        return b"\0".join(words)

    @classmethod
    def unpack(cls, said: bytes) -> "Failure":
        """From what a child said on its stderr: whatever that was."""
        code, retry, name, reason = (said.split(b"\0", 3) + [b""] * 3)[:4]
        if not reason:
            return cls("failed", said.decode("utf-8", "replace").strip()[-500:] or "it says nothing")
        return cls(code.decode(), reason.decode("utf-8", "replace"), bool(retry), name)


class Working(Running):
    """This work, in a child of ours. `over(ending)` is called once, when nothing of it is left.

    It ends when `work()` returns, or raises Failure. Raises OSError where there can be no child.
    """

    def __init__(self, loop: "Loop", work: "Work", fds: "Sequence[int]", over: "Over") -> None:
        """`fds` become its descriptors 0 and 1; nothing else is open there but its stderr."""
        self._work = work
        super().__init__(loop, [], fds, over)

    def _begin(self, argv: "List[str]", fds: "Sequence[int]") -> int:
        pid = os.fork()
        if pid == 0:
            _become(self._work, fds)
        return pid

    def _signal(self, signum: int) -> None:
        """It forks nothing, and may not have a session of its own yet."""
        try:
            os.kill(self.pid, signum)
        except OSError:
            pass  # it has ended

    def _meant(self, status: "Optional[int]", signum: "Optional[int]", said: bytes) -> Ending:
        if status == 0:
            ended = Ending("", "")
        elif signum is not None:
            ended = Ending("killed", "it was killed by signal %d" % signum, True)
        else:
            failure = Failure.unpack(said)
            ended = Ending(failure.code, failure.reason, failure.retry)
            ended.names = [failure.name] if failure.name else []
        ended.status, ended.signal = status, signum
        return ended


def _become(work: "Work", fds: "Sequence[int]") -> None:
    """The child's side of it: never returns."""
    status = FAILED
    try:
        os.setsid()
        without_handlers()
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
            os.set_blocking(target, True)
        close_from(3)
        work()
        status = 0
    except Failure as failure:
        os.write(2, failure.pack())
    except BaseException as error:  # whatever it is, nobody above may see it: this is a copy of the worker
        os.write(2, ("%s: %s" % (type(error).__name__, error)).encode("utf-8", "replace")[:1000])
    finally:
        os._exit(status)


def without_handlers() -> None:
    """In a child: signals are for it alone, and what the worker does at one isn't for it to do."""
    signal.set_wakeup_fd(-1)
    for signum in _OURS:
        signal.signal(signum, signal.SIG_DFL)


def close_from(least: int) -> None:
    """In a child: close what is the worker's. A connection that both had wouldn't end with the worker's."""
    os.closerange(least, 1 + max(map(int, os.listdir("/proc/self/fd"))))
