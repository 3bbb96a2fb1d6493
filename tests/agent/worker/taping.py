"""Recordings and their readers, each in a loop of its own: for the tests of both."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nile.agent.worker import meeting, pushing, receiving
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.applying import Applying, Fed
from nile.agent.worker.loop import Loop
from nile.agent.worker.recording import Recording, Spool
from nile.agent.worker.running import Ending
from tests.agent.worker.copying import (
    NAME,
    SECRET,
    a_loop,
    installed,
    well,
)
from tests.agent.worker.test_pushing import (
    BIG,
    files,
)


class Tape:
    """One recording, of a source against a host; its spool is read through `stream`."""

    def __init__(self, source: Path, host: Path, spool: Path | None = None, **options: Any) -> None:
        self.host = os.fsencode(host)
        self.source = source
        self.place = spool or source.parent / f"spool of {host.name}"
        self.place.mkdir(exist_ok=True)
        self.limits: list[tuple[int, int]] = []  # limit and written, whenever told
        self.told: Callable[[], None] = lambda: None
        self.spool = Spool(os.fsencode(self.place), self._changed)
        self.copy = rsyncs.Copy(NAME, **options)
        self.rsync = installed()
        self.endings: dict[str, Ending] = {}
        self.recording: Recording | None = None
        self.receive: receiving.Receive | None = None

    def _changed(self) -> None:
        self.limits.append((self.spool.limit, self.spool.written))
        self.told()

    def run(
        self,
        gate: Callable[[], list[bytes]] = list,
        progress: Callable[[int, int], None] | None = None,
        names: bytes = b"",
        sources: list[bytes] | None = None,
    ) -> tuple[Ending, Ending]:
        """Record, until both ends are over."""
        with a_loop() as loop:
            self.receive = receiving.Receive(
                loop,
                self.rsync,
                self.host,
                NAME,
                "127.0.0.1",
                SECRET,
                loop.now() + 9,
                self._done("got", loop),
            )
            argv = rsyncs.client_argv(
                self.rsync,
                self.copy,
                sources or [os.fsencode(self.source) + b"/"],
                self.host,
                pushing.helper(),
                self.rsync.version,
                False,
            )

            def met(connection: Any, code: str, reason: str) -> None:
                assert code == "", (code, reason)
                self.recording = Recording(
                    loop,
                    argv,
                    connection,
                    self.spool,
                    gate,
                    self._done("sent", loop),
                    progress,
                    names,
                )

            meeting.Dial(loop, "127.0.0.1", self.receive.port, SECRET, loop.now() + 9, met)
            loop.run()
        return self.endings["sent"], self.endings["got"]

    def _done(self, who: str, loop: Loop) -> Callable[[Ending], None]:
        def done(ending: Ending) -> None:
            assert who not in self.endings, "done was called twice"
            self.endings[who] = ending
            if who == "sent":
                assert self.spool.finished or self.spool.aborted
                assert list(self.place.iterdir()) == []
            if len(self.endings) == 2:
                loop.stop()

        return done

    def once(self, written: int, act: Callable[[], object]) -> Callable[[], None]:
        """Does `act()` as soon as the limit shows that so much was written: for `told`."""
        todo = [act]

        def told() -> None:
            if self.spool.written >= written and todo:
                todo.pop()()

        return told

    @property
    def stream(self) -> bytes:
        """All that may be sent."""
        return self.spool.read(0, self.spool.limit)


def record(source: Path, host: Path, **options: Any) -> Tape:
    """A recording that went well; `names` among the options are all that is recorded."""
    names = options.pop("names", b"")
    tape = Tape(source, host, **options)
    well(tape.run(names=names))
    assert tape.spool.finished
    return tape


class Feed:
    """A stream into an applier, as a node of a chain does it."""

    def __init__(
        self,
        loop: Loop,
        data: bytes,
        dest: Path,
        then: Callable[[Feed], object] | None = None,
        recorded: rsyncs.Version | None = None,
        **options: Any,
    ) -> None:
        """After the data `then(self)` is called, where nothing is given the end follows."""
        self.loop = loop
        self.left = memoryview(data)
        self.then = then or Feed.close
        self.endings: list[Ending] = []
        self.applying = self._begin(rsyncs.Copy(NAME, **options), os.fsencode(dest), recorded)
        self.open = True
        loop.watch(self.applying.stdin, select.POLLOUT, self._write)

    def _begin(self, copy: rsyncs.Copy, dest: bytes, recorded: rsyncs.Version | None) -> Fed:
        return Applying(self.loop, installed(), copy, dest, recorded or installed().version, self._done)

    @property
    def pid(self) -> int:
        """The rsync's, which is also its session's."""
        return self.applying._running.pid

    def _write(self, _: int) -> None:
        try:
            self.left = self.left[os.write(self.applying.stdin, self.left) :]
        except BrokenPipeError:
            self.close()
            return
        if not self.left:
            self.loop.unwatch(self.applying.stdin)
            self.then(self)

    def close(self) -> None:
        """The stream ends."""
        if self.open:
            self.open = False
            self.loop.unwatch(self.applying.stdin)
            os.close(self.applying.stdin)

    def _done(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.close()
        self.loop.stop()

    def run(self) -> Ending:
        """Until it is over."""
        self.loop.run()
        assert len(self.endings) == 1
        return self.endings[0]


def apply(data: bytes, dest: Path, **options: Any) -> Ending:
    """Do this stream to that copy."""
    with a_loop() as loop:
        return Feed(loop, data, dest, **options).run()


def clone(tree: Path, name: str) -> Path:
    """An equal copy beside it."""
    subprocess.run(["cp", "-a", tree, tree.parent / name], check=True, timeout=20)
    return tree.parent / name


def old_and_new(tmp_path: Path) -> tuple[Path, Path]:
    """A source, and a copy with older files and one that is to go."""
    big = os.urandom(BIG)
    source = files(tmp_path / "src", {"a": b"new", "big": big, "fresh": b"1", "z": b"new"})
    named = {"a": b"older", "big": big[: BIG // 2] + os.urandom(9), "gone": b"1", "z": b"older"}
    return source, files(tmp_path / "host", named)
