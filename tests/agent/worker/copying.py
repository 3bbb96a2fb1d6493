"""Both ends of a copy in one loop, and what is in a tree: for the tests of rsync between workers."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nile.agent.worker import meeting, pushing, receiving
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.loop import Loop
from nile.agent.worker.running import Ending

NAME = b".nile-sync-r1"
LONGEST_S = 40.0  # for anything here
SECRET = bytes(range(32))


class Late(AssertionError):
    """What a test waits for didn't come."""


@contextmanager
def a_loop() -> Iterator[Loop]:
    """A loop that fails after LONGEST_S, and leaves no signal handler."""
    loop = Loop()

    def late() -> None:
        raise Late

    loop.at(loop.now() + LONGEST_S, late)
    try:
        yield loop
    finally:
        for pid in loop._children:
            for kill in (os.killpg, os.kill):  # who has just been forked may lead no group yet
                with suppress(ProcessLookupError):
                    kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        loop.close()


def halt(session: int) -> None:
    """Stop all processes of a session. Whoever is amid a read may yet get what is written before it stops."""
    os.killpg(session, signal.SIGSTOP)
    while set(_states(session)) != {"T"}:
        os.sched_yield()


def _states(session: int) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its, *_ = path.read_text().rpartition(") ")[2].split()
            if int(its) == session:
                yield state


def installed() -> rsyncs.Rsync:
    """The rsync of this machine."""
    found = rsyncs.probe()
    assert isinstance(found, rsyncs.Rsync), found
    return found


class Pair:
    """A receiver and a sender that pushes to it; `run` gives both endings, the sender's first."""

    def __init__(self, loop: Loop, dest: Path, keep: bool = False, **options: Any) -> None:
        self.loop = loop
        self.dest = os.fsencode(dest)
        self.copy = rsyncs.Copy(NAME, **options)
        self.rsync = installed()
        self.endings: dict[str, Ending] = {}
        self.push: pushing.Push | None = None
        self.watch: Callable[[int, int], None] | None = None
        self.begun: Callable[[], object] = lambda: None  # called once the sender has begun
        deadline = loop.now() + LONGEST_S
        self.receive = receiving.Receive(
            loop,
            self.rsync,
            self.dest,
            NAME,
            "127.0.0.1",
            SECRET,
            deadline,
            self._done("got"),
            keep,
            self.copy.link_dest,
        )

    def _done(self, who: str) -> Callable[[Ending], None]:
        def done(ending: Ending) -> None:
            assert who not in self.endings, "done was called twice"
            self.endings[who] = ending
            if len(self.endings) == 2:
                self.loop.stop()

        return done

    def argv(self, sources: Sequence[bytes], phases: bool) -> list[str]:
        """The sender's words."""
        helper = pushing.helper()
        return rsyncs.client_argv(
            self.rsync, self.copy, sources, self.dest, helper, self.rsync.version, phases
        )

    def run(
        self,
        *sources: str | bytes,
        gate: Callable[[], list[bytes]] | None = None,
        phases: bool | None = None,
    ) -> tuple[Ending, Ending]:
        """Push, until both ends are over."""
        argv = self.argv([os.fsencode(s) for s in sources], gate is not None if phases is None else phases)

        def met(connection: Any, code: str, reason: str) -> None:
            assert code == "", (code, reason)
            self.push = pushing.Push(
                self.loop, argv, connection, self._done("sent"), gate, lambda *moved: self._moved(*moved)
            )
            self.begun()

        port = self.receive.port
        meeting.Dial(self.loop, "127.0.0.1", port, SECRET, self.loop.now() + LONGEST_S, met)
        self.loop.run()
        return self.endings["sent"], self.endings["got"]

    def _moved(self, sent: int, received: int) -> None:
        if self.watch is not None:
            self.watch(sent, received)

    def after(self, sent: int, act: Callable[[], None]) -> None:
        """Call `act()` once, as soon as so many bytes were sent."""

        def watch(moved: int, _: int) -> None:
            if moved >= sent:
                self.watch = None
                act()

        self.watch = watch


def copy(source: str | bytes, dest: Path, **options: Any) -> tuple[Ending, Ending]:
    """Push this to there."""
    with a_loop() as loop:
        return Pair(loop, dest, **options).run(source)


def well(endings: tuple[Ending, Ending]) -> None:
    """Both ended well."""
    for ending in endings:
        assert (ending.code, ending.status) == ("", 0), ending.fields()


def tree(root: Path) -> dict[bytes, tuple[object, ...]]:
    """All that is at and below `root`: type and mode, owner, time, content, xattrs, other names."""
    top = os.fsencode(root)
    found: dict[bytes, tuple[object, ...]] = {}
    names: dict[tuple[int, int], list[bytes]] = {}
    for path in _paths(top):
        about = os.lstat(path)
        names.setdefault((about.st_dev, about.st_ino), []).append(os.path.relpath(path, top))
    for path in _paths(top):
        about = os.lstat(path)
        links = () if stat.S_ISDIR(about.st_mode) else tuple(names[about.st_dev, about.st_ino])
        found[os.path.relpath(path, top)] = (
            about.st_mode,
            about.st_uid,
            about.st_gid,
            about.st_mtime_ns,
            _content(path, about),
            [(key, os.getxattr(path, key, follow_symlinks=False)) for key in _keys(path)],
            links,
        )
    return found


def _paths(top: bytes) -> list[bytes]:
    below = [top]
    for path, directories, files in os.walk(top):
        below += [path + b"/" + name for name in [*directories, *files]]
    return sorted(below)


def _content(path: bytes, about: os.stat_result) -> bytes:
    if stat.S_ISLNK(about.st_mode):
        return os.readlink(path)  # noqa: PTH115  (bytes)
    return Path(os.fsdecode(path)).read_bytes() if stat.S_ISREG(about.st_mode) else b""


def _keys(path: bytes) -> list[str]:
    return sorted(key for key in os.listxattr(path, follow_symlinks=False) if key.startswith("user."))


def contents(root: Path) -> dict[str, bytes]:
    """The regular files below `root`."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def litter(root: Path) -> list[Path]:
    """What is ours there."""
    return sorted(root.rglob(os.fsdecode(NAME) + "*"))
