"""A command by sudo: what its agent has of it. Travels with the plan.

sudo gets nothing of the command. It starts a second warden as that user
(nile.agent.inside), which comes to a socket of this agent's and is given all
there: line, variables, and the very pipes that any other command has. So nothing
of it is in an argument, and it doesn't matter what sudo does with its own
descriptors (`use_pty`): standard input is where it gets a password, standard
error where it asks for one. Where it wants a terminal (`requiretty`) it is
started once more, with one that nobody looks at.

A password comes from the root, in answer to a STARTED without a process that
says that sudo asks. It is handed on once, and standard input ends behind it: a
sudo that doesn't take it can't be told another one.

The agent may not end what runs there; the second warden does, when it is told
to, and when the socket ends, in whatever way.
"""

import _signal
import _socket
import _struct as struct
import errno
import os
import select
import sys

from nile.agent import forked, inside, processes, sudowords, wire
from nile.agent.command import Command
from nile.agent.core import RUNNING, STOPPING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple

    from nile.agent.loop import Agent

GIVEN, NONE = b"+", b"-"  # what the root's answer begins with: a password, or why there is none
MOST_SAID = 16384
OPTION = "--sudo: "


def spawner(agent: "Agent", plan: "Dict[str, Any]") -> "Optional[Elevated]":
    """What starts it; None where nobody else is to run it. Raises OSError where that user isn't known."""
    import pwd

    user = plan["shared"]["job"]["outfit"]["sudo"]["user"]
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise OSError(errno.ENOENT, "there is no such user", OPTION + user) from None
    return Elevated(agent, plan, uid) if uid != os.getuid() else None


