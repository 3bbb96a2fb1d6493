"""Namespaces of a command's own: namespaces(7), by way of ctypes. Travels with a sandbox.

Root has them by its capabilities; an ordinary user in a user namespace, where
the system lets it have one, and there sudo and whatever else is set-uid doesn't count.

Of a command in a PID namespace there are three processes:

    agent -- one that waits -- process 1 in there -- the command

When the command ends, so does process 1, and the kernel kills whatever else is in
there before anybody hears of that; when the agent is killed, the kernel kills the
two between (PR_SET_PDEATHSIG), and so all of it. Both ignore what the command is
sent to end it.
"""

import _signal
import _struct as struct
import ctypes
import errno
import os
import resource
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

# sched.h, mount.h, prctl.h
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 2, 4, 8, 1 << 14, 1 << 19
AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_NO_NEW_PRIVS = 1, 15, 38
MOUNT_SETATTR = 442  # Linux 5.12, the same on all machines
NAME = b"nile-sandbox"
MOST_FILES = 65536
DEAF_TO = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGPIPE)


def call(what: str, name: str, *args: "Any") -> int:
    """A function of the C library; raises OSError, whose filename is `what`."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    words = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result = function(*words)
    if result < 0:
        raise OSError(ctypes.get_errno(), "", what)
    return int(result)


def no_new_rights() -> None:
    """No program that it starts gets more rights than it has: set-uid bits and capabilities don't count."""
    call("no new privileges", "prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def unshare(flags: int) -> None:
    """unshare(2); raises OSError."""
    own = "%d %d 1"
    uid, gid = os.geteuid(), os.getegid()
    try:
        call("unshare", "unshare", flags)
    except PermissionError:
        try:
            call("user namespaces", "unshare", flags | CLONE_NEWUSER)
        except OSError as error:
            if error.errno != errno.ENOSPC:  # user_namespaces(7): there may be no more, mostly not one
                raise
            raise OSError("user namespaces: none may be made here") from None
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", own % (uid, uid)),
            ("gid_map", own % (gid, gid)),
        ):
            with open("/proc/self/" + name, "w") as file:
                file.write(text)


def mount(what: bytes, place: str, kind: "Optional[bytes]", flags: int, data: "Optional[bytes]") -> None:
    """mount(2); raises OSError."""
    call("mount %s" % place, "mount", what, os.fsencode(place), kind, flags, data)


def own_mounts(scratch: "Optional[str]", size: int, read_only: bool = False, more: int = 0) -> None:
    """A mount namespace: what is mounted elsewhere is seen in it, what is mounted in it isn't elsewhere.

    The scratch is a file system of its own there, of `size` bytes at most.
    """
    unshare(CLONE_NEWNS | more)
    if not more:  # else only a process that is in the others, too, can go on
        furnish(scratch, size, read_only)


def furnish(scratch: "Optional[str]", size: int, read_only: bool = False) -> None:
    """Make of new mounts what they are to be."""
    mount(b"none", "/", None, MS_REC | MS_SLAVE, None)
    if read_only:
        wanted = struct.pack("QQQQ", MOUNT_ATTR_RDONLY, 0, 0, 0)
        args = MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, wanted, len(wanted)
        call("mount_setattr", "syscall", *args)
    if scratch:
        data = b"mode=700,size=%d" % room(scratch, size)
        mount(b"nile", scratch, b"tmpfs", MS_NOSUID | MS_NODEV, data)


def room(path: str, size: int) -> int:
    """What a file system of its own may take there: `size`, but no more than is left in the one below."""
    space = os.statvfs(path)
    if not space.f_blocks:
        return size  # that has no bound
    return max(1, min(size, space.f_bavail * space.f_frsize))  # 0 would be no bound


def own_processes(scratch: "Optional[str]", size: int, agent: int) -> None:
    """A PID namespace, with a /proc of its own: returns in the process that is to become the command.

    `agent` is the process above, whose end is to be that of all; it may be gone already.
    """
    _signal.set_wakeup_fd(-1)  # the agent's: what is sent to us is nothing to it
    said, tell = os.pipe()
    own_mounts(scratch, size, more=CLONE_NEWPID)
    first = os.fork()
    if first:
        _stand_by(first, said, agent)
    os.close(said)
    call("prctl", "prctl", PR_SET_PDEATHSIG, int(_signal.SIGKILL), 0, 0, 0)
    gone = select.poll()
    gone.register(tell, 0)
    if gone.poll(0):  # who stands by was killed before the kernel could be asked to tell
        os._exit(1)
    furnish(scratch, size)
    try:
        mount(b"proc", "/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    except PermissionError:
        raise OSError("this user may mount no /proc: part of it is covered, as in containers") from None
    pid = os.fork()
    if pid:
        _be_first(pid, tell)
    os.close(tell)
    os.setsid()


def _be_first(command: int, tell: int) -> None:
    """Process 1 of the namespace: reap whoever ends, until that is the command. Never returns."""
    _withdraw(tell)
    while True:
        pid, status = os.wait()
        if pid == command:
            os.write(tell, b"%d" % status)
            os._exit(0)


def _stand_by(first: int, said: int, agent: int) -> None:
    """Wait for the end of process 1, and end as the command did. Never returns."""
    _withdraw(said)
    call("prctl", "prctl", PR_SET_PDEATHSIG, int(_signal.SIGKILL), 0, 0, 0)
    if os.getppid() != agent:
        os._exit(1)
    with open(said, "rb") as file:
        text = file.read()
    status = os.waitpid(first, 0)[1]
    if text:
        status = int(text)
    if os.WIFSIGNALED(status):
        signum = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if signum in DEAF_TO:
            _signal.signal(signum, _signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    os._exit(os.WEXITSTATUS(status))


def _withdraw(but: int) -> None:
    """This process only waits: it hears no signal, and holds nothing of the agent's or the command's open."""
    for signum in DEAF_TO:
        _signal.signal(signum, _signal.SIG_IGN)
    call("prctl", "prctl", PR_SET_NAME, NAME, 0, 0, 0)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, but)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(but + 1, most if 0 < most < MOST_FILES else MOST_FILES)
