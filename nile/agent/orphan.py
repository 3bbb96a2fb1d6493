"""Adoption: an agent that came second hands its login over to the one that was there; sent as source.

The newcomer has a directory beside the claim, puts two FIFOs there, writes its
name and its epoch into the FIFO that wakes the holder, and from then on only
carries bytes between them and its login. The holder goes on over these as if
they were its own login. It refuses whoever comes in no higher epoch than it has
heard of: that one sees the end of what it reads.
"""

import _signal
import errno
import fcntl
import os
import select
import stat
import time

from nile.agent import claims, leftovers, wire
from nile.agent.link import Link

MOST_POLL_S = 1e6  # poll's milliseconds end at 24 days

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple

    from nile.agent.loop import Agent


def lose_parent(agent: "Agent") -> None:
    """The link to the parent ended."""
    _attach(agent, None)
    if agent.branches and agent.core.waits():
        agent.branches.orphaned()
    elif agent.branches:
        agent.branches.parent_lost()  # at once, not when its own command has ended: graces would add up
    agent.perform(agent.core.parent_lost(agent.now()))


def _attach(agent: "Agent", ends: "Optional[Tuple[int, int]]") -> None:
    """Go on over another link: the descriptors to read and to write, or None for now."""
    null = os.open("/dev/null", os.O_RDWR)
    down, up = ends or (null, null)
    if agent.carrier:
        agent.carrier.close()  # what was on its way is gone: both ends see it
    agent.parent.drop()
    agent.parent = Link(wire.MAX_FRAME_DOWN, agent.now())
    agent.out = b""
    agent.alone = ends is None
    agent.unwatch(1)
    for end, fd in ((down, 0), (up, 1), (null, 2)):
        os.dup2(end, fd)
    for fd in {down, up, null}:
        os.close(fd)
    if agent.alone:
        agent.unwatch(0)
    else:
        agent.watch(0, select.POLLIN, agent.parent_readable)


def say_state(agent: "Agent", fields: "Dict[str, Any]") -> None:
    """Tell the root where this agent stands, and whom it has below it.

    And for how long memory can tell of a start: a container may have been started anew below a kernel that
    went on.
    """
    core = agent.core
    fields["uptime"] = min(agent.now(), _age_of_init(agent.now()))
    fields["children"] = agent.branches.attached(core.epoch) if agent.branches else []
    agent.up(wire.Frame(wire.STATE, core.id, core.epoch, (), wire.dumps(fields)))


def _age_of_init(now: float) -> float:
    """Seconds since process 1 was started, from proc(5)."""
    try:
        with open("/proc/1/stat", "rb") as file:
            ticks = file.read().rpartition(b")")[2].split()[19]
    except OSError:
        return now  # hidden
    return now - int(ticks) / os.sysconf("SC_CLK_TCK")


def come_second(agent: "Agent", word: str) -> str:
    """There was an agent before. If it lives this never returns; else its claim is ours from now on.

    `word` names our own directory beside the claim. What a dead one left running
    is killed. Raises OSError where the claim is another user's.
    """
    path = agent.claim
    assert path is not None
    status = os.lstat(path)
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(errno.EPERM, "the claim is not ours", path)
    directory = os.open(path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)  # another one may have come, and find the same
    try:
        wake = os.open(path + claims.WAKE, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT):
            raise
        os.rename(path + word + claims.WAKE, path + claims.WAKE)
        os.rmdir(path + word)
        _clear(agent, path, word)
        return claims.DEAD
    finally:
        os.close(directory)
    _hand_over(agent, path, word, wake)
    return claims.HELD


def _clear(agent: "Agent", path: str, word: str) -> None:
    """Nobody reads the FIFO any more: end what the dead one left, and free its scratch directory's name.

    Where there is no scratch, agent or warden cleaned up: what still runs then was to stay.
    """
    shared, node = agent.core.plan["shared"], agent.core.plan["node"]
    scratch = path + "/scratch"
    if os.path.lexists(scratch):
        leftovers.kill_marked(shared["run"], node["host"])
    for base in claims.MEMORY_DIRECTORIES:
        leftovers.remove_tree(base + claims.RELAY % (os.getuid(), shared["run"], node["id"]))
    leftovers.remove_tree(scratch)
    if os.path.lexists(scratch):  # another user's files are in it
        os.rename(scratch, scratch + word)


