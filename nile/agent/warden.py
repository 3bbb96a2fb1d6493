"""The warden: a process above the agent that outlives it by a moment.

It holds none of the login's descriptors and does one thing: when its agent
ends, it kills what the agent left, unless the agent said that this may stay.
The agent in turn is told by the kernel (PR_SET_PDEATHSIG) when its warden is
killed, and ends its command itself.
"""

import _signal
import os
import time

from nile.agent import processes

KEEP = b"k"
_LONGEST_S = 2.0


def watch(agent: int, said: int) -> None:
    """Wait for the agent's end, clean up, exit.

    `said` is a pipe from the agent: scratch directories, a line each, then KEEP or nothing.
    """
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _signal.signal(_signal.SIGTERM, lambda *_: processes.kill(agent, _signal.SIGTERM))
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    while True:
        pid, _ = os.waitpid(-1, 0)
        if pid == agent:
            break
    _signal.signal(_signal.SIGTERM, _signal.SIG_IGN)  # cleaning up is how it ends
    lines = os.read(said, 65536).split(b"\n")
    if lines[-1] != KEEP:
        kill_all()
    for path in lines[:-1]:
        processes.remove_tree(os.fsdecode(path))
    os._exit(0)


def kill_all() -> None:
    """Kill every descendant of this process; give up after two seconds."""
    own = os.getpid()
    until = time.monotonic() + _LONGEST_S
    while time.monotonic() < until:
        if processes.childless() or not processes.descendants(own):
            return
        processes.kill_descendants(own, _signal.SIGKILL)
        processes.reap()
        time.sleep(0.005)
