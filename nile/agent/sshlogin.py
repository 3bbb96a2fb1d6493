"""One login by ssh: its command line, its process, the descriptors of that; and the ssh program itself."""

import _signal
import os
import select

from nile.agent import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

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
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "ControlPath=none",
        "EscapeChar=none",
        "LogLevel=INFO",  # standard error is read by us alone, and ERROR hides why a login failed
        "ConnectTimeout=%d" % max(1, int(connect_s)),
    ]
    argv = [ssh, "-F", "/dev/null", "-T", "-p", str(login["port"]), "-l", login["user"]]
    # The first value given for an option is the one that ssh takes: ours come first, but for what the
    # plan may say otherwise.
    for option in options + login["options"] + ["PreferredAuthentications=publickey"]:
        argv += ["-o", option]
    return argv + ["--", login["address"]]


class Login:
    """An ssh client's process, for the login to one child. Raises OSError where it can't be started.

    `heard(data)` gets what it prints, from the agent's loop. `over(status, said)` is
    called once, last: with its exit status (255 where it was killed, too) and with
    what it wrote on standard error. After `kill` neither is.
    """

    def __init__(
        self,
        agent: "Agent",
        argv: "List[str]",
        env: "Dict[str, str]",
        heard: "Callable[[bytes], None]",
        over: "Callable[[int, str], None]",
    ) -> None:
        self._agent = agent
        self._heard = heard
        self._over: "Optional[Callable[[int, str], None]]" = over
        self._status = -1
        self._said = b""  # what it printed on standard error
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
        self._stdin, self.stdout, self._stderr = ours
        for fd in ours:
            os.set_blocking(fd, False)
        agent.watch(self.stdout, select.POLLIN, self._readable)
        agent.watch(self._stderr, select.POLLIN, self._complaining)

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

    def reaped(self, rc: "Optional[int]", signum: "Optional[int]") -> None:
        """Its process ended: with this exit status, or by this signal."""
        self._status = 255 if rc is None else rc
        self._tell()

    def kill(self) -> None:
        """End it at once, and hear of it no more."""
        self._over = None
        self._close()
        try:
            os.kill(self.pid, _signal.SIGKILL)
        except OSError:
            pass  # gone

    def _readable(self, _: int) -> None:
        data = _read(self.stdout)
        if data:
            self._heard(data)
        elif data is not None:
            self._agent.drop(self.stdout)
            self.stdout = -1
            self._tell()

    def _complaining(self, _: int) -> None:
        data = _read(self._stderr)
        self._said = (self._said + (data or b""))[-MOST_STDERR:]
        if data == b"":
            self._agent.drop(self._stderr)
            self._stderr = -1

    def _tell(self) -> None:
        """Once its process has ended and its standard output is read to the end.

        Somebody else may hold its standard error: what it said so far has to do.
        """
        over = self._over
        if over is None or self._status < 0 or self.stdout >= 0:
            return
        if self._stderr >= 0:
            self._complaining(select.POLLIN)
        self._over = None
        self._close()
        over(self._status, self._said.decode("utf-8", "replace"))

    def _close(self) -> None:
        for fd in (self._stdin, self.stdout, self._stderr):
            if fd >= 0:
                self._agent.drop(fd)
        self._stdin = self.stdout = self._stderr = -1


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
