"""Recordings at the root's worker that can't begin, or are ended: nothing of them stays."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import recording, taping
from nile.agent.worker.loop import Loop
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.recording import FullError
from nile.agent.worker.taping import Tape
from nile.agent.worker.trees import Source
from nile.agent.worker.working import Gone
from tests.agent.worker.chaining import descriptors
from tests.agent.worker.copying import NAME, SECRET, a_loop, installed


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they are spooled."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def tape(loop: Loop) -> Tape:
    """Against nothing."""
    message = {"n": 1, "limit": 0, "secret": SECRET, "temporary": NAME, "peer": None, "dest": b"/x"}
    where = {"address": "", "port": 0, "copy": {}}
    return Tape(loop, installed(), {**message, **where}, Source([], Patterns()), list, lambda _: None)


@pytest.mark.parametrize("what", ["Receive", "Dial"])
def test_a_recording_that_cant_begin_leaves_nothing(
    what: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with a_loop() as loop:
        before, watched, timers = descriptors(), set(loop._ready), len(loop._timers)
        monkeypatch.setattr(getattr(taping, what), "__init__", none)
        with pytest.raises(OSError, match="Too many open files"):
            tape(loop)
        assert (descriptors(), set(loop._ready), len(loop._timers)) == (before, watched, timers)
    assert list(place.iterdir()) == []


def test_a_recording_that_has_no_room_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_loop() as loop:
        before = descriptors()
        monkeypatch.setattr(recording, "RESERVE", 1 << 60)
        with pytest.raises(FullError, match="kept for others"):
            tape(loop)
        assert descriptors() == before
    assert list(place.iterdir()) == []


def test_a_recording_that_is_stopped_says_once_that_it_is_over(place: Path) -> None:
    with a_loop() as loop:
        before, idle = descriptors(), []
        one = tape(loop)
        one.stop(lambda: idle.append(1))
        one.close()
        assert (idle, descriptors()) == ([1], before)
    assert list(place.iterdir()) == []


def test_a_look_at_the_source_that_is_broken_off_leaves_nothing(place: Path) -> None:
    """Whoever wanted it has gone, and the worker that looks is told so."""
    (place / "src").mkdir()
    source = Source([os.fsencode(place / "src")], Patterns())
    source.read(checksum=False)

    def gone() -> list[bytes]:
        raise Gone

    message = {"n": 1, "archive": True, "limit": 0}
    said: list[Any] = []
    idle: list[int] = []
    with a_loop() as loop:
        before = descriptors()
        one = Tape(loop, None, message, source, gone, said.append)
        one._local = tempfile.mkdtemp(dir=os.fsencode(place))  # as where rsync records against nothing
        with pytest.raises(Gone):
            loop.run()
        one.stop(lambda: idle.append(1))
        assert (idle, said[-1]["code"], bool(one._spool.aborted)) == ([1], "stopped", True)
        one.close()
        assert descriptors() == before
    assert [path.name for path in place.iterdir()] == ["src"]


def test_while_nothing_comes_it_is_said_that_somebody_works(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that is slow may have to be looked at for long before there is anything to be sent."""
    monkeypatch.setattr(taping, "LOOK_S", 0.02)
    monkeypatch.setattr(taping, "TOLD_S", 1000.0)
    done = iter(range(1000))
    monkeypatch.setattr(taping, "done_by", lambda _: (next(done) // 5,))
    (place / "src").mkdir()
    source = Source([os.fsencode(place / "src")], Patterns())
    said: list[Any] = []
    with a_loop() as loop:
        one = Tape(loop, None, {"n": 1, "archive": True, "limit": 0}, source, list, said.append)
        way = one._way
        assert isinstance(way, recording.Spooled)
        monkeypatch.setattr(type(way), "pid", 1)
        monkeypatch.setattr(way, "_perhaps_done", lambda: None)

        def look() -> None:
            if len(said) > 2:
                loop.stop()
            else:
                loop.at(loop.now() + 0.01, look)

        look()
        loop.run()
        one.stop(lambda: None)
        one.close()
    assert [(each["written"] >= 0, each["more"]) for each in said] == [(True, True)] * 3


def test_a_stream_goes_no_faster_than_it_may(place: Path) -> None:
    """It is recorded as fast as that goes, and may be sent little by little."""
    (place / "src").mkdir()
    (place / "src/big").write_bytes(os.urandom(100_000))
    source = Source([os.fsencode(place / "src")], Patterns())
    source.read(checksum=False)
    seen: list[tuple[int, float]] = []
    with a_loop() as loop:
        began = loop.now()
        one = Tape(loop, None, {"n": 1, "archive": True, "limit": 200}, source, list, lambda _: None)

        def look() -> None:
            seen.append((one.file.head, loop.now() - began))
            if one.file.total is not None:
                loop.stop()

        one.file.changed.append(look)
        loop.run()
        one.stop(lambda: None)
        one.close()
    assert seen[-1][0] > 100_000
    assert [(head, seconds) for head, seconds in seen if head > 200 * 1024 * seconds] == []
