"""`down` leaves nothing, whatever befell the lab; and a lab that doesn't come up leaves nothing either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nile.errors import LabError
from nile.lab import BackendName, Lab, LabSpec, down, procs
from nile.lab.teardown import remove_tree
from tests.lab.helpers import DEADLINE_S, eventually, peopled, remains, spaces, ssh, start_ssh, state_of

BACKENDS = [
    pytest.param(BackendName.LOOPBACK, marks=pytest.mark.lab, id="loopback"),
    pytest.param(BackendName.NETNS, marks=pytest.mark.cluster, id="netns"),
]
UP = (
    "import sys; from pathlib import Path; from nile.lab import *; "
    "Lab.up(LabSpec(hosts=int(sys.argv[2]), backend=BackendName(sys.argv[3])), Path(sys.argv[1]), "
    "tied=len(sys.argv) > 4); print('up', flush=True); sys.stdin.read()"
)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "lab"
    down(tmp_path / "lab")


@pytest.fixture
def held() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


def start_up(directory: Path, hosts: int, backend: BackendName, *tied: str) -> subprocess.Popen[bytes]:
    """A process that brings a lab up, prints `up`, and waits."""
    words = [sys.executable, "-c", UP, str(directory), str(hosts), str(backend), *tied]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def finish(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("backend", BACKENDS)
def test_down_leaves_nothing(directory: Path, backend: BackendName, held: ExitStack) -> None:
    lab = Lab.up(LabSpec(hosts=3, backend=backend), directory)
    used = held.enter_context(spaces(directory))
    assert all(used.values()) == (backend is BackendName.NETNS)
    lab.freeze("h001")
    lab.cut("h002")
    visitor = subprocess.Popen(lab.root_argv(["sleep", "1000"]))
    client = start_ssh(lab, "h003", "(setsid sleep 1000 &) ; echo; sleep 1000")
    assert client.stdout is not None
    client.stdout.readline()
    lab.down()
    assert remains(directory) == []
    eventually(lambda: not peopled(used), "nobody is in a namespace of the lab")
    if backend is BackendName.NETNS:
        assert visitor.wait(DEADLINE_S) == -signal.SIGKILL
    finish(visitor)
    finish(client)


@pytest.mark.parametrize("backend", BACKENDS)
def test_down_after_the_supervisor_was_killed(directory: Path, backend: BackendName, held: ExitStack) -> None:
    lab = Lab.up(LabSpec(hosts=3, backend=backend), directory)
    used = held.enter_context(spaces(directory))
    assert ssh(lab, "h001", "(env -i setsid sleep 1000 <&- >/dev/null 2>&1 &)").returncode == 0
    unmarked = [process.pid for process in lab.processes("h001")]
    assert unmarked
    lab.freeze("h001")
    os.kill(lab.supervisor, signal.SIGKILL)
    os.waitpid(lab.supervisor, 0)
    assert down(directory)
    assert remains(directory) == []
    assert not any(state_of(pid) for pid in unmarked)
    eventually(lambda: not peopled(used), "nobody is in a namespace of the lab")


def _mention(directory: Path, name: str) -> bool:
    return (directory / name).exists()


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "claimed": Path.exists,
    "state": lambda directory: _mention(directory, "state.json"),
    "supervised": lambda directory: _mention(directory, "control.sock"),
    "first host": lambda directory: len(procs.marked(directory)) > 2,
    "many hosts": lambda directory: len(procs.marked(directory)) > 12,
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_down_after_up_was_killed_midway(
    directory: Path, backend: BackendName, moment: str, held: ExitStack
) -> None:
    process = start_up(directory, 40, backend)
    try:
        end = time.monotonic() + DEADLINE_S
        while not MOMENTS[moment](directory):
            assert time.monotonic() < end
    finally:
        finish(process)
    used = held.enter_context(spaces(directory))
    assert down(directory)
    assert remains(directory) == []
    eventually(lambda: not peopled(used), "nobody is in a namespace of the lab")


@pytest.mark.lab
@pytest.mark.parametrize("damage", ["", "{", '{"version": 1}', "[]", None])
def test_down_needs_no_readable_state(directory: Path, damage: str | None) -> None:
    Lab.up(LabSpec(hosts=2), directory)
    state = directory / "state.json"
    state.unlink() if damage is None else state.write_text(damage)
    with pytest.raises(LabError) as caught:
        Lab.open(directory)
    assert "nile lab" in str(caught.value.remedy)
    assert down(directory)
    assert remains(directory) == []


@pytest.mark.lab
def test_down_twice_finds_nothing_the_second_time(directory: Path) -> None:
    Lab.up(LabSpec(hosts=1), directory)
    assert (down(directory), down(directory)) == (True, False)


@pytest.mark.lab
def test_down_finds_processes_of_a_lab_whose_files_are_gone(directory: Path) -> None:
    Lab.up(LabSpec(hosts=2), directory)
    remove_tree(directory)
    assert procs.marked(directory)
    assert down(directory)
    assert remains(directory) == []


@pytest.mark.lab
def test_down_removes_what_sessions_made_unwritable(directory: Path) -> None:
    with Lab.up(LabSpec(hosts=1), directory) as lab:
        done = ssh(lab, "h001", "mkdir -p a/b; touch a/b/c; ln -s /etc link; chmod 0 a/b; chmod 0500 a")
        assert done.returncode == 0
    assert remains(directory) == []
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tied_lab_ends_with_its_owner(directory: Path, backend: BackendName) -> None:
    process = start_up(directory, 3, backend, "tied")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
    finally:
        finish(process)
    eventually(lambda: not remains(directory), "the lab is gone")


@pytest.mark.lab
def test_an_interrupted_up_leaves_nothing(directory: Path) -> None:
    process = start_up(directory, 200, BackendName.LOOPBACK)
    try:
        eventually(lambda: _mention(directory, "control.sock"), "the supervisor is there")
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE_S)
        assert remains(directory) == []
    finally:
        finish(process)


@pytest.mark.lab
def test_a_failed_up_says_why_and_leaves_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nile.lab.handle.write_keys", lambda files, spec: None)
    with pytest.raises(LabError) as caught:
        Lab.up(LabSpec(hosts=2), directory)
    assert "h001" in str(caught.value)
    assert remains(directory) == []


@pytest.mark.lab
def test_up_refuses_a_name_that_is_taken(directory: Path) -> None:
    with Lab.up(LabSpec(hosts=1), directory) as lab:
        with pytest.raises(LabError, match="already") as caught:
            Lab.up(LabSpec(hosts=1), directory)
        assert "nile lab down" in str(caught.value)
        assert lab.status()[0].state == "up"


@pytest.mark.cluster
def test_the_name_of_a_held_namespace_goes_to_no_other() -> None:
    def network() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        eventually(lambda: procs.namespace(process.pid, "net") != own, "it has a network of its own")
        return process

    own = procs.namespace(os.getpid(), "net")
    first = network()
    with procs.hold_namespaces([first.pid, first.pid, os.getpid()], "net") as held:
        finish(first)
        others = [network() for _ in range(3)]
        found = {procs.namespace(other.pid, "net") for other in others}
        for other in others:
            finish(other)
    assert len(held) == 1
    assert not held & found
