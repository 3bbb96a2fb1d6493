"""A worker as it is shipped, told what to do for several repositories: a real process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import messages
from nile.bootstrap.program import PYTHON, worker_program

Message = dict[str, Any]


class Worker:
    """A child process; `ask` gives its next answer."""

    def __init__(self, **environment: str) -> None:
        argv = [sys.executable, "-BISc", PYTHON]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env={**os.environ, **environment})
        self._heard = bytearray()
        self._answers: list[Message] = []
        self._write(worker_program())

    def _write(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def tell(self, **message: Any) -> None:
        self._write(messages.pack(message))

    def ask(self, **message: Any) -> Message:
        self.tell(**message)
        assert self.process.stdout
        while not self._answers:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, "it ended"
            self._answers += map(dict, messages.unpack(self._heard, data))
        return self._answers.pop(0)

    def end(self) -> int:
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(timeout=20)


@pytest.fixture
def worker() -> Iterator[Worker]:
    yield from living(Worker())


def living(made: Worker) -> Iterator[Worker]:
    """Until the test is over."""
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait()
    for pipe in (made.process.stdin, made.process.stdout):
        assert pipe
        pipe.close()


def opened(worker: Worker, dest: Path, **more: Any) -> Message:
    ask = {
        "n": 7,
        "do": "open",
        "dest": os.fsencode(dest),
        "write": True,
        "delete": False,
        "run": "r1",
        **more,
    }
    return worker.ask(**ask)


def test_each_has_its_own_place_and_its_answers_say_whose_they_are(worker: Worker, tmp_path: Path) -> None:
    assert opened(worker, tmp_path / "a", repo=0)["repo"] == 0
    assert opened(worker, tmp_path / "b", repo=1)["repo"] == 1
    assert "repo" not in opened(worker, tmp_path / "c")
    again = opened(worker, tmp_path / "a", repo=2)
    assert (again["repo"], again["code"]) == (2, "busy")
    found = worker.ask(n=8, do="receive", repo=1, secret=b"s" * 32, loopback=True)
    assert (found["repo"], found["n"]) == (1, 8)
    assert found["port"] > 0
    assert worker.end() == 0
    assert not list(tmp_path.iterdir())


def test_one_that_is_dropped_gives_its_place_back_and_the_others_go_on(
    worker: Worker, tmp_path: Path
) -> None:
    opened(worker, tmp_path / "a", repo=0)
    opened(worker, tmp_path / "b", repo=1)
    worker.tell(n=0, do="drop", repo=0)
    worker.tell(n=0, do="drop", repo=9)
    assert "code" not in opened(worker, tmp_path / "a", repo=2)
    assert worker.ask(n=9, do="close", repo=1) == {"n": 9, "repo": 1}
    assert worker.end() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_told_to_end_it_does_though_its_input_goes_on(worker: Worker, tmp_path: Path) -> None:
    opened(worker, tmp_path / "a", repo=0)
    opened(worker, tmp_path / "b")
    worker.tell(n=0, do="end")
    assert worker.process.wait(timeout=20) == 0
    assert not list(tmp_path.iterdir())
    worker.end()
