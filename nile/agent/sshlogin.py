"""One login by ssh: its command line, its process, the descriptors of that; and the ssh program itself."""

import _signal
import os
import select

from nile.agent import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from nile.agent.loop import Agent

MOST_STDERR = 4096
# sshd was too busy to let it in: such a login may succeed a moment later, unless ssh says one of _FINAL, too.
# Both are rows of the root's table (nile.cascade.lastwords): ssh's own phrases, for banners are heard, too.
_PASSING = (
    "kex_exchange_identification",
    "ssh_exchange_identification",
    "Connection reset",
    "Connection closed by",
    "ssh_dispatch_run_fatal",
)
_FINAL = (
    "REVOKED HOST KEY DETECTED",
    "REMOTE HOST IDENTIFICATION HAS CHANGED",
    "Host key verification failed",
    "Could not resolve hostname",
    "Connection refused",
    "No route to host",
    "Network is unreachable",
    "Connection timed out",
    "Operation timed out",
    "agent refused operation",
    "Permission denied (",
    "Too many authentication failures",
)


def ssh_argv(ssh: str, login: "Dict[str, Any]", known_hosts: str, connect_s: float) -> "List[str]":
    """The ssh command line for one login, but for the remote command; no configuration file is read.

    `login` is the plan's: host, port, user, alias, options. The file named by
    `known_hosts` holds lines for the alias, so neither address nor port matter.
    """
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UserKnownHostsFile=" + known_hosts,
        "GlobalKnownHostsFile=/dev/null",
        "HostKeyAlias=" + login["alias"],
        "CheckHostIP=no",
        "UpdateHostKeys=no",
        "IdentityFile=none",
        "PreferredAuthentications=publickey",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "ControlPath=none",
        "EscapeChar=none",
        "LogLevel=INFO",  # standard error is read by us alone, and ERROR hides why a login failed
        "ConnectTimeout=%d" % max(1, int(connect_s)),
    ]
    argv = [ssh, "-F", "/dev/null", "-T", "-p", str(login["port"]), "-l", login["user"]]
    # The first value given for an option is the one that ssh takes: ours come first.
    for option in options + login["options"]:
        argv += ["-o", option]
    return argv + ["--", login["address"]]


class Login:
    """An ssh client's process, for the login to one child. Raises OSError where it can't be started."""

    def __init__(self, agent: "Agent", child_id: int, argv: "List[str]", env: "Dict[str, str]") -> None:
        self.child_id = child_id
        self.ended: "Optional[Tuple[Optional[int], Optional[int]]]" = None
        self.said = b""  # what it printed on standard error
        self._agent = agent
        self._out = b""  # bytes on their way to its standard input
        ours: "List[int]" = []
        theirs: "List[int]" = []
        try:
            for end in (1, 0, 0):  # the one of its standard input, output and error that is ours
                pipe = os.pipe()
                ours.append(pipe[end])
                theirs.append(pipe[1 - end])
            self.pid = processes.spawn(argv, env, theirs)
        except OSError:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        self._stdin, self.stdout, self.stderr = ours
        for fd in ours:
            os.set_blocking(fd, False)

    def read(self) -> "Optional[bytes]":
        """What it printed on standard output; None where there is nothing, b"" at the end."""
        data = _read(self.stdout)
        if data == b"":
            self._agent.drop(self.stdout)
            self.stdout = -1
        return data

    def hear(self) -> bool:
        """Read what it says on standard error; False at its end."""
        data = _read(self.stderr)
        self.said = (self.said + (data or b""))[-MOST_STDERR:]
        if data == b"":
            self._agent.drop(self.stderr)
            self.stderr = -1
        return data != b""

    def write(self, data: bytes, pull: "Callable[[], bytes]") -> None:
        """Write this, then what `pull` gives, as far as it is taken now; the rest as it is taken."""
        self._out += data
        while self._stdin >= 0:
            self._out = self._out or pull()
            if not self._out:
                self._agent.unwatch(self._stdin)
                return
            try:
                self._out = self._out[os.write(self._stdin, self._out) :]
            except BlockingIOError:
                self._agent.watch(self._stdin, select.POLLOUT, lambda _: self.write(b"", pull))
                return
            except OSError:
                self._agent.drop(self._stdin)
                self._stdin = -1

    def close(self) -> None:
        """Hear of it no more."""
        for fd in (self._stdin, self.stdout, self.stderr):
            if fd >= 0:
                self._agent.drop(fd)
        self._stdin = self.stdout = self.stderr = -1

    def kill(self) -> None:
        """End it at once."""
        self.close()
        try:
            os.kill(self.pid, _signal.SIGKILL)
        except OSError:
            pass  # gone


def _read(fd: int) -> "Optional[bytes]":
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def passes_by(said: str) -> bool:
    """Does a login that ended with these words and status 255 say nothing about the host?"""
    return any(word in said for word in _PASSING) and not any(word in said for word in _FINAL)


def find_ssh(env: "Dict[str, str]") -> "Optional[str]":
    """The path of the ssh client."""
    for directory in env.get("PATH", "/usr/bin:/bin").split(":") + ["/usr/bin", "/bin", "/usr/local/bin"]:
        path = "%s/ssh" % (directory or ".")
        if os.access(path, os.X_OK):
            return path
    return None


def binds(ssh: str, env: "Dict[str, str]") -> bool:
    """Can this client bind a signature to the host's key? OpenSSH from 8.9 on can."""
    _, _, rest = version(ssh, env).partition("OpenSSH_")
    numbers = rest.split("p")[0].split(" ")[0].split(".")
    try:
        return (int(numbers[0]), int(numbers[1])) >= (8, 9)
    except (IndexError, ValueError):
        return False


def version(ssh: str, env: "Dict[str, str]") -> str:
    """What `ssh -V` says, in a few milliseconds."""
    said, tell = os.pipe()
    null = os.open("/dev/null", os.O_RDWR)
    try:
        pid = processes.spawn([ssh, "-V"], env, (null, tell, tell))
    except OSError:
        os.close(said)
        return ""
    finally:
        os.close(null)
        os.close(tell)
    with open(said, "rb") as file:
        text = file.read(1000).decode("utf-8", "replace")
    try:
        os.waitpid(pid, 0)
    except OSError:
        pass  # reaped by the loop already
    return text
