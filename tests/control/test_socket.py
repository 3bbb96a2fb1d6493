"""Both ends of a control socket."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from nile.control import Control, NoAnswerError, RefusedError, Remote, server
from nile.control.server import entered
from nile.control.words import MOST_QUESTION, Status, Stop, line, question
from nile.events import RunStarted
from nile.options import MOST_RATE, Pacing, RateLimits

RUN = "0123456789abcdef0123456789abcdef"


def _control(directory: Path) -> Control:
    control = Control(directory, RUN)
    control.observe([RunStarted(RUN, "uptime", None, ("n1", "n2"), (), at=0.0)])
    return control


def _ignore(_: float) -> None:
    pass


def test_a_run_says_where_it_stands(tmp_path: Path) -> None:
    control = _control(tmp_path / "control")
    with control.serving(_ignore):
        remote = Remote(tmp_path / "control", RUN)
        for _ in range(3):  # again and again
            assert remote.status()["phases"]["out"] == 2
    assert not control.trouble


def test_a_run_is_ended(tmp_path: Path) -> None:
    asked: list[float] = []
    with _control(tmp_path / "control").serving(asked.append):
        Remote(tmp_path / "control", RUN).stop(2.5)
    assert asked == [2.5]


def test_a_swarm_is_told_to_keep_to_other_rates(tmp_path: Path) -> None:
    asked: list[RateLimits] = []
    with _control(tmp_path / "control").serving(_ignore, limit=asked.append):
        Remote(tmp_path / "control", RUN).limit(RateLimits(seed_kib_s=0, rack_kib_s=MOST_RATE))
    assert asked == [RateLimits(0, None, MOST_RATE)]


TOO_MUCH = f'host_kib_s": {MOST_RATE + 1}'
WRONG = ('seed_kib_s": -1', 'rack_kib_s": true', 'host_kib_s": 1.5', 'what": 3', TOO_MUCH)


@pytest.mark.parametrize(
    "rates",
    ["", *(f', "{what}' for what in WRONG)],
)
def test_what_is_no_rate_is_refused(rates: str) -> None:
    with pytest.raises(ValueError, match="nobody here knows"):
        question(f'{{"do": "limit"{rates}}}'.encode())


def test_nothing_is_left_and_nobody_answers_any_more(tmp_path: Path) -> None:
    with _control(tmp_path / "control").serving(_ignore):
        pass
    assert list((tmp_path / "control").iterdir()) == []
    with pytest.raises(NoAnswerError):
        Remote(tmp_path / "control", RUN).status()
    assert "nile-control" not in {thread.name for thread in threading.enumerate()}


def test_only_its_user_can_open_it(tmp_path: Path) -> None:
    with _control(tmp_path / "control").serving(_ignore):
        assert stat.S_IMODE((tmp_path / "control").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "control" / RUN).stat().st_mode) == 0o600


def test_a_directory_that_others_may_enter_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control").chmod(0o755)
    control = _control(tmp_path / "control")
    with control.serving(_ignore):
        assert "others may enter it" in control.trouble
        assert not (tmp_path / "control" / RUN).exists()


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    with _control(directory).serving(_ignore):
        assert Remote(directory, RUN).status()["run"] == RUN


def test_what_a_dead_root_left_gives_way(tmp_path: Path) -> None:
    directory = tmp_path / "control"
    directory.mkdir(mode=0o700)
    left = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    try:
        os.chdir(directory)
        left.bind(RUN)
    finally:
        os.chdir(here)
        left.close()
    with pytest.raises(NoAnswerError):
        Remote(directory, RUN).status()
    with _control(directory).serving(_ignore):
        assert Remote(directory, RUN).status()["run"] == RUN


def test_who_says_nonsense_is_told_so(tmp_path: Path) -> None:
    class Odd(Remote):
        def status(self) -> dict[str, object]:
            return self._ask({"do": "dance"})

    with _control(tmp_path / "control").serving(_ignore):
        with pytest.raises(RefusedError, match="nobody here knows"):
            Odd(tmp_path / "control", RUN).status()
        assert Remote(tmp_path / "control", RUN).status()["hosts"] == 2


def test_who_hangs_up_hinders_nobody(tmp_path: Path) -> None:
    directory = tmp_path / "control"
    with _control(directory).serving(_ignore):
        for said in (b"", b"x" * (2 * MOST_QUESTION), b'{"do": "status"'):
            with socket.socket(socket.AF_UNIX) as connection, entered(directory) as place:
                connection.connect(f"{place}/{RUN}")
                connection.sendall(said)
        assert Remote(directory, RUN).status()["hosts"] == 2


def _connected(directory: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    with entered(directory) as place:
        connection.connect(f"{place}/{RUN}")
    return connection


class _Slow(threading.Thread):
    """Says a byte of no question now and then, until it is hung up on."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection

    def run(self) -> None:
        with self._connection, contextlib.suppress(OSError):
            while not select.select([self._connection], [], [], 0.02)[0]:
                self._connection.send(b" ")


