"""What is looked after while a command runs: the size of its scratch, and syslog. Travels with the plan.

A scratch that is no file system of its own (see `nile.agent.spaces`) has no
bound but that of the memory it lies in. So it is looked at once a second, and
whoever puts more into it is ended. Where all that is in that memory is less,
that costs one call of the system; where counting takes long, it is looked at more seldom.

The host's syslog gets a line when the command starts and one when it ends (see `nile.controller.audit`), by
/dev/log as syslog(3) has it. Where nobody takes it at once, it is lost: no command waits for that.
"""

import posix as os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from nile.agent.loop import Agent

MOST_FILES = 50000
LOOK_S = 0.9
PART = 10  # counting takes such a part of the agent's time at most
SYSLOG = "/dev/log"
PRIORITY = 10 * 8 + 6  # authpriv.info: RFC 3164, 4.1.1


def mind(agent: "Agent", what: str = "", rc: "Optional[int]" = None, signum: "Optional[int]" = None) -> None:
    """Look after the command of this agent; or say `what` befell it, and how it ended."""
    core = agent.core
    shared = core.plan["shared"]
    if what:
        audit = shared["job"]["audit"]
        if audit:
            how = " rc=%d" % rc if rc is not None else " signal=%d" % signum if signum is not None else ""
            how += " stopped" * (core.state == "stopping")
            say(line(audit, core.plan, agent.command.pid, what + how))
        return
    most = shared["job"]["scratch"]
    if agent.claim and core.state == "running" and look(agent.claim + "/scratch", most):
        agent.perform(core.stop("scratch", agent.now(), shared["grace"]))


_next_look = [0.0]


def look(path: str, most: int) -> bool:
    """Is it `overfull`? Not looked at where that was just done: a relay may ask a hundred times a second."""
    since = time.monotonic()
    if since < _next_look[0]:
        return False
    found = overfull(path, most)
    ended = time.monotonic()
    _next_look[0] = ended + max(LOOK_S, PART * (ended - since))
    return found


def overfull(path: str, most: int) -> bool:
    """Is there more in this directory than `most` bytes, as far as its files can be counted?"""
    try:
        space = os.statvfs(path)
    except OSError:
        return False  # the command removed it
    if (space.f_blocks - space.f_bfree) * space.f_frsize <= most:
        return False
    from os import walk

    size = count = 0
    for folder, folders, files in walk(path):
        for name in folders + files:
            try:
                status = os.lstat("%s/%s" % (folder, name))
            except OSError:
                continue  # it is gone
            count += 1
            size += status.st_blocks * 512 // (1 if name in folders else status.st_nlink)
            if size > most:
                return True
            if count > MOST_FILES:
                return False
    return False


def line(audit: "Dict[str, str]", plan: "Dict[str, Any]", pid: int, what: str) -> str:
    """What syslog is told of a command: whose it is, and its hash."""
    node, digest = plan["node"], audit["sha256"]
    if node["script"] or node["line"]:  # its own
        import hashlib
        import zlib

        script = node["script"]
        own = zlib.decompress(script["data"]) if script else node["line"].encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(own).hexdigest()
    words = plan["shared"]["run"], node["host"], audit["by"], os.getuid(), pid, digest, what
    return "run=%s host=%s by=%s uid=%d pid=%d sha256=%s %s" % words


def say(text: str) -> None:
    """A line for syslog, as RFC 3164 has it; nobody is told where that can't be done."""
    import _socket

    stamp = time.strftime("%b %e %H:%M:%S")
    try:
        log = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            log.setblocking(False)
            message = "<%d>%s nile[%d]: %s" % (PRIORITY, stamp, os.getpid(), text)
            log.sendto(message.encode("utf-8", "replace"), SYSLOG)
        finally:
            log.close()
    except OSError:
        pass
