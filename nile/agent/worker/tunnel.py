"""A way to a neighbour through its sshd, where no other port of its host is open: to one of its loopback.

    worker - pair of sockets - ssh -W - sshd - loopback - worker

Nobody else copies what goes through it. ssh logs in as a relay's does: it reads no configuration and has
no key. It asks for the signature at a socket that nobody else may use, and the root gives it, or
doesn't. It ends with the connection: whoever closes that kills it.
"""

import errno
import os
import select
import signal
import socket

from nile.agent import processes, sshlogin
from nile.agent.signsocket import SignSocket
from nile.agent.worker.lookup import LOOPBACK
from nile.agent.worker.meeting import DEAD_S, NONCE, Handshake, Introduction
from nile.agent.worker.sealing import in_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from nile.agent.worker.loop import Loop
    from nile.agent.worker.meeting import Met

    Message = Dict[str, Any]
    Ask = Callable[[int, List[bytes], bytes], None]

PARTING_S = 1.0  # for an ssh that has closed its end to say why, and go
AGENT = "/agent"  # as SignSocket calls it
MOST_PATH = 107  # bytes of a socket's path
MOST_SAID = 2000  # bytes of what it says that are kept: the last
_MEMORY = ("/dev/shm", "/run/user/%d" % os.getuid())


class Client(socket.socket):
    """An ssh that forwards to one port, as the connection that it is. `ended()` is called once it is over.

    Raises OSError where it can't be started.
    """

    def __init__(
        self, loop: "Loop", argv: "List[str]", env: "Dict[str, str]", ended: "Callable[[], None]"
    ) -> None:
        self._loop = loop
        self._ended = ended
        self.over = False
        self.said = b""
        ours, theirs = socket.socketpair()
        with theirs:
            super().__init__(ours.family, ours.type, ours.proto, ours.detach())
            self._stderr, tell = os.pipe()
            try:
                self._pid = processes.spawn(argv, env, [theirs.fileno(), theirs.fileno(), tell])
            except OSError:
                os.close(self._stderr)
                super().close()
                raise
            finally:
                os.close(tell)
        self.setblocking(False)
        os.set_blocking(self._stderr, False)
        loop.watch(self._stderr, select.POLLIN, self._hear)
        loop.child(self._pid, self._gone)

    @property
    def pid(self) -> int:
        """Its process, or 0."""
        return 0 if self.over else self._pid

    def close(self) -> None:
        """Nothing more goes through it."""
        super().close()
        self.kill()

    def kill(self) -> None:
        """Have it end at once: it leaves nothing."""
        if not self.over:
            os.kill(self._pid, signal.SIGKILL)

    def _hear(self, _: int) -> None:
        try:
            data = os.read(self._stderr, 4096)
        except BlockingIOError:
            return
        self.said = (self.said + data)[-MOST_SAID:]
        if not data:
            self._deafen()

    def _gone(self, _status: "Optional[int]", _signal: "Optional[int]") -> None:
        self.over = True
        while self._stderr >= 0 and select.select([self._stderr], [], [], 0)[0]:
            self._hear(0)
        self._deafen()
        self._ended()

    def _deafen(self) -> None:
        if self._stderr >= 0:
            self._loop.unwatch(self._stderr)
            os.close(self._stderr)
            self._stderr = -1


