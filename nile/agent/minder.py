"""What is looked after while a command runs: that its scratch keeps within its size. Travels with the plan.

A scratch that is no file system of its own (see `nile.agent.spaces`) has no
bound but that of the memory it lies in. So it is looked at once a second, and
whoever puts more into it is ended. Where all that is in that memory is less,
that costs one call of the system.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nile.agent.loop import Agent

MOST_FILES = 50000


def mind(agent: "Agent") -> None:
    """Look after the command of this agent."""
    core = agent.core
    shared = core.plan["shared"]
    most = shared["job"]["scratch"]
    if agent.claim and core.state == "running" and overfull(agent.claim + "/scratch", most):
        agent.perform(core.stop("scratch", agent.now(), shared["grace"]))


def overfull(path: str, most: int) -> bool:
    """Is there more in this directory than `most` bytes, or more files than can be counted every second?"""
    try:
        space = os.statvfs(path)
    except OSError:
        return False  # the command removed it
    if (space.f_blocks - space.f_bfree) * space.f_frsize <= most:
        return False
    size = count = 0
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            try:
                status = os.lstat("%s/%s" % (folder, name))
            except OSError:
                continue  # it is gone
            count += 1
            size += status.st_blocks * 512 // (1 if name in folders else status.st_nlink)
            if size > most or count > MOST_FILES:
                return True
    return False
