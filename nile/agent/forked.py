"""Starting a command where os.posix_spawn can't: Python 3.7 and before, or an old libc; sent as source."""

import _signal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Sequence


def spawn(
    path: str, argv: "List[str]", env: "Dict[str, str]", fds: "Sequence[int]", default: "Sequence[int]"
) -> int:
    """Run the program at `path` as `nile.agent.processes.spawn` does; `default` are signals to be reset.

    Raises OSError where it can't be started.
    """
    said, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(path, argv, env, fds, default, tell)
    os.close(tell)
    with open(said, "rb") as file:
        error = file.read()
    if error:
        os.waitpid(pid, 0)
        raise OSError(int(error), os.strerror(int(error)), path)
    return pid


def _become(
    path: str,
    argv: "List[str]",
    env: "Dict[str, str]",
    fds: "Sequence[int]",
    default: "Sequence[int]",
    tell: int,
) -> None:
    """The child's side of it: never returns."""
    try:
        os.setsid()
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        for signum in default:
            _signal.signal(signum, _signal.SIG_DFL)
        os.execve(path, argv, env)
    except OSError as error:
        os.write(tell, b"%d" % (error.errno or 1))
    finally:
        os._exit(127)