class Elevated(Command):
    """In place of the agent's plain one, with the same streams."""

    def __init__(self, agent: "Agent", plan: "Dict[str, Any]", uid: int) -> None:
        self.__dict__ = agent.command.__dict__
        self._plan = plan
        self._uid = uid
        self._sudo = 0
        self._said = b""
        self._prompts = 0
        self._given = False
        self._terminal: "List[int]" = []
        self._answer = self._stderr = -1
        self._theirs: "List[int]" = []  # the command's ends of its streams
        self._job: "Dict[str, Any]" = {}
        self._listener: "Optional[_socket.socket]" = None
        self._peer: "Optional[_socket.socket]" = None
        self._decoder = wire.Decoder(wire.MAX_FRAME_UP)
        self._out = b""
        self._begun = self._exited = self._released = False
        agent.command = self

    def start(self, argv: "Sequence[str]", env: "Dict[str, str]", fds: "Sequence[int]") -> int:
        """As `nile.agent.processes.spawn`; 0, for its process comes later. Raises OSError."""
        self._name = "nile-%d-%s" % (self._uid, os.urandom(16).hex())
        places = ["%s/%s" % (base, self._name) for base in ("/dev/shm", "/run/user/%d" % self._uid)]
        for place in places:
            self._agent.own(place)  # where the second warden is killed, and whoever killed it may
        own = {name: env[name] for name in env if name.startswith("NILE_")}
        self._job = {"argv": list(argv), "env": own, "locale": sudowords.locale(env), "places": places}
        self._theirs = [os.dup(fd) for fd in fds]
        try:
            self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            self._listener.bind("\0" + self._name)
            self._listener.listen(8)
            self._listener.setblocking(False)
            self._call(False)
        except OSError:
            self._abandon()
            raise
        self._agent.watch(self._listener.fileno(), select.POLLIN, lambda _: self._accept())
        self._agent.core._started_at = float("inf")  # its time begins when it does
        return 0

    # sudo, until it has started the second warden.

    def _call(self, terminal: bool) -> None:
        """Start it."""
        agent, shared = self._agent, self._plan["shared"]
        path = _find("sudo", agent.env)
        words = [sys.executable, "-BISc", inside.STUB, self._name]
        argv = sudowords.argv(self._user(), shared["run"], self._plan["node"]["host"], words)
        given, self._answer = os.pipe()
        self._stderr, tell = os.pipe()
        null = os.open("/dev/null", os.O_WRONLY)
        fds = given, null, tell
        prepare = None
        if terminal:
            self._terminal = list(os.openpty())
            prepare = self._take_terminal
        try:
            env = sudowords.environment(agent.env)
            self._sudo = forked.spawn(path, argv, env, fds, processes.IGNORED, prepare)
        except OSError as error:
            raise OSError(error.errno, error.strerror, OPTION + str(error.filename)) from None
        finally:
            for fd in fds:
                os.close(fd)
        os.set_blocking(self._stderr, False)
        agent.watch(self._stderr, select.POLLIN, lambda _: self._hear())

    def _user(self) -> str:
        user: str = self._plan["shared"]["job"]["outfit"]["sudo"]["user"]
        return user

    def _take_terminal(self) -> None:
        """In the child, which leads a session: the first terminal that it opens is the session's."""
        os.close(os.open(os.ttyname(self._terminal[1]), os.O_RDWR))

    def _hear(self) -> None:
        """It says something, or nothing more."""
        try:
            data = os.read(self._stderr, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._said = (self._said + data)[:MOST_SAID]
        if not data:
            self._agent.drop(self._stderr)
            self._stderr = -1
            if self._listener and not self._peer:
                self._ended()
        elif self._listener and self._said.count(sudowords.PROMPT.encode()) > self._prompts:
            self._prompts += 1
            self._asked()

    def _asked(self) -> None:
        core = self._agent.core
        if self._given:
            said = self._said.decode("utf-8", "replace")
            self._fail(sudowords.asked_again(said))
            return
        asks = wire.dumps({"pid": 0, "asks": True})
        core.spawn_said = [("up", wire.Frame(wire.STARTED, core.id, core.epoch, (), asks))]
        self._agent.perform(core.spawn_said)

    def _reason(self) -> str:
        said = self._said.decode("utf-8", "replace")
        return sudowords.reason(said, self._user(), sys.executable, self._given)

    def input(self, data: bytes) -> None:
        """Before the command runs it is the root's answer; then bytes for its standard input."""
        if self._begun:
            super().input(data)
        elif data[:1] == NONE:
            self._fail(data[1:].decode("utf-8", "replace"))
        elif data[:1] == GIVEN and self._answer >= 0 and not self._given:
            self._given = True
            self._agent.core.spawn_said = []
            try:
                os.write(self._answer, data[1:] + b"\n")
            except OSError:
                pass  # it has ended, and says why
            os.close(self._answer)
            self._answer = -1

    def _ended(self) -> None:
        """sudo has ended, and no second warden came."""
        said = self._said.decode("utf-8", "replace")
        if sudowords.wants_terminal(said) and not self._terminal:
            self._said = b""
            if self._answer >= 0:
                os.close(self._answer)
            try:
                self._call(True)
            except OSError as error:
                self._fail(error.strerror or "")
        else:
            self._fail(self._reason())

    def _fail(self, why: str) -> None:
        self._abandon()
        self._agent.perform(self._agent.core.spawn_failed(OPTION + why))

    def _abandon(self) -> None:
        """Nobody is waited for any more: a sudo that reads gets to the end, a second warden finds nobody."""
        if self._listener:
            self._agent.unwatch(self._listener.fileno())
            self._listener.close()
            self._listener = None
        if self._answer >= 0:
            os.close(self._answer)
            self._answer = -1
        while self._theirs:
            os.close(self._theirs.pop())

    # The second warden.

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        _, uid, _ = struct.unpack("3i", peer.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
        if uid != self._uid or self._peer:
            peer.close()
            return
        peer.setblocking(False)
        self._peer = peer
        program = self._plan["shared"]["job"]["outfit"]["sudo"]["program"]
        self._agent.watch(fd, select.POLLIN, self._ready)
        self._write(b"%d\n" % len(program) + program)

    def _write(self, data: bytes) -> None:
        """As far as it is taken now; the rest later."""
        self._out += data
        try:
            while self._peer and self._out:
                self._out = self._out[self._peer.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._out = b""  # it is gone: what is read says so
        if self._peer:
            mask = select.POLLIN | (select.POLLOUT if self._out else 0)
            self._agent.watch(self._peer.fileno(), mask, self._ready)

    def _order(self, kind: int, value: object = None) -> None:
        self._write(wire.Frame(kind, body=wire.dumps(value)).encode())

    def _ready(self, events: int) -> None:
        if events & select.POLLOUT:
            self._write(b"")
        if not (self._peer and events & ~select.POLLOUT):
            return
        try:
            data = self._peer.recv(65536)
            frames = self._decoder.feed(data)
            for frame in frames:
                kind, value = frame.type, frame.value()
                if not self._may_say(kind, value):
                    raise wire.WireError("what no second warden says")
                self._frame(kind, value)
        except BlockingIOError:
            return
        except (OSError, wire.WireError):
            data = b""
        if not data:
            self._gone()

    def _may_say(self, kind: int, value: "Any") -> bool:
        """Whoever can be that user may have come in its place: is this of a kind and a shape that is due?"""
        if kind == inside.READY:
            return not self._begun
        if kind in (inside.RUNS, inside.FAILED):
            due = self._begun and not self.pid and not self._released
            return due and type(value) is (int if kind == inside.RUNS else str) and bool(value)
        if kind == inside.EXITED:
            due = bool(self.pid) and not self._exited
            return due and _is_row(value, (int, type(None)), (int, type(None)))
        if kind == inside.ALIVE:
            return (
                self._begun
                and isinstance(value, list)
                and all(_is_row(each, (int,), (str,)) for each in value)
            )
        return self._begun

    def _frame(self, kind: int, value: "Any") -> None:
        agent = self._agent
        if kind == inside.READY and self._peer:
            rights = struct.pack("3i", *self._theirs)
            self._peer.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            self._begun = True
            self._abandon()
            outfit = dict(self._plan["shared"]["job"]["outfit"])
            outfit["sudo"] = None
            node = {name: self._plan["node"][name] for name in inside.NODE}
            job = {"outfit": outfit, "scratch": self._most()}
            self._job["plan"] = {"shared": {"job": job}, "node": node}
            self._order(inside.JOB, self._job)
        elif kind == inside.RUNS:
            self.pid = value
            agent.core._started_at = agent.now()
            agent.perform(agent.core.spawned(self.pid))
            self.mind("start")
        elif kind == inside.FAILED:
            self._release(False)
            agent.perform(agent.core.spawn_failed(value))
        elif kind == inside.EXITED:
            self._exited = True
            self.mind("end", *value)
            agent.perform(agent.core.exited(*value))
        elif kind == inside.ALIVE:
            agent.perform(agent.core.census([tuple(each) for each in value], agent.now()))
            if agent.core.state not in (RUNNING, STOPPING) and not self._released:
                self._release(agent.core.succeeded())
        elif kind == inside.FULL and agent.core.state == RUNNING:
            agent.perform(agent.core.stop("scratch", agent.now(), self._plan["shared"]["grace"]))

    def _most(self) -> int:
        most: int = self._plan["shared"]["job"]["scratch"]
        return most

    def _gone(self) -> None:
        """The second warden has ended, as it should or not."""
        self._hang_up()
        if self._listener and self._stderr < 0:
            self._ended()
        if not self._begun or self._released:
            return  # sudo says why; or all is said
        core = self._agent.core
        if self._exited:
            self.census()
        elif self.pid:
            self._exited = True
            self._agent.perform(core.exited(None, _signal.SIGKILL))
        else:
            self._agent.perform(core.spawn_failed(OPTION + "what it started ended too soon"))

    def _hang_up(self) -> None:
        if self._peer:
            self._agent.unwatch(self._peer.fileno())
            self._peer.close()
            self._peer = None

    def _release(self, keep: bool) -> None:
        """Have the second warden end; with `keep` it leaves alone what the command left behind."""
        self._released = True
        self._order(inside.OVER, keep)

    def mind(self, *what: "Any") -> None:
        """See `Command`: its scratch is that user's, who looks into it."""
        if what:
            super().mind(what[0] + " sudo=" + self._user(), *what[1:])
        elif self.pid and self._peer and not self._exited:
            self._order(inside.MIND, self._most())

    # Effects of the core.

    def kill(self, signum: int) -> None:
        """Signal all that descends from it."""
        if self._begun:
            self._order(inside.KILL, signum)
        elif not self._exited:
            self._exited = True
            self._abandon()
            self._hang_up()
            self._agent.perform(self._agent.core.exited(None, signum))

    def census(self) -> None:
        """Look who lives; the second warden knows, if there is one."""
        agent = self._agent
        if self._begun and self._peer:
            self._order(inside.CENSUS)
            return
        alive: "List[Tuple[int, str]]" = []
        if self._begun:
            from nile.agent import leftovers

            alive = leftovers.descendants(os.getpid(), list(self._but()) + [self._sudo])
        agent.perform(agent.core.census(alive, agent.now()))


def _is_row(value: "Any", *kinds: "Tuple[type, ...]") -> bool:
    """Is it a list of values of these types, one each?"""
    return isinstance(value, list) and len(value) == len(kinds) and all(map(isinstance, value, kinds))


def _find(name: str, env: "Dict[str, str]") -> str:
    """The path of a program. Raises OSError."""
    for directory in env.get("PATH", "").split(":") + ["/usr/bin", "/bin", "/usr/local/bin"]:
        path = "%s/%s" % (directory, name)
        if directory and os.access(path, os.X_OK):
            return path
    raise OSError(errno.ENOENT, "there is none on this host", "--sudo: " + name)
