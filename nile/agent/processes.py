"""The command and all its descendants: starting, counting and killing them.

Every descendant of an agent is its command's, but for the ssh clients of a
relay: the agent and the warden above it are subreapers, so what daemonises
stays below them (prctl(2), PR_SET_CHILD_SUBREAPER).
"""

import _signal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

# What Python ignores would stay ignored across exec.
_IGNORED = (_signal.SIGPIPE, _signal.SIGXFSZ)

_MEMORY_DIRECTORIES = ("/dev/shm", "/run/user/%d" % os.getuid())


def prctl(option: int, value: int) -> bool:
    """prctl(2). False where this Python has no way to call it."""
    try:
        import _ctypes  # the module ctypes costs 4 ms more, and offers nothing that is needed here

        program: "Any" = None
        address = _ctypes.dlsym(_ctypes.dlopen(program, 0), "prctl")
        return bool(_ctypes.call_function(address, (option, value, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def original_environment() -> "Dict[str, str]":
    """The environment as the login gave it: Python itself may have set LC_CTYPE since (PEP 538)."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = [item.partition(b"=") for item in file.read().split(b"\0")]
    except OSError:
        return dict(os.environ)
    return {os.fsdecode(key): os.fsdecode(value) for key, sep, value in pairs if sep}


def close_strangers() -> None:
    """Close what was inherited beyond standard input, output and error."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass  # the descriptor of the listing itself


def spawn(argv: "Sequence[str]", env: "Dict[str, str]", fds: "Sequence[int]") -> int:
    """Start `argv` (its first word a path) in a session of its own, with `fds` as 0, 1, 2; its pid.

    Raises OSError where it can't be started.
    """
    try:
        return os.posix_spawn(
            argv[0],
            _as_called(argv),
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)],
            setsid=True,
            setsigdef=_IGNORED,
        )
    except (AttributeError, NotImplementedError):  # Python 3.7 and before, or an old libc
        return _spawn_by_fork(argv, env, fds)


def _spawn_by_fork(argv: "Sequence[str]", env: "Dict[str, str]", fds: "Sequence[int]") -> int:
    said, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(argv, env, fds, tell)
    os.close(tell)
    with open(said, "rb") as file:
        error = file.read()
    if error:
        os.waitpid(pid, 0)
        raise OSError(int(error), os.strerror(int(error)), argv[0])
    return pid


def _as_called(argv: "Sequence[str]") -> "List[str]":
    """What the program sees as its words: its name without the directory, as sshd has it."""
    return [argv[0].rpartition("/")[2]] + list(argv[1:])


def _become(argv: "Sequence[str]", env: "Dict[str, str]", fds: "Sequence[int]", tell: int) -> None:
    """The child's side of it: never returns."""
    try:
        os.setsid()
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        for signum in _IGNORED:
            _signal.signal(signum, _signal.SIG_DFL)
        os.execve(argv[0], _as_called(argv), env)
    except OSError as error:
        os.write(tell, b"%d" % (error.errno or 1))
    finally:
        os._exit(127)


def shell_command(command: str, env: "Dict[str, str]") -> "List[str]":
    """The argv by which sshd would run this line: the user's login shell with -c."""
    shell = env.get("SHELL") or "/bin/sh"
    return [shell, "-c", command]


def reap() -> "List[Tuple[int, Optional[int], Optional[int]]]":
    """Children that ended: (pid, exit status or None, signal or None)."""
    ended: "List[Tuple[int, Optional[int], Optional[int]]]" = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except OSError:
            return ended
        if pid == 0:
            return ended
        if os.WIFSIGNALED(status):
            ended.append((pid, None, os.WTERMSIG(status)))
        else:
            ended.append((pid, os.WEXITSTATUS(status), None))


def childless() -> bool:
    """Has this process no child at all (and so, as a subreaper, no descendant)?"""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except OSError:
        return True
    return False


def descendants(top: int, but: "Iterable[int]" = ()) -> "List[Tuple[int, str]]":
    """Living descendants of `top` as (pid, name), without those in `but` and what is below these."""
    children: "Dict[int, List[Tuple[int, str]]]" = {}
    for pid, name, parent in _all_processes():
        children.setdefault(parent, []).append((pid, name))
    left_out = frozenset(but)
    found: "List[Tuple[int, str]]" = []
    todo = [top]
    while todo:
        for pid, name in children.get(todo.pop(), ()):
            if pid not in left_out:
                found.append((pid, name))
                todo.append(pid)
    return found


def _all_processes() -> "List[Tuple[int, str, int]]":
    """Every process but zombies: (pid, name, parent), from proc(5)."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % entry, "rb") as file:
                stat = file.read()
        except OSError:
            continue
        name = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
        state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
        if state not in (b"Z", b"X"):
            found.append((int(entry), os.fsdecode(name), int(parent)))
    return found


def kill_descendants(top: int, signum: int, but: "Iterable[int]" = ()) -> None:
    """Signal every descendant. Before a SIGKILL all are stopped, so that none forks away."""
    if signum == _signal.SIGKILL:
        _stop_all(top, but)
    for pid, _ in descendants(top, but):
        kill(pid, signum)
        if signum != _signal.SIGKILL:
            kill(pid, _signal.SIGCONT)  # a stopped process would not see it


def _stop_all(top: int, but: "Iterable[int]") -> None:
    stopped: "set[int]" = set()
    for _ in range(200):
        running = [pid for pid, _ in descendants(top, but) if pid not in stopped]
        if not running:
            return
        for pid in running:
            kill(pid, _signal.SIGSTOP)
        stopped.update(running)


def kill(pid: int, signum: int) -> None:
    """Send a signal to whoever is still there and may be killed."""
    try:
        os.kill(pid, signum)
    except OSError:
        pass  # gone, or another user's: the census names it


def memory_directory(name: str) -> "Optional[str]":
    """A new 0700 directory on a memory file system, or None where there is none to be had."""
    for base in _MEMORY_DIRECTORIES:
        for suffix in ("", ".1", ".2"):
            path = "%s/%s%s" % (base, name, suffix)
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                continue
            except OSError:
                break
            return path
    return None


def remove_tree(path: str) -> None:
    """Remove a directory and all that is in it, as far as rights allow."""
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            _quietly(os.unlink, "%s/%s" % (folder, name))
        for name in folders:
            inner = "%s/%s" % (folder, name)
            _quietly(os.unlink if os.path.islink(inner) else os.rmdir, inner)
    _quietly(os.rmdir, path)


def _quietly(action: "Any", path: str) -> None:
    try:
        action(path)
    except OSError:
        pass
