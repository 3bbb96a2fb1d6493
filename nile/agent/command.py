"""The command of a node: it performs what the core decides about it."""

import posix as os
import select
import sys

from nile.agent import processes, wire
from nile.agent.core import STREAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Optional, Tuple

    from nile.agent.feed import Feed
    from nile.agent.loop import Agent

AFTER_EXIT_MOST = 4 << 20  # what a stream may still give once its command ended


class Command:
    """A process, what it reads and writes, and what descends from it; `pid` is 0 before it runs.

    Its methods are effects of the core (see `nile.agent.core`), by their names.
    """

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self.pid = 0
        self._fds: "Dict[str, int]" = {}
        self._after_exit: "Dict[str, int]" = {}
        self._feed: "Optional[Feed]" = None

    def spawn(self, plan: "Dict[str, Any]") -> None:
        """Start it."""
        agent, shared = self._agent, plan["shared"]
        job = shared["job"]
        mine = [os.pipe(), os.pipe()]
        null = os.open("/dev/null", os.O_RDONLY)
        given, feeding = os.pipe() if job["stdin"] else (null, -1)
        env = self._environment(shared, plan["node"])
        fds = given, mine[0][1], mine[1][1]
        try:
            # As sshd would run it: the user's login shell with -c.
            argv = [env.get("SHELL") or "/bin/sh", "-c", job["command"] + plan["node"]["line"]]
            spawn: "Callable[..., int]" = processes.spawn
            sys.meta_path[0].add(job["code"])  # type: ignore[attr-defined]
            if job["outfit"]:
                from nile.agent import outfit

                spawn = outfit.spawner(agent, plan)
            self.pid = spawn(argv, env, fds)
        except OSError as error:
            agent.perform(agent.core.spawn_failed("%s: %s" % (error.filename, error.strerror)))
            return
        finally:
            for fd in {null, given, mine[0][1], mine[1][1]}:
                os.close(fd)
        for name, (fd, _) in zip(STREAMS, mine):  # noqa: B905  (strict came with 3.10)
            os.set_blocking(fd, False)
            self._fds[name] = fd
        self.reading(True)
        agent.perform(agent.core.spawned(self.pid))
        self.mind("start")
        if feeding >= 0:
            if job["program"]:  # it reads that first
                self.input(job["program"])
            self._feeding().begin(feeding)

    def _environment(self, shared: "Dict[str, Any]", node: "Dict[str, Any]") -> "Dict[str, str]":
        """What the login gave, and what Nile says of the run."""
        agent = self._agent
        env = dict(agent.env)
        if agent.claim:
            scratch = agent.claim + "/scratch"
            os.mkdir(scratch, 0o700)
            agent.own(scratch)
            env["NILE_SCRATCH"] = scratch
        env.update(NILE_RUN=shared["run"], NILE_COUNT=str(shared["count"]), NILE_PYTHON=sys.executable)
        for key in ("host", "stage", "parent", "rank", "group", "groups"):
            env["NILE_" + key.upper()] = str(node[key])
        return env

    def mind(self, *what: "Any") -> None:
        """See to what `nile.agent.minder` sees to; `what` befell it, if anything."""
        if self.pid and (not what or os.access("/dev/log", 0)):
            from nile.agent import minder

            minder.mind(self._agent, *what)

    # What it reads.

    def input(self, data: bytes) -> None:
        """Bytes for its standard input."""
        self._feeding().add(data)

    def _feeding(self) -> "Feed":
        if self._feed is None:
            from nile.agent import feed

            self._feed = feed.Feed(self._agent)
        return self._feed

    # What it writes.

    def reading(self, wanted: bool) -> None:
        """Read both streams, standard output first, or let them wait."""
        for name, fd in list(self._fds.items()):
            if not wanted:
                self._agent.unwatch(fd)
            elif name in self._after_exit:
                self._read_all(name)
            else:
                self._agent.watch(fd, select.POLLIN, lambda _, name=name: self._read(name))  # type: ignore[misc]

    def drain(self) -> None:
        """It ended: whatever is in a pipe now is all that there is."""
        for name in list(self._fds):
            self._after_exit[name] = AFTER_EXIT_MOST
            self._read_all(name)

    def _read_all(self, name: str) -> None:
        """Until it is empty or its window is full; the rest comes as the window moves."""
        while name in self._fds and self._agent.core.room():
            self._read(name)

    def _read(self, name: str) -> None:
        core = self._agent.core
        data = b""
        try:
            data = os.read(self._fds[name], min(wire.CHUNK, core.room()))
        except BlockingIOError:
            if name not in self._after_exit:
                return
        except OSError:
            pass
        # Where one that was left behind writes without end, that must not hold up the verdict.
        if name in self._after_exit:
            self._after_exit[name] -= len(data)
            data = data if self._after_exit[name] > 0 else b""
        if data:
            self._agent.perform(core.output(name, data))
            return
        self._agent.drop(self._fds.pop(name))
        self._agent.perform(core.drained(name))

    # What descends from it.

    def kill(self, signum: int) -> None:
        """Signal all of it."""
        from nile.agent import leftovers

        leftovers.kill_descendants(os.getpid(), signum, self._but())

    def census(self) -> None:
        """Look who lives."""
        agent = self._agent
        alive: "list[Tuple[int, str]]" = []
        if agent.branches.has_strangers() if agent.branches else not processes.childless():
            from nile.agent import leftovers

            alive = leftovers.descendants(os.getpid(), self._but())
        agent.perform(agent.core.census(alive, agent.now()))

    def _but(self) -> "Iterable[int]":
        """Processes that are the agent's."""
        return self._agent.branches.pids() if self._agent.branches else ()