class Papers:
    """What an ssh needs in memory as long as it logs in: host keys, and a socket to ask for signatures.

    `ask(serial, binds, request)` has the root sign. Raises OSError where there is no place for them.
    """

    def __init__(self, loop: "Loop", login: "Message", pid: "Callable[[], int]", ask: "Ask") -> None:
        """`pid()` is the only process that may use the socket."""
        lines = "".join(line + "\n" for line in login["known_hosts"])
        self._known = in_memory(lines.encode("utf-8", "surrogateescape"))
        self._place = ""
        self._door = -1
        self._socket: "Optional[SignSocket]" = None
        identities = [(blob, comment) for blob, comment in login["identities"]]
        try:
            self._listen(loop, identities, pid, ask)
        except OSError:
            self.close()
            raise

    @property
    def known_hosts(self) -> str:
        """A path, for a process of our user."""
        return "/proc/%d/fd/%d" % (os.getpid(), self._known)

    @property
    def path(self) -> str:
        """The socket's, for a process of our user: it has no other name."""
        return "/proc/%d/fd/%d" % (os.getpid(), self._door)

    def answer(self, serial: int, body: bytes) -> None:
        """To what was asked under that number."""
        if self._socket is not None:
            self._socket.answer(serial, body)

    def close(self) -> None:
        """Nothing is left of them."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._leave()
        for fd in (self._known, self._door):
            if fd >= 0:
                os.close(fd)
        self._known = self._door = -1

    def _listen(
        self, loop: "Loop", identities: "List[Tuple[bytes, str]]", pid: "Callable[[], int]", ask: "Ask"
    ) -> None:
        """In a directory that nobody else may enter, and that is gone at once: whoever is killed leaves none.

        Under sudo no agent would take it away: it is another user's.
        """
        failed = OSError(errno.ENOENT, "there is no memory file system for the signing socket")
        for base in (os.environ.get("NILE_SCRATCH"),) + _MEMORY:
            place = "%s/nile-%s" % (base, os.urandom(8).hex())
            if base is None or len(os.fsencode(place + AGENT)) > MOST_PATH:
                continue
            try:
                os.mkdir(place, 0o700)
                self._place = place
                self._socket = SignSocket(
                    loop,  # type: ignore[arg-type]  # it watches as an agent's does
                    place,
                    lambda each: 0 if each == pid() else None,
                    lambda _: identities,
                    lambda _, serial, binds, request: ask(serial, binds, request),
                )
                self._door = os.open(self._socket.path, os.O_PATH)
                os.unlink(self._socket.path)
                self._leave()
                return
            except OSError as error:
                failed = error
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None
                self._leave()
        raise failed

    def _leave(self) -> None:
        place, self._place = self._place, ""
        if place:
            processes.remove_directory(place)


class Tunnel:
    """A connection to the listener at a port of another host's loopback. As `meeting.Dial`, but in the clear.

    Codes of what comes to nothing: `no-ssh`, `agent` (ssh can't be given what it needs), `ssh` (the reason
    is what it said), `signing` (the root refuses), `timeout`, `secret`.
    """

    def __init__(
        self,
        loop: "Loop",
        login: "Message",
        port: int,
        secret: bytes,
        deadline: float,
        ask: "Ask",
        met: "Met",
    ) -> None:
        """`login`: as a relay gets it (see nile.agent.logins), and how long it may take to `connect`."""
        self._loop = loop
        self._met = met
        self._papers: "Optional[Papers]" = None
        self._client: "Optional[Client]" = None
        self._handshake: "Optional[Handshake]" = None
        self._failed = ("", "")
        self._refused = ""
        self._timer = -1
        try:
            client = self._begin(login, port, ask)
        except OSError as error:
            self._give_back()
            self._later("agent", error.strerror or str(error))
            return
        self._client = client
        if client is not None:
            introduction = Introduction(secret, "dialler", os.urandom(NONCE))
            self._handshake = Handshake(loop, client, introduction, deadline, self._judged)

    def answer(self, serial: int, body: bytes, refused: str) -> None:
        """The root has signed; or it hasn't, and says why."""
        self._refused = refused
        if self._papers is not None:
            self._papers.answer(serial, body)

    def close(self) -> None:
        """Give it up; `met` isn't called."""
        self._loop.forget(self._timer)
        if self._handshake is not None:
            self._handshake.cancel()
        client, self._client = self._client, None
        if client is not None:
            client.close()
        self._give_back()

    def _begin(self, login: "Message", port: int, ask: "Ask") -> "Optional[Client]":
        env = dict(os.environ)
        ssh = sshlogin.find_ssh(env)
        if ssh is None:
            self._later("no-ssh", "there is no ssh client")
            return None
        self._papers = Papers(self._loop, login, self._pid, ask)
        argv = tunnel_argv(ssh, login, self._papers.known_hosts, port)
        return Client(self._loop, argv, dict(env, SSH_AUTH_SOCK=self._papers.path), self._ended)

    def _pid(self) -> int:
        return self._client.pid if self._client is not None else 0

    def _later(self, code: str, reason: str) -> None:
        """It came to nothing; whoever wanted it has to know it first."""
        self._timer = self._loop.at(self._loop.now(), lambda: self._met(None, code, reason))

    def _judged(self, code: str, reason: str) -> None:
        client = self._client
        assert client is not None
        self._handshake = None
        if not code:
            self._client = None
            self._give_back()
            self._met(client, "", "")
            return
        self._failed = (code, reason)
        if client.over:
            self._ended()
        elif code == "dropped":  # it is about to end, and may yet say why
            self._timer = self._loop.at(self._loop.now() + PARTING_S, client.kill)
        else:
            client.kill()

    def _ended(self) -> None:
        """ssh is over. What that means is known once the connection is known to be."""
        client, (code, reason) = self._client, self._failed
        if client is None or not code:
            return
        said = client.said.decode("utf-8", "replace").strip()
        self.close()
        if self._refused:
            code, reason = "signing", self._refused
        elif code == "dropped":
            code, reason = "ssh", said or "ssh ended without a word"
        self._met(None, code, reason)

    def _give_back(self) -> None:
        if self._papers is not None:
            self._papers.close()
            self._papers = None


def tunnel_argv(ssh: str, login: "Message", known_hosts: str, port: int) -> "List[str]":
    """The command line of an ssh that forwards its standard input and output to that port, and no more."""
    argv = sshlogin.ssh_argv(ssh, login, known_hosts, login["connect"])
    alive = ["-o", "ServerAliveInterval=%d" % (DEAD_S // 4), "-o", "ServerAliveCountMax=4"]
    return argv[:1] + alive + ["-W", "%s:%d" % (LOOPBACK, port)] + argv[1:]