def _hand_over(agent: "Agent", path: str, word: str, wake: int) -> None:
    for signum in (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGINT):
        _signal.signal(signum, _signal.SIG_DFL)
    try:
        for end in ("/down", "/up"):
            os.mkfifo(path + word + end, 0o600)
        up = os.open(path + word + "/up", os.O_RDONLY | os.O_NONBLOCK)
        down = os.open(path + word + "/down", os.O_RDWR | os.O_NONBLOCK)
        os.write(wake, b"%s %d\n" % (word.encode(), agent.core.epoch))
        plan = wire.Frame(wire.PLAN, 0, agent.core.epoch, (), wire.dumps(agent.core.plan))
        heard = b"".join(frame.encode() for frame in [plan] + agent.heard) + agent.parent.rest()
        said = agent.out + agent.parent.pull(agent.now())
        _ferry(up, down, wake, heard, said, agent.core.plan["shared"]["lease"])
    except OSError:
        pass  # one of both is gone, and the other sees the end
    leftovers.remove_tree(path + word)
    agent.leave_all()


def _ferry(up: int, down: int, wake: int, to_holder: bytes, to_parent: bytes, lease_s: float) -> None:
    """Carry bytes both ways until either side ends. It never waits for one of them alone.

    Nor for a parent that reads or says nothing for the whole of a lease: the holder has ended by then.
    """
    since = time.monotonic()
    while time.monotonic() < since + lease_s:
        if not to_parent:
            since = time.monotonic()
        poll = select.poll()
        poll.register(0, 0 if to_holder else select.POLLIN)
        poll.register(1, select.POLLOUT if to_parent else 0)
        if to_holder:
            poll.register(down, select.POLLOUT)
        if not to_parent:
            poll.register(up, select.POLLIN)
            poll.register(wake, 0)  # tells when the holder died; what it wrote before is read first
        ready = dict(poll.poll(int(min(lease_s, MOST_POLL_S) * 1000)))
        if not ready:
            return
        if down in ready:
            to_holder = to_holder[os.write(down, to_holder) :]
        elif 0 in ready:
            to_holder = b"" if to_holder else os.read(0, 65536)
            if not to_holder:
                return  # the login ended
        if 1 in ready:
            if not to_parent:
                return  # nobody reads it any more
            to_parent = to_parent[os.write(1, to_parent) :]
        elif up in ready or wake in ready:
            to_parent = os.read(up, 65536)
            if not to_parent:
                return


def adopted(agent: "Agent", said: bytes) -> None:
    """Others came, and offer their logins: a line each."""
    for line in said.splitlines():
        word, _, epoch = line.decode("ascii", "replace").partition(" ")
        try:
            path = "%s%s" % (agent.claim, word)
            up = os.open(path + "/up", os.O_WRONLY | os.O_NONBLOCK)
            if int(epoch) > max(agent.core.epoch, agent.offered):
                agent.offered = int(epoch)
                _attach(agent, (os.open(path + "/down", os.O_RDONLY | os.O_NONBLOCK), up))
            else:
                os.close(up)
        except (OSError, ValueError):
            pass  # it is gone again


def become_relay(agent: "Agent", bundle: bytes) -> None:
    """A leaf gets what a relay needs: a bundle as `nile.agent.handshake.Bundle` packs it for relays."""
    import marshal
    import sys
    import zlib

    start, modules, late, relay_only = marshal.loads(zlib.decompress(bundle))
    finder: "Any" = sys.meta_path[0]
    finder.add({name: code for name, code in modules if name in relay_only})
    agent.bundle = (start, modules, late, relay_only) + agent.bundle[4:]
