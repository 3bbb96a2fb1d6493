"""Work that takes long, in a worker as it is shipped: a real process, which hashes a file of terabytes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import messages, parts, receiving, scanning
from nile.agent.worker.lock import in_use
from nile.agent.worker.loop import Loop
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.working import WORK
from nile.bootstrap.program import COMMAND, worker_program
from tests.agent.worker.copying import NAME, Pair, a_loop
from tests.agent.worker.test_parts import Worker, living, opened
from tests.agent.worker.trees import top

WITHIN_S = 20.0
SIZE = 1 << 42
"""Of nothing but a hole: hours."""

_AGENT = """import subprocess, sys
worker = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
worker.stdin.write(sys.stdin.buffer.read())
worker.stdin.flush()
worker.wait()"""
"""Starts a worker, and tells it what it was told itself; then waits for nothing but its end."""


@pytest.fixture
def worker() -> Iterator[Worker]:
    yield from living(Worker())


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    place = tmp_path / "dest"
    place.mkdir()
    with (place / "big").open("wb") as file:
        file.truncate(SIZE)
    return place


def scan(checksum: bool = True) -> dict[str, Any]:
    how: dict[str, Any] = {"owner": "none", "users": [], "groups": [], "excludes": [], "checksum": checksum}
    return {"n": 8, "do": "scan", "roots": [b""], **how}


def at_it(worker: Worker, dest: Path) -> None:
    """It has begun to look at its files."""
    opened(worker, dest)
    worker.tell(**scan())
    links = Path(f"/proc/{worker.process.pid}/fd")
    latest = time.monotonic() + WITHIN_S
    while not any(link.is_symlink() and link.samefile(dest / "big") for link in links.iterdir()):
        assert time.monotonic() < latest
        time.sleep(0.02)


def test_it_says_how_much_it_has_looked_at(worker: Worker, dest: Path) -> None:
    opened(worker, dest)
    told = worker.ask(**scan())
    assert (told["n"], told["alive"], told["more"]) == (8, True, True)
    assert told["done"] > 1000


def test_every_file_counts(dest: Path) -> None:
    for number in range(300):
        (dest / str(number)).touch()
    before = WORK.done
    found = scanning.scan(top(dest), Patterns())
    assert len(found.entries) == 302
    assert WORK.done - before >= 301
    list(receiving._parents(os.fsencode(dest), b"none"))
    assert WORK.done - before >= 602


@pytest.mark.parametrize("part", [{}, {"repo": 3}])
def test_one_whose_input_ends_in_the_midst_of_it_ends(
    worker: Worker, dest: Path, part: dict[str, int]
) -> None:
    opened(worker, dest, **part)
    worker.tell(**scan(), **part)
    worker.tell(**scan(), **part)  # what is still to be done isn't done either
    assert worker.end() == 0
    assert not in_use(os.fsencode(dest))
    assert [path.name for path in dest.iterdir()] == ["big"]


def test_one_that_is_told_to_end_in_the_midst_of_it_does(worker: Worker, dest: Path) -> None:
    at_it(worker, dest)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=WITHIN_S) == 0
    assert not in_use(os.fsencode(dest))


def test_one_that_waits_for_a_program_ends(tmp_path: Path) -> None:
    (tmp_path / "rsync").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "rsync").chmod(0o755)
    for worker in living(Worker(PATH=f"{tmp_path}:{os.environ['PATH']}")):
        worker.tell(n=1, do="open", dest=os.fsencode(tmp_path / "d"), write=True, delete=False, run="r1")
        worker.process.stdin.close()  # type: ignore[union-attr]
        assert worker.process.wait(timeout=8) == 0  # the program would have ten seconds
    assert not (tmp_path / "d").exists()


@pytest.fixture
def agent() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An agent that has a worker, and where that says what it says."""
    environment = {**os.environ, "NILE_PYTHON": sys.executable, "NILE_RUN": "r1", "NILE_HOST": "h1"}
    said, says = os.pipe()
    agent = subprocess.Popen(
        [sys.executable, "-c", _AGENT, "/bin/sh", "-c", COMMAND],
        stdin=subprocess.PIPE,
        stdout=says,
        env=environment,
        start_new_session=True,
    )
    os.close(says)
    yield agent, said
    os.close(said)
    try:
        os.killpg(agent.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nobody is left
    agent.wait()


def test_one_outlives_no_agent_that_is_killed(agent: tuple[subprocess.Popen[bytes], int], dest: Path) -> None:
    """Who is killed signals nobody."""
    process, said = agent
    opening = {"n": 7, "do": "open", "dest": os.fsencode(dest), "write": True, "delete": False, "run": "r1"}
    assert process.stdin
    with process.stdin as told:
        told.write(worker_program() + messages.pack(opening) + messages.pack(scan()))
    heard, found = bytearray(), list[dict[str, Any]]()
    while not any(message.get("alive") for message in found):
        assert select.select([said], [], [], WITHIN_S)[0], "it says nothing"
        found += messages.unpack(heard, os.read(said, 65536))
    assert in_use(os.fsencode(dest))
    process.kill()
    data = b"?"
    while data:  # until nobody is left who could say anything
        assert select.select([said], [], [], WITHIN_S)[0], "it lives on"
        data = os.read(said, 65536)
    assert not in_use(os.fsencode(dest))


def test_what_cleans_up_says_that_it_gets_on_and_isnt_broken_into(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[bool] = []
    monkeypatch.setattr("nile.agent.worker.working.TICK_S", 0.01)
    monkeypatch.setattr("nile.agent.worker.working._is_closed", lambda _: True)
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(WORK.look()))
    try:
        with WORK.told():
            while len(rung) < 10:
                signal.pause()
            WORK.stop()
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung.count(True) == 2


def test_within_work_that_is_announced_it_changes_nothing() -> None:
    with WORK.announced():
        with WORK.told():
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[1] > 0


def test_a_copy_that_comes_to_nothing_is_cleaned_up_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    source.mkdir()
    (source / "big").write_bytes(bytes(1 << 20))
    timers: list[float] = []
    sweep = receiving.sweep

    def swept(dest: bytes, temporary: bytes) -> None:
        timers.append(signal.getitimer(signal.ITIMER_REAL)[1])
        sweep(dest, temporary)

    monkeypatch.setattr(receiving, "sweep", swept)
    with a_loop() as loop:
        pair = Pair(loop, dest, bwlimit=100)
        pair.after(1000, lambda: pair.receive.stop())
        pair.run(f"{source}/")
    assert timers
    assert min(timers) > 0


def test_what_is_removed_is_counted(tmp_path: Path) -> None:
    receiving.prepare(os.fsencode(tmp_path), NAME)
    for number in range(300):
        (tmp_path / os.fsdecode(NAME) / str(number)).touch()
    before = WORK.done
    receiving.sweep(os.fsencode(tmp_path), NAME)
    assert WORK.done - before >= 300
    assert not list(tmp_path.iterdir())


def test_of_several_repositories_it_is_whose_ever_that_is() -> None:
    """One that looks again, or cleans up, isn't asked anything just then."""
    front = parts.Front(Loop())
    said: list[dict[str, Any]] = []
    front._say = lambda number, fields: said.append({**fields, "n": number})  # type: ignore[method-assign]
    try:
        front.say_alive()
        front._parts = {2: parts.Part(front._loop, front, 2)}
        front.say_alive()
    finally:
        front._loop.close()
    assert [(each.get("repo"), each["alive"]) for each in said] == [(None, True), (2, True)]
