"""Starting a command where os.posix_spawn can't: before Python 3.8, with an old libc, or with an outfit.

Sent as source.
"""

import _signal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Optional, Sequence


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
    """
    said, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for target, fd in enumerate(fds):
                os.dup2(fd, target)
            for signum in default:
                _signal.signal(signum, _signal.SIG_DFL)
            if prepare:
                prepare()
            # Where the locale is C, Python 3.6 would have no word but of ASCII.
            os.execve(path, [word.encode("utf-8", "surrogateescape") for word in argv], env)
        except OSError as error:
            os.write(tell, b"%d " % (error.errno or 1) + os.fsencode(error.filename or path))
        except BaseException as error:  # MemoryError: of its own limit
            os.write(tell, b"22 %a" % error)
        finally:
            os._exit(127)
    os.close(tell)
    with open(said, "rb") as file:
        number, _, what = file.read().partition(b" ")
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)), os.fsdecode(what))
    return pid
