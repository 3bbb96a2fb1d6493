"""A relay's logins: one `ssh` child process each, and the descriptors between it and the relay core."""

import _signal
import os
import select
import sys

from nile.agent import claims, processes, sshclient, wire
from nile.agent.handshake import Bundle
from nile.agent.relay import LOGIN, UNBOUND, UP, Relay
from nile.agent.signsocket import SignSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

    from nile.agent.carry import Carrier
    from nile.agent.loop import Agent

MOST_STDERR = 16384
MOST_CONTROL = 32 << 20  # bytes of control frames that wait for the parent; thousands of hosts need a tenth
GOODBYE_S = 2.0  # how long children may take to end that were told to
SPARE_FDS = 16  # for the pipes of one more login, and for what else an agent opens meanwhile


class Login:
    """An ssh client's process: `fds` are its standard input, output and error."""

    def __init__(self, child_id: int, pid: int, fds: "Tuple[int, int, int]") -> None:
        self.child_id = child_id
        self.pid = pid
        self.stdin, self.stdout, self.stderr = fds
        self.out = b""  # bytes on their way to its standard input
        self.said = b""  # what it printed on standard error
        self.ended: "Optional[Tuple[Optional[int], Optional[int]]]" = None


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


class Branches:
    """The children of this node, by real ssh."""

    def __init__(self, agent: "Agent", plan: "Dict[str, Any]") -> None:
        self._agent = agent
        node = plan["node"]
        self._own = (node["id"], node["epoch"])
        self._entries: "Dict[int, Dict[str, Any]]" = {}
        self._bundle = _bundle(agent.bundle)
        self._relay = Relay(self._own, plan["shared"], self._bundle, _random, _nonce)
        self._logins: "Dict[int, Login]" = {}
        self._pids: "Dict[int, int]" = {}
        self._ssh = _find("ssh", agent.env)
        self._socket: "Optional[SignSocket]" = None
        self._known_hosts = -1
        self._carrier: "Optional[Carrier]" = None
        self._can_bind: "Optional[bool]" = None
        self._todo: "List[Tuple[Any, ...]]" = []
        self._prepare(plan["shared"]["run"])

    def adopt(self, entries: "List[Dict[str, Any]]") -> None:
        """More children."""
        self._entries.update((entry["id"], entry) for entry in entries)
        if self._known_hosts >= 0:
            lines = [line + "\n" for entry in entries for line in entry["login"]["known_hosts"]]
            _append(self._known_hosts, "".join(lines).encode("utf-8", "surrogateescape"))
        self._perform(self._relay.adopt(entries, self._agent.now()))
        for relays in {entry["relay"] for entry in entries}:
            self._bundle.packed(relays, self._bundle.magic)  # while they log in: most have the same Python

    def orphaned(self) -> None:
        """No parent for now."""
        self._perform(self._relay.orphaned())

    def attached(self, epoch: int) -> "List[List[Any]]":
        """A parent again, in that epoch; the children that there are."""
        self._own = (self._own[0], epoch)
        if self._carrier:
            self._carrier.own = self._own
        self._perform(self._relay.attached(epoch))
        return self._relay.standing()

    def _prepare(self, run: str) -> None:
        """The files in memory that the ssh clients need."""
        directory = _memory_directory(claims.RELAY % (os.getuid(), run, self._own[0]))
        if directory is None:
            return
        self._agent.own(directory)
        self._known_hosts = _memory_file(directory)
        self._socket = SignSocket(self._agent, directory, self._pids.get, self._identities, self._sign)

    # Called by the agent's loop.

    def frame(self, frame: wire.Frame, now: float, sent: "Callable[[], None]") -> None:
        """A downward frame for here or below; `sent()` once a bulk one left our memory."""
        if frame.path or frame.type not in wire.RELAY_TYPES or frame.type in (wire.PERMIT, wire.FORGET):
            self._perform(self._relay.frame(frame, now, sent))
        elif frame.type == wire.ADOPT:
            self.adopt(frame.fields()["entries"])
        elif frame.type == wire.SIGNED:
            body = frame.fields()
            if self._socket:
                self._socket.answer(body["serial"], body["answer"])
        else:
            self._carry(frame, sent)

    def _carry(self, frame: wire.Frame, sent: "Callable[[], None]") -> None:
        """The first of these frames brings the code that the others need."""
        if self._carrier is None and frame.type == wire.OPEN:
            sys.meta_path[0].add({"nile.agent.carry": frame.fields()["code"]})  # type: ignore[attr-defined]
            from nile.agent import carry

            self._carrier = carry.Carrier(self._agent, self._own)
        if self._carrier:
            self._carrier.frame(frame, sent)
        else:
            sent()

    def tick(self, now: float) -> None:
        """Deadlines, pings and silence."""
        self._perform(self._relay.tick(now))

    def next_tick_s(self) -> float:
        """Seconds until `tick` is due."""
        return self._relay.next_tick_s(self._agent.now())

    def pids(self) -> "Iterable[int]":
        """Processes of ours, which are no descendants of the command."""
        return self._carrier.pids.union(self._pids) if self._carrier else self._pids

    def has_strangers(self) -> bool:
        """May this process have children that aren't ours? The kernel's list is exact: only we reap them."""
        try:
            with open("/proc/self/task/%d/children" % os.getpid(), "rb") as file:
                return not frozenset(self.pids()).issuperset(map(int, file.read().split()))
        except OSError:
            return True  # a kernel that keeps no such list

    def reaped(self, pid: int, rc: "Optional[int]", signum: "Optional[int]") -> None:
        """A child process ended; ours or not."""
        if self._carrier:
            self._carrier.pids.discard(pid)
        login = self._logins.get(self._pids.pop(pid, -1))
        if login is not None:
            login.ended = (rc, signum)
            self._over(login)

    def parent_lost(self) -> None:
        """Fail pending signatures, end every login and link."""
        if self._socket:
            self._socket.close()
            self._socket = None
        if self._carrier:
            self._carrier.close()
        self._perform(self._relay.parent_lost())

    def leave(self, told: bool = False) -> None:
        """End every ssh client; if those below were `told` to end too, once this has reached them."""
        if told:
            self._see_off()
        self.parent_lost()

    def _see_off(self) -> None:
        """Wait, not for long, until the links close by themselves: a client that is killed sends nothing."""
        until = self._agent.now() + GOODBYE_S
        poll = select.poll()
        open_ones = {login.stdout: login for login in self._logins.values() if self._is_up(login)}
        for fd in open_ones:
            poll.register(fd, select.POLLIN)
        while open_ones and self._agent.now() < until:
            for login in open_ones.values():
                self._flush(login)
            for fd, _ in poll.poll(100):
                if not os.read(fd, 65536):
                    poll.unregister(fd)
                    del open_ones[fd]

    def _is_up(self, login: Login) -> bool:
        return login.stdout >= 0 and self._relay.children[login.child_id].state == UP

    # Effects of the relay core.

    def _perform(self, effects: "Iterable[Tuple[Any, ...]]") -> None:
        """In order. What one of them brings about waits its turn: a thousand logins may fail in a row."""
        busy = bool(self._todo)
        self._todo += effects
        at = 0
        while not busy and at < len(self._todo):
            effect = self._todo[at]
            at += 1
            getattr(self, "_do_" + effect[0])(*effect[1:])
        if not busy:
            del self._todo[:]

    def _do_up(self, frame: wire.Frame) -> None:
        self._agent.up(frame)

    def _do_pass(self, frame: wire.Frame, child_id: int) -> None:
        if frame.type in wire.BULK:
            size = len(frame.body)
            self._agent.up(frame, lambda: self._perform(self._relay.take(child_id, size)))
        elif self._agent.parent.waiting() > MOST_CONTROL:
            self._perform(self._relay.overrun(child_id, self._agent.now()))
        else:
            self._agent.up(frame)

    def _do_login(self, child_id: int, command: str) -> None:
        entry = self._entries[child_id]
        if self._ssh is None:
            self._failed(child_id, "no-ssh", "there is no ssh client on the relay")
        elif self._socket is None:
            self._failed(child_id, "agent", "the relay has no memory file system for the signing socket")
        elif entry["login"]["carry"] and not self._binds():
            self._failed(child_id, UNBOUND, "the relay's ssh can't bind signatures to a host")
        elif not self._may_open_more():
            self._failed(child_id, "agent", "the relay may open no more files (see ulimit -n there)", True)
        else:
            self._start(
                child_id,
                ssh_argv(self._ssh, entry["login"], _name(self._known_hosts), entry["connect"]) + [command],
            )

    def _binds(self) -> bool:
        """Can this ssh bind a signature to the host's key? It has to be OpenSSH 8.9 or later."""
        if self._can_bind is None:
            assert self._ssh is not None
            self._can_bind = sshclient.binds_sessions(_version(self._ssh, self._agent.env))
        return self._can_bind

    def _may_open_more(self) -> bool:
        """Are there descriptors for one more login? Each under way needs one of the signing socket yet."""
        under_way = sum(self._relay.children[child_id].state == LOGIN for child_id in self._logins)
        most = os.sysconf("SC_OPEN_MAX")
        return most < 0 or len(os.listdir("/proc/self/fd")) + under_way + SPARE_FDS <= most

    def _failed(self, child_id: int, code: str, reason: str, retry: bool = False) -> None:
        self._perform(self._relay.closed(child_id, code, reason, retry, self._agent.now()))

    def _start(self, child_id: int, argv: "List[str]") -> None:
        assert self._socket is not None
        given, out, err = os.pipe(), os.pipe(), os.pipe()
        env = dict(self._agent.env)
        env["SSH_AUTH_SOCK"] = self._socket.path
        try:
            pid = processes.spawn(argv, env, (given[0], out[1], err[1]))
        except OSError as error:
            self._failed(child_id, "no-ssh", "ssh could not be started: %s" % error.strerror)
            for fd in (given[1], out[0], err[0]):
                os.close(fd)
            return
        finally:
            for fd in (given[0], out[1], err[1]):
                os.close(fd)
        login = Login(child_id, pid, (given[1], out[0], err[0]))
        self._logins[child_id] = login
        self._pids[pid] = child_id
        for fd in (login.stdin, login.stdout, login.stderr):
            os.set_blocking(fd, False)
        self._agent.watch(login.stdout, select.POLLIN, lambda _: self._readable(login))
        self._agent.watch(login.stderr, select.POLLIN, lambda _: self._stderr(login))

    def _readable(self, login: Login) -> None:
        try:
            data = os.read(login.stdout, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._perform(self._relay.data(login.child_id, data, self._agent.now()))
        else:
            self._agent.drop(login.stdout)
            login.stdout = -1
            self._over(login)

    def _stderr(self, login: Login) -> None:
        if not self._hear(login):
            self._over(login)

    def _hear(self, login: Login) -> bool:
        """Read what the client says on standard error; False at its end."""
        try:
            data = os.read(login.stderr, 4096)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        login.said = (login.said + data)[-MOST_STDERR:]
        if not data:
            self._agent.drop(login.stderr)
            login.stderr = -1
        return bool(data)

    def _over(self, login: Login) -> None:
        """Judge a login once its process has ended and its standard output is read to the end.

        Somebody else may hold its standard error: what it said so far has to do.
        """
        if login.ended is None or login.stdout >= 0 or self._logins.get(login.child_id) is not login:
            return
        if login.stderr >= 0:
            self._hear(login)
        self._forget(login)
        said = login.said.decode("utf-8", "replace")
        child = self._relay.children[login.child_id]
        if child.state == UP:
            self._closed(login, "link", sshclient.last_line(said) or "the connection ended", False)
            return
        rc, signum = login.ended
        failure = sshclient.classify(said, rc if signum is None else 255)
        self._closed(login, failure.code, failure.reason, failure.retry)

    def _closed(self, login: Login, code: str, reason: str, retry: bool) -> None:
        self._perform(self._relay.closed(login.child_id, code, reason, retry, self._agent.now()))

    def _forget(self, login: Login) -> None:
        del self._logins[login.child_id]
        for fd in (login.stdin, login.stdout, login.stderr):
            if fd >= 0:
                self._agent.drop(fd)
        login.stdin = login.stdout = login.stderr = -1

    def _do_write(self, child_id: int, data: bytes) -> None:
        login = self._logins[child_id]
        login.out += data
        self._flush(login)

    def _do_flush(self, child_id: int) -> None:
        login = self._logins.get(child_id)
        if login is not None:
            self._flush(login)

    def _flush(self, login: Login) -> None:
        while login.stdin >= 0:
            if not login.out:
                link = self._relay.children[login.child_id].link
                login.out = link.pull(self._agent.now()) if link is not None else b""
                if not login.out:
                    self._agent.unwatch(login.stdin)
                    return
            try:
                login.out = login.out[os.write(login.stdin, login.out) :]
            except BlockingIOError:
                self._agent.watch(login.stdin, select.POLLOUT, lambda _: self._flush(login))
                return
            except OSError:
                self._agent.drop(login.stdin)
                login.stdin = -1

    def _do_hangup(self, child_id: int) -> None:
        login = self._logins.get(child_id)
        if login is None:
            return
        self._forget(login)
        try:
            os.kill(login.pid, _signal.SIGKILL)
        except OSError:
            pass

    # Signing.

    def _identities(self, child_id: int) -> "Sequence[Tuple[bytes, str]]":
        return [(blob, comment) for blob, comment in self._entries[child_id]["login"]["identities"]]

    def _sign(self, child_id: int, serial: int, binds: "List[bytes]", request: bytes) -> None:
        entry = self._entries[child_id]
        body = {
            "child": child_id,
            "epoch": entry["epoch"],
            "serial": serial,
            "binds": binds,
            "request": request,
        }
        self._agent.up(wire.Frame(wire.SIGN, self._own[0], self._own[1], (), wire.dumps(body)))


def _bundle(parts: "Tuple[Any, ...]") -> Bundle:
    """What this node was made of, to hand on."""
    import _frozen_importlib_external as importer

    _start, sources, late, relay_only, codes = parts
    return Bundle(sources, relay_only, importer.MAGIC_NUMBER.hex(), codes, late)


def _memory_directory(name: str) -> "Optional[str]":
    """A new 0700 directory on a memory file system, or None where there is none to be had."""
    for base in claims.MEMORY_DIRECTORIES:
        path = base + name
        try:
            os.mkdir(path, 0o700)
        except OSError:
            continue
        return path
    return None


def _memory_file(directory: str) -> int:
    """A file that has no name on any disk; it lives as long as this process."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("nile-known-hosts")
    path = directory + "/known_hosts"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    return fd


def _name(fd: int) -> str:
    """By what name another process can read one of our files."""
    return "/proc/%d/fd/%d" % (os.getpid(), fd)


def _append(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


def _version(ssh: str, env: "Dict[str, str]") -> str:
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


def _find(program: str, env: "Dict[str, str]") -> "Optional[str]":
    for directory in env.get("PATH", "/usr/bin:/bin").split(":") + ["/usr/bin", "/bin", "/usr/local/bin"]:
        path = "%s/%s" % (directory or ".", program)
        if os.access(path, os.X_OK):
            return path
    return None


def _random() -> float:
    return int.from_bytes(os.urandom(4), "big") / 2.0**32


def _nonce() -> str:
    return "nile" + os.urandom(12).hex()
