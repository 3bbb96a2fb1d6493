"""The second warden: what sudo runs, as the user whose the command is to be. Travels with the plan.

It comes to its agent's socket, is given the command's streams there, and what
to run; it says how that ends, and who of its descendants lives, and signals
them when it is told to. It is a subreaper, so all that the command starts stays
below it. Where the socket ends without a word, the agent is gone: then it kills
all of them. It leaves on no other sign, whatever sudo passes on to it.
"""

import _signal
import _socket
import _struct as struct
import os
import select

from nile.agent import leftovers, minder, outfit, processes, warden, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional

STUB = (
    "import io,sys,zlib,_socket as s;"
    "c=s.socket(s.AF_UNIX);c.connect('\\0'+sys.argv[1]);"
    "f=io.BufferedReader(io.FileIO(c.fileno(),closefd=False),1);"  # it must not read what comes behind
    "n=int(f.readline());"
    "exec(zlib.decompress(f.read(n)))"
)
"""What its Python runs; the socket's name is its argument."""

READY, RUNS, FAILED, EXITED, ALIVE, FULL = range(1, 7)
JOB, KILL, CENSUS, MIND, OVER = range(10, 15)
NODE = ("id", "host", "stage", "parent", "rank", "group", "groups", "line", "script")
MOST_ALIVE = 5000


def main(connection: "_socket.socket") -> None:
    """Never returns."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    for signum in (_signal.SIGHUP, _signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT):
        _signal.signal(signum, lambda *_: None)  # what is ignored would be so in the command, too
    warden.prctl(warden.PR_SET_CHILD_SUBREAPER, 1)
    try:
        Inside(connection).run()
    finally:
        os._exit(1)


class Inside:
    """The agent's end of `connection` is nile.agent.sudo. `claim` is a directory in memory, or None."""

    def __init__(self, connection: "_socket.socket") -> None:
        self.claim: "Optional[str]" = None
        self._socket = connection
        self._decoder = wire.Decoder(wire.MAX_FRAME_DOWN)
        self._pid = 0
        self._streams: "List[int]" = []
        self._keep = self._ends = False
        self._poll = select.poll()
        self._handlers: "Dict[int, Callable[[int], None]]" = {}

    def run(self) -> None:
        """Until there is nothing more to do."""
        self._say(wire.Frame(READY, body=wire.dumps(None)))
        self._streams = self._take_streams()
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        _signal.set_wakeup_fd(wake)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)
        self.watch(woken, select.POLLIN, lambda _: self._reap(woken))
        self.watch(self._socket.fileno(), select.POLLIN, lambda _: self._receive())
        while not self._ends:
            for fd, events in self._poll.poll():
                if fd in self._handlers:
                    self._handlers[fd](events)
        if not self._keep:
            leftovers.kill_all()
        if self.claim:
            leftovers.remove_tree(self.claim)
        os._exit(0)

    def _take_streams(self) -> "List[int]":
        size = struct.calcsize("3i")
        _, rights, _, _ = self._socket.recvmsg(1, _socket.CMSG_SPACE(size))
        streams = list(struct.unpack("3i", rights[0][2])) if rights else []
        if not streams:
            os._exit(1)  # the agent wants nothing of it any more
        for fd in streams:
            os.set_inheritable(fd, False)
        return streams

    # What `nile.agent.feed` wants of a loop.

    def watch(self, fd: int, mask: int, handler: "Callable[[int], None]") -> None:
        """Call `handler(events)` when `fd` is ready as `mask` says."""
        self._handlers[fd] = handler
        self._poll.register(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; it stays open."""
        if self._handlers.pop(fd, None):
            self._poll.unregister(fd)

    def drop(self, fd: int) -> None:
        """Forget a descriptor and close it."""
        self.unwatch(fd)
        os.close(fd)

    # The agent.

    def _say(self, frame: wire.Frame) -> None:
        try:
            self._socket.sendall(frame.encode())
        except OSError:
            self._ends = True

    def _report(self, kind: int, value: object) -> None:
        self._say(wire.Frame(kind, body=wire.dumps(value)))

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except OSError:
            data = b""
        self._ends = not data
        for frame in self._decoder.feed(data):
            self._frame(frame.type, frame.value())

    def _frame(self, kind: int, value: "Any") -> None:
        if kind == JOB:
            self._start(value)
        elif kind == KILL:
            leftovers.kill_descendants(os.getpid(), value)
        elif kind == CENSUS:
            alive = leftovers.descendants(os.getpid())[:MOST_ALIVE]
            self._report(ALIVE, [list(each) for each in alive])
        elif kind == MIND:
            if self.claim and minder.look(self.claim + "/scratch", value):
                self._report(FULL, None)
        elif kind == OVER:
            self._keep, self._ends = value, True

    def _reap(self, woken: int) -> None:
        os.read(woken, 512)
        for pid, status, signum in processes.reap():
            if pid == self._pid:
                self._report(EXITED, [status, signum])

    # The command.

    def _start(self, job: "Dict[str, Any]") -> None:
        try:
            env = self._environment(job)
            self._pid = outfit.spawner(self, job["plan"])(job["argv"], env, self._streams)  # type: ignore[arg-type]
        except OSError as error:
            self._report(FAILED, "%s: %s" % (error.filename, error.strerror))
        else:
            self._report(RUNS, self._pid)
        finally:
            for fd in self._streams:
                os.close(fd)

    def _environment(self, job: "Dict[str, Any]") -> "Dict[str, str]":
        """What sudo gives, in the languages of the login, and what Nile says of the run.

        What sudo says of its command isn't what runs.
        """
        given = processes.original_environment()
        env = {name: given[name] for name in given if name not in ("LC_ALL", "LANGUAGE", "SUDO_COMMAND")}
        env.update(job["locale"])
        env.update(job["env"])
        env.pop("NILE_SCRATCH", None)
        for place in job["places"]:
            try:
                os.mkdir(place, 0o700)
                os.mkdir(place + "/scratch", 0o700)
            except OSError:
                continue
            self.claim = place
            env["NILE_SCRATCH"] = place + "/scratch"
            break
        return env
