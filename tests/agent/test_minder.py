"""What is looked after while a command runs: by a real agent, under the oldest and the newest Python."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nile.agent import minder, wire
from nile.cascade.tasks import EXEC
from tests.agent.parent import BY_AGE, MEMORY, Parent, host_environment

MIB = 1 << 20


@pytest.fixture(params=[BY_AGE[0], BY_AGE[-1]], ids=["oldest", "newest"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Parent]:
    with Parent(host_environment(tmp_path, request.param)) as ready:
        ready.wait_for(wire.HELLO)
        yield ready


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


def test_what_lies_deeper_counts_and_a_file_counts_once(place: Path) -> None:
    (place / "others").write_bytes(bytes(4 * MIB))
    mine = place / "mine"
    (mine / "a/b").mkdir(parents=True)
    (mine / "a/b/file").write_bytes(bytes(2 * MIB))
    os.link(mine / "a/b/file", mine / "again")
    (mine / "elsewhere").symlink_to("/usr")
    assert minder.overfull(str(mine), 2 * MIB - 1)
    assert not minder.overfull(str(mine), 2 * MIB + 65536)


def test_what_others_put_into_that_memory_does_not_count(place: Path) -> None:
    (place / "others").write_bytes(bytes(2 * MIB))
    (place / "mine").mkdir()
    assert not minder.overfull(str(place / "mine"), MIB)


def test_more_files_than_are_counted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minder, "MOST_FILES", 20)
    (place / "others").write_bytes(bytes(2 * MIB))
    (place / "mine").mkdir()
    for number in range(20):
        (place / "mine" / str(number)).touch()
    assert not minder.overfull(str(place / "mine"), MIB)
    (place / "mine" / "one more").touch()
    assert not minder.overfull(str(place / "mine"), MIB), "nobody is ended for their number"


@pytest.mark.parametrize(("took_s", "most"), [(0.0, 10), (0.5, 2)])
def test_nobody_looks_again_at_once(took_s: float, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay's loop turns a hundred times a second; and counting is to be a small part of its work."""
    clock = [100.0]
    looks: list[float] = []

    def overfull(path: str, most: int) -> bool:
        looks.append(clock[0])
        clock[0] += took_s
        return True

    monkeypatch.setattr(minder, "_next_look", [0.0])
    monkeypatch.setattr("nile.agent.minder.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(minder, "overfull", overfull)
    while clock[0] < 109.5:
        before = len(looks)
        assert minder.look("/somewhere", 1) == (len(looks) > before)
        clock[0] += 0.01
    assert most - 1 <= len(looks) <= most + 1


def test_a_scratch_that_was_removed(place: Path) -> None:
    assert not minder.overfull(str(place / "gone"), 0)


def test_who_puts_too_much_into_its_scratch_is_ended(parent: Parent) -> None:
    command = "sleep 600 & echo $!; head -c 3000000 /dev/zero >$NILE_SCRATCH/x; wait"
    result = parent.run(command, scratch=MIB, grace=20.0)
    assert (result["cause"], result["signal"]) == ("scratch", 15)
    assert int(parent.output()) in {pid for pid, _, _ in result["left"]}


def test_who_keeps_within_it_goes_on(parent: Parent) -> None:
    result = parent.run("head -c 3000000 /dev/zero >$NILE_SCRATCH/x; sleep 1.5", scratch=4 * MIB)
    assert (result["cause"], result["rc"]) == (None, 0)


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ({"line": "echo \udcff\u00e9", "script": None}, b"echo \xff\xc3\xa9"),
        ({"line": "", "script": {"data": zlib.compress(b"uptime")}}, b"uptime"),
        ({"line": EXEC, "script": {"data": zlib.compress(b"uptime")}}, b"uptime"),
    ],
)
def test_a_line_of_a_host_with_a_command_of_its_own(own: dict[str, Any], text: bytes) -> None:
    plan = {"shared": {"run": "r1"}, "node": {"host": "n1", **own}}
    told = minder.line({"by": "me@here", "sha256": "of all"}, plan, 7, "start")
    digest = hashlib.sha256(text).hexdigest()
    assert told == f"run=r1 host=n1 by=me@here uid={os.getuid()} pid=7 sha256={digest} start"


def test_whoever_tells_syslog_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none, it isn't one, or it is full."""
    path = tmp_path / "log"
    monkeypatch.setattr(minder, "SYSLOG", str(path))
    minder.say("x")
    path.touch()
    minder.say("x")
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        for number in range(5000):
            minder.say(f"line {number}")
        assert log.recv(1000).endswith(b": line 0")