def test_who_asks_byte_by_byte_has_one_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TURN_S", 0.3)
    directory = tmp_path / "control"
    with _control(directory).serving(_ignore):
        slow = _Slow(_connected(directory))
        slow.start()
        assert Remote(directory, RUN).status()["hosts"] == 2
        slow.join(10.0)
        assert not slow.is_alive(), "it was hung up on"


def test_who_asks_byte_by_byte_doesnt_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, came = tmp_path / "control", threading.Event()
    accept = socket.socket.accept

    def accepting(listener: socket.socket) -> tuple[socket.socket, object]:
        came.set()
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", accepting)
    with _control(directory).serving(_ignore):
        slow = _Slow(_connected(directory))
        slow.start()
        assert came.wait(10.0)
        began = time.monotonic()
    assert time.monotonic() - began < server.TURN_S / 2
    slow.join(10.0)
    assert not slow.is_alive()


def test_a_large_answer_is_given_as_it_is_taken(tmp_path: Path) -> None:
    directory, hosts = tmp_path / "control", tuple(f"n{number}" for number in range(20_000))
    control = Control(directory, RUN)
    control.observe([RunStarted(RUN, "uptime", None, hosts, (), at=0.0)])
    with control.serving(_ignore):
        assert len(Remote(directory, RUN).status()["open"]) == 20_000


def test_a_successors_socket_is_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "control"
    with contextlib.ExitStack() as successor:
        with _control(directory).serving(_ignore):
            successor.enter_context(_control(directory).serving(_ignore))
        assert Remote(directory, RUN).status()["hosts"] == 2
    assert list(directory.iterdir()) == []


def test_without_descriptors_it_waits_for_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that can't be accepted is told of again and again."""
    tried: list[float] = []
    accept = socket.socket.accept

    def starved(listener: socket.socket) -> tuple[socket.socket, object]:
        tried.append(time.monotonic())
        if len(tried) <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", starved)
    with _control(tmp_path / "control").serving(_ignore):
        assert Remote(tmp_path / "control", RUN).status()["hosts"] == 2
    pauses = [after - before for before, after in pairwise(tried)]
    assert len(pauses) == 2
    assert min(pauses) >= server.PAUSE_S


def test_questions() -> None:
    assert question(line({"do": "status"})) == Status()
    assert question(line({"do": "stop", "grace_s": 3})) == Stop(3.0)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"do": "stop"}',
        b'{"do": "stop", "grace_s": -1}',
        b'{"do": "stop", "grace_s": NaN}',
        b'{"do": "stop", "grace_s": "1"}',
        b'{"do": "stop", "grace_s": true}',
        b"[" * 3000,
    ],
)
def test_what_is_no_question(said: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|nobody"):
        question(said)


def test_one_that_lasts_comes_to_its_end(tmp_path: Path) -> None:
    asked: list[str] = []
    with _control(tmp_path / "control").serving(_ignore, lambda: asked.append("conclude")):
        Remote(tmp_path / "control", RUN).conclude()
    assert asked == ["conclude"]


def test_its_pace_is_set(tmp_path: Path) -> None:
    asked: list[Pacing] = []

    def steer(pacing: Pacing) -> str:
        asked.append(pacing)
        return "it has no -f" if pacing.fanout else ""

    with _control(tmp_path / "control").serving(_ignore, steer=steer):
        remote = Remote(tmp_path / "control", RUN)
        remote.pace(Pacing(parallel=5))
        remote.pace(Pacing(paused=False))
        with pytest.raises(RefusedError, match="it has no -f"):
            remote.pace(Pacing(fanout=3))
    assert asked == [Pacing(parallel=5), Pacing(paused=False), Pacing(fanout=3)]


def test_what_a_run_cant_do_is_refused(tmp_path: Path) -> None:
    """Rather than called done."""
    with _control(tmp_path / "control").serving(_ignore):
        remote = Remote(tmp_path / "control", RUN)
        asks = (
            remote.conclude,
            lambda: remote.limit(RateLimits(0)),
            lambda: remote.pace(Pacing(paused=True)),
        )
        for ask in asks:
            with pytest.raises(RefusedError, match="can't do that"):
                ask()


@pytest.mark.parametrize(
    "words",
    [
        "",
        '"parallel": 0',
        '"parallel": true',
        '"fanout": 1.5',
        '"paused": 1',
        '"fanout": "3"',
        '"paused": null',
    ],
)
def test_what_is_no_pace(words: str) -> None:
    with pytest.raises(ValueError, match=r"nobody here knows|a number from 1"):
        question(f'{{"do": "pace"{", " * bool(words)}{words}}}'.encode())
