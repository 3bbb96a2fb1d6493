"""Adoption: an agent that came second hands its login over to the one that was there; sent as source.

The newcomer puts two FIFOs into the directory of the claim, writes their name
and its epoch into the FIFO that wakes the holder, and from then on only carries
bytes between them and its login. The holder goes on over these as if they were
its own login. It refuses who comes in no higher epoch than its own.
"""

import os
import select
import stat

from nile.agent import claims, leftovers, wire
from nile.agent.link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

    from nile.agent.loop import Agent


def lose_parent(agent: "Agent") -> None:
    """The link to the parent ended."""
    null = os.open("/dev/null", os.O_RDWR)
    _attach(agent, null, null, alone=True)
    if agent.branches:
        agent.branches.orphaned()
    agent.perform(agent.core.parent_lost(agent.now()))


def _attach(agent: "Agent", down: int, up: int, *, alone: bool = False) -> None:
    """Go on over another link, of which these are the ends; `alone`: they lead nowhere."""
    agent.parent.drop()
    agent.parent = Link(wire.MAX_FRAME_DOWN, agent.now())
    agent.out = b""
    agent.alone = alone
    agent.unwatch(1)
    for fd, end in ((0, down), (1, up), (2, up)):
        os.dup2(end, fd)
    for fd in {down, up}:
        os.close(fd)
    if alone:
        agent.unwatch(0)
    else:
        agent.watch(0, select.POLLIN, agent.parent_readable)


def say_state(agent: "Agent", fields: "Dict[str, Any]") -> None:
    """Tell the root where this agent stands, and whom it has below it."""
    core = agent.core
    fields["children"] = agent.branches.attached(core.epoch) if agent.branches else []
    agent.up(wire.Frame(wire.STATE, core.id, core.epoch, (), wire.dumps(fields)))


def come_second(agent: "Agent", fd: int) -> str:
    """There was an agent before. If it lives this never returns; else its claim is ours from now on.

    What it left running is killed. Raises OSError where the claim is another user's.
    """
    path = agent.claim
    assert path is not None
    fresh = claims.beside(path)
    status = os.lstat(path)
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(path)
    try:
        wake = os.open(path + claims.WAKE, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads it any more
        os.rename(fresh + claims.WAKE, path + claims.WAKE)
        os.rmdir(fresh)
        shared, node = agent.core.plan["shared"], agent.core.plan["node"]
        leftovers.kill_marked(shared["run"], node["host"])
        return claims.DEAD
    os.close(fd)
    leftovers.remove_tree(fresh)
    _hand_over(agent, path, wake)
    return claims.HELD


def _hand_over(agent: "Agent", path: str, wake: int) -> None:
    name = "%s/%d" % (path, os.getpid())
    try:
        for end in (".down", ".up"):
            os.mkfifo(name + end, 0o600)
        up = os.open(name + ".up", os.O_RDONLY | os.O_NONBLOCK)
        down = os.open(name + ".down", os.O_RDWR)
        os.write(wake, b"%d %d\n" % (os.getpid(), agent.core.epoch))
        for fd in (0, 1):
            os.set_blocking(fd, True)
        _write(1, agent.out + agent.parent.pull(agent.now()))
        plan = wire.Frame(wire.PLAN, 0, agent.core.epoch, (), wire.dumps(agent.core.plan))
        _write(down, b"".join(frame.encode() for frame in [plan] + agent.heard) + agent.parent.rest())
        _ferry(up, down, wake)
    except OSError:
        pass  # one of both is gone, and the other sees the end
    for end in (".down", ".up"):
        leftovers.unlink(name + end)
    agent.leave_all()


def _ferry(up: int, down: int, wake: int) -> None:
    """Carry bytes both ways until either side ends."""
    poll = select.poll()
    for fd, mask in ((0, select.POLLIN), (up, select.POLLIN), (wake, 0)):
        poll.register(fd, mask)
    while True:
        for fd, _ in poll.poll():
            data = os.read(fd, 65536) if fd != wake else b""
            if not data:
                return
            _write(down if fd == 0 else 1, data)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def adopted(agent: "Agent", line: bytes) -> None:
    """Another agent came, and offers its login."""
    words = line.split()
    try:
        name = "%s/%d" % (agent.claim, int(words[-2]))
        up = os.open(name + ".up", os.O_WRONLY | os.O_NONBLOCK)
        if int(words[-1]) > agent.core.epoch:
            _attach(agent, os.open(name + ".down", os.O_RDONLY | os.O_NONBLOCK), up)
        else:
            os.close(up)
    except (OSError, IndexError):
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
