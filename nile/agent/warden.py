"""The warden: a process above the agent that outlives it by a moment.

It holds none of the login's descriptors and does one thing: when its agent
ends, it kills what the agent left, unless the agent said that this may stay.
The agent in turn is told by the kernel (PR_SET_PDEATHSIG) when its warden is
killed, and ends its command itself.

Both are subreapers (prctl(2), PR_SET_CHILD_SUBREAPER): what daemonises stays
below them.
"""

import _signal
import posix as os

from nile.agent import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Tuple

KEEP = b"k"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def part() -> "Tuple[int, int]":
    """Split into a warden and, below it, an agent, in which alone this returns.

    Gives the pipe by which the agent tells its warden, and the warden's pid.
    """
    close_strangers()
    said, tell = os.pipe()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    above = os.getpid()
    pid = os.fork()
    if pid:
        os.close(tell)
        watch(pid, said)
    os.close(said)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, _signal.SIGTERM)
    return tell, above


def close_strangers() -> None:
    """Close what was inherited beyond standard input, output and error."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass  # the descriptor of the listing itself


def prctl(option: int, value: int) -> bool:
    """prctl(2). False where this Python has no way to call it."""
    try:
        import _ctypes  # the module ctypes costs 4 ms more, and offers nothing that is needed here

        program: "Any" = None
        address = _ctypes.dlsym(_ctypes.dlopen(program, 0), "prctl")
        return bool(_ctypes.call_function(address, (option, value, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def watch(agent: int, said: int) -> None:
    """Wait for the agent's end, clean up, exit.

    `said` is a pipe from the agent: scratch directories, a line each, then KEEP or nothing.
    """
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _signal.signal(_signal.SIGTERM, lambda *_: _stop(agent))
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    while os.waitpid(-1, 0)[0] != agent:
        pass
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)  # cleaning up is how it ends
    lines = os.read(said, 65536).split(b"\n")
    if lines[-1] != KEEP and not processes.childless():
        from nile.agent import leftovers

        leftovers.kill_all()
    for path in lines[:-1]:
        processes.remove_directory(path.decode())
    os._exit(0)


def _stop(agent: int) -> None:
    try:
        os.kill(agent, _signal.SIGTERM)
    except OSError:
        pass  # gone
