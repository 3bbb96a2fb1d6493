"""The command: its environment, its start, its end. What it leaves is the matter of `leftovers`."""

import _signal
import posix as os  # the usual one takes 1 ms to import, and 3 before Python 3.11
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Sequence, Tuple

# What Python ignores would stay ignored across exec.
IGNORED = (_signal.SIGPIPE, _signal.SIGXFSZ)


def original_environment() -> "Dict[str, str]":
    """The environment as the login gave it: Python itself may have set LC_CTYPE since (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        data = file.read()
    env = {}
    for item in data.decode(sys.getfilesystemencoding(), "surrogateescape").split("\0"):
        key, sep, value = item.partition("=")
        if sep:
            env[key] = value
    return env


def spawn(argv: "Sequence[str]", env: "Dict[str, str]", fds: "Sequence[int]") -> int:
    """Start `argv` (its first word a path) in a session of its own, with `fds` as 0, 1, 2; its pid.

    The program sees its name without the directory, as from sshd. Raises OSError where it can't be started.
    """
    seen = [argv[0].rpartition("/")[2]] + list(argv[1:])
    try:
        return os.posix_spawn(
            argv[0],
            seen,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)],
            setsid=True,
            setsigdef=IGNORED,
        )
    except (AttributeError, NotImplementedError):  # Python 3.7 and before, or an old libc
        from nile.agent import forked

        return forked.spawn(argv[0], seen, env, fds, IGNORED)


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


def remove_directory(path: str) -> None:
    """Remove a directory with all that is in it, as far as rights allow: mostly there is nothing."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError:
        from nile.agent import leftovers

        leftovers.remove_tree(path)
