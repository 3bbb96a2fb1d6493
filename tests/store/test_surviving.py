"""Real processes: killed while they record, and recording at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nile.store import RunState, Store
from nile.store.records import is_alive, process_identity
from tests.store import sample

CHUNK = 64
RECORD_FOREVER = f"""
import sys
from pathlib import Path
from nile.events import HostOutput
from nile.store import Recorder, RunContext
from tests.store import sample

recorder = Recorder(Path(sys.argv[1]), RunContext.here(()))
recorder.record([sample.started(sys.argv[2])])
for number in range(int(sys.argv[3])):
    recorder.record([HostOutput("n1", "stdout", {CHUNK} * number, b"%064d" % number)])
    print(number + 1, flush=True)
"""


@contextmanager
def recording(path: Path, run: str, batches: int) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", RECORD_FOREVER, str(path), run, str(batches)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
        try:
            yield child
        finally:
            child.kill()


def read_on(pipe: IO[str] | None, until: int | None = None) -> int:
    """The last number that the child acknowledged; up to `until`, or the end."""
    assert pipe is not None
    acknowledged = 0
    for line in pipe:
        if line.endswith("\n"):
            acknowledged = int(line)
        if acknowledged == until:
            break
    return acknowledged


def recorded(store: Store, run: str) -> bytes:
    return b"".join(chunk.data for chunk in store.chunks(store.run(run), "n1", "stdout"))


def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    for run in ("dead1", "dead2"):
        with recording(path, run, 10**9) as child:
            read_on(child.stdout, until=200)
            os.kill(child.pid, signal.SIGKILL)
            acknowledged = max(200, read_on(child.stdout))
        with Store(path) as store:
            data = recorded(store, run)
            assert len(data) >= CHUNK * acknowledged
            assert data == b"".join(b"%064d" % number for number in range(len(data) // CHUNK))
            assert store.run(run).state is RunState.UNFINISHED
            assert store.run(run).without_verdict == len(sample.HOSTS)


def test_a_run_is_running_as_long_as_its_root_lives(tmp_path: Path) -> None:
    with recording(tmp_path / "runs.db", "alive", 10**9) as child:
        read_on(child.stdout, until=1)
        with Store(tmp_path / "runs.db") as store:
            assert store.run("alive").state is RunState.RUNNING
            child.kill()
            child.wait()
            assert store.run("alive").state is RunState.UNFINISHED


def test_two_runs_are_recorded_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "runs.db"
    with recording(path, "one", 300) as one, recording(path, "two", 300) as two:
        assert read_on(one.stdout) == 300
        assert read_on(two.stdout) == 300
        assert (one.wait(), two.wait()) == (0, 0)
    with Store(path) as store:
        assert len(recorded(store, "one")) == len(recorded(store, "two")) == 300 * CHUNK


def test_a_process_number_alone_proves_nothing() -> None:
    here = process_identity(os.getpid())
    assert is_alive(here)
    boot, space, pid, began = here.split()
    assert not is_alive(f"{boot} {space} {pid} {int(began) + 1}")
    assert not is_alive(f"other-boot {space} {pid} {began}")
    assert not is_alive(f"{boot} pid:[1] {pid} {began}")
    assert not is_alive("")
    assert process_identity(2**22 + 1) == ""


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        named = process_identity(child.pid)
        assert is_alive(named)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(named)
