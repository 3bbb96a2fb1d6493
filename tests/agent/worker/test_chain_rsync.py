"""A batch of a real rsync flows down a chain: it is applied everywhere, or, where it failed, nowhere."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from nile.agent.worker.chain import HELD, Node
from nile.agent.worker.reports import Result
from nile.agent.worker.streams import File
from tests.agent.worker.chaining import HOST, MIB
from tests.agent.worker.copying import LONGEST_S, SECRET, a_loop

FILES, HOSTS = 40, 3
RSYNC = ["rsync", "-a", "--delete-delay", "--delay-updates"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What is to be copied: 2 MB."""
    source = tmp_path / "source"
    source.mkdir()
    for i in range(FILES):
        (source / f"file{i}").write_bytes(os.urandom(50_000))
    return source


@pytest.fixture
def batch(tmp_path: Path, source: Path) -> Iterator[int]:
    """What rsync has recorded against an old copy."""
    old_copy(tmp_path / "old")
    name = tmp_path / "batch"
    argv = [*RSYNC, f"--only-write-batch={name}", f"{source}/", f"{tmp_path}/old/"]
    subprocess.run(argv, check=True, timeout=LONGEST_S)
    fd = os.open(name, os.O_RDONLY)
    yield fd
    os.close(fd)


def old_copy(path: Path) -> Path:
    path.mkdir()
    for i in range(FILES):
        (path / f"file{i}").write_bytes(b"old" * 1000)
    (path / "gone").write_bytes(b"")
    return path


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


class Applying:
    """An rsync that applies what a node gives it."""

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        read_end, self.pipe = os.pipe()
        argv = [*RSYNC, "--read-batch=-", f"{dest}/"]
        self.process = subprocess.Popen(
            argv, stdin=read_end, stderr=subprocess.DEVNULL, start_new_session=True
        )
        os.close(read_end)
        self.results: list[Result] = []

    def done(self, result: Result) -> None:
        self.results.append(result)
        if not result.applied:
            os.killpg(self.process.pid, signal.SIGKILL)  # an rsync is several processes
            self.process.wait()


def flow(batch: int, appliers: list[Applying], fail: bool) -> None:
    """Through a chain of so many hosts."""
    size = os.fstat(batch).st_size
    with a_loop() as loop:
        left = len(appliers) + 1

        def done(_: Result) -> None:
            nonlocal left
            left -= 1
            if not left:
                loop.stop()

        def both(applying: Applying) -> Node:
            def over(result: Result) -> None:
                applying.done(result)
                done(result)

            return Node(loop, MIB, applying.pipe, lambda _: None, over)

        file = File(batch)
        nodes = [Node(loop, file, -1, lambda _: None, done), *(both(applying) for applying in appliers)]
        nodes[-1].last()
        until = loop.now() + LONGEST_S
        for above, below in pairwise(nodes):
            above.successor(HOST, below.predecessor(HOST, SECRET, until), SECRET, until)
        if fail:
            file.limit(size)
            loop.at(loop.now() + 0.01, lambda: wait_applied(size - HELD))
        else:
            file.finish(size)

        def wait_applied(count: int) -> None:
            if all(node.progress().applied == count for node in nodes[1:]):
                file.abort("a file changed")
            else:
                loop.at(loop.now() + 0.01, lambda: wait_applied(count))

        loop.run()


def test_what_was_recorded_once_is_applied_everywhere(tmp_path: Path, source: Path, batch: int) -> None:
    appliers = [Applying(old_copy(tmp_path / f"host{i}")) for i in range(HOSTS)]
    flow(batch, appliers, fail=False)
    for applying in appliers:
        assert applying.process.wait(LONGEST_S) == 0
        assert content(applying.dest) == content(source)
        assert applying.results[0].applied


def test_what_failed_at_the_end_is_applied_nowhere(tmp_path: Path, batch: int) -> None:
    appliers = [Applying(old_copy(tmp_path / f"host{i}")) for i in range(HOSTS)]
    before = content(appliers[0].dest)
    flow(batch, appliers, fail=True)
    for applying in appliers:
        assert applying.results[0].code == "aborted"
        after = content(applying.dest)
        assert {name: after.get(name) for name in before} == before, "but for temporary files"
