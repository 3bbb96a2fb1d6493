"""Starting a command where os.posix_spawn can't: before Python 3.8, with an old libc, or with an outfit.

Sent as source.
"""

import _signal
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Sequence

READY_S = 1.0  # less than the silence that a parent takes for a loss


def spawn(
    path: str,
    argv: "List[str]",
    env: "Dict[str, str]",
    fds: "Sequence[int]",
    default: "Sequence[int]",
    prepare: "Optional[Callable[[], None]]" = None,
) -> int:
    """Run the program at `path` as `nile.agent.processes.spawn` does; `default` are signals to be reset.

    The child calls `prepare`, if there is one. Raises OSError where it can't be started.
    One that hangs before it is the program (its directory is on a file system whose server is gone)
    counts as started, and is stopped like any other: what keeps it hangs nobody else. If it fails
    after all, its standard error says why.
    """
    said, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.close(said)
            for target, fd in enumerate(fds):
                os.dup2(fd, target)
            for signum in default:
                _signal.signal(signum, _signal.SIG_DFL)
            if prepare:
                prepare()
            # Where the locale is C, Python 3.6 would have no word but of ASCII.
            os.execve(path, [word.encode("utf-8", "surrogateescape") for word in argv], env)
        except OSError as error:
            _tell(tell, error.errno or 1, os.fsencode(error.filename or path))
        except BaseException as error:  # MemoryError: of its own limit
            _tell(tell, 22, b"%a" % error)
        finally:
            os._exit(127)
    os.close(tell)
    with open(said, "rb") as file:
        poll = select.poll()
        poll.register(said, select.POLLIN)
        if not poll.poll(int(READY_S * 1000)):
            return pid
        number, _, what = file.read().partition(b" ")
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)), os.fsdecode(what))
    return pid


def _tell(tell: int, number: int, what: bytes) -> None:
    """In the child: the number of an error, and where it was; to whoever reads its output if nobody waits."""
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    try:
        os.write(tell, b"%d " % number + what)
    except OSError:
        os.write(2, b"nile: " + what + b": " + os.strerror(number).encode() + b"\n")
