"""Whoever gives names to what an archive brought is killed amid that: the next one ends it.

It is done whole, or not at all.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import placing, plans, receiving, restoring
from nile.agent.worker.dressing import Terms
from nile.agent.worker.place import Place
from nile.agent.worker.placing import Placing
from nile.agent.worker.rsync import Refusal
from nile.agent.worker.trees import Source
from nile.agent.worker.working import WORK
from tests.agent.worker.conftest import NOBODY, as_nobody
from tests.agent.worker.copying import NAME, litter
from tests.agent.worker.taping import Feed
from tests.agent.worker.trees import write
from tests.agent.worker.unpacking import packed, read, same, unpack, well

CALLS = (
    "open", "mkdir", "rename", "link", "unlink", "rmdir", "chmod", "chown", "utime", "setxattr", "removexattr"
)  # fmt: skip
MOST_CALLS = 300
AMID = 18
"""By then some have their names."""
NEXT = b".nile-sync-r2"  # another run


@pytest.fixture
def source(open_path: Path) -> Source:
    """Of each kind one, also at the top, where names are given."""
    top = open_path / "source"
    write(top, "file", "content").chmod(0o640)
    (top / "hard").hardlink_to(top / "file")
    (top / "link").symlink_to("file")
    os.mkfifo(top / "pipe")
    write(top, "open/deep/file", "deep")
    write(top, "closed/file", "closed")
    os.setxattr(top / "closed", "user.colour", b"blue")
    (top / "closed").chmod(0o555)
    os.utime(top / "open", ns=(1, 1_234_567_890_123_456_789))
    os.utime(top, ns=(1, 1_234_567_890_000_000_000))
    for path in (top, *top.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return read(f"{top}/")


def at_call(patch: pytest.MonkeyPatch, at: int, act: Callable[[], object]) -> None:
    """Do this before the so-manieth call that may change anything."""
    left = [at]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                act()
            return call(*args, **options)

        return instead

    for name in CALLS:
        patch.setattr(os, name, counted(getattr(os, name)))


def at_call_of_placing(patch: pytest.MonkeyPatch, at: int, act: Callable[[], object]) -> None:
    """The same, counted from when names are given on."""

    def place(self: Placing, names: list[bytes]) -> None:
        at_call(patch, at, act)
        really(self, names)

    really = Placing.place
    patch.setattr(Placing, "place", place)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(stream: bytes, dest: Path, at: int) -> bool:
    """Unpack it in a child that is killed at its so-manieth call; was it?"""
    receiving.prepare(os.fsencode(dest), NAME)
    pid = os.fork()
    if pid == 0:
        with pytest.MonkeyPatch.context() as patch:
            at_call_of_placing(patch, at, die)
            reader, writer = os.pipe()
            os.write(writer, stream)
            os.close(writer)
            try:
                restoring.restore(reader, os.fsencode(dest), NAME, Terms())
            finally:
                os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def the_next_run_begins(dest: Path) -> None:
    place = Place(os.fsencode(dest), NEXT, True)
    assert place.take() is None
    place.close()


def its_worker_clears_up(dest: Path) -> None:
    receiving.sweep(os.fsencode(dest), NAME)


def as_root(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("user", [as_root, as_nobody])
@pytest.mark.parametrize("then", [the_next_run_begins, its_worker_clears_up])
def test_killed_at_any_moment_it_is_done_whole_or_not_at_all(
    open_path: Path, source: Source, user: Callable[..., None], then: Callable[[Path], None]
) -> None:
    stream = packed(source)
    places = [open_path / f"dest {at}" for at in range(1, MOST_CALLS)]
    for place in places:
        place.mkdir()
        os.chown(place, NOBODY, NOBODY)

    def check() -> None:
        whole = 0
        for at, dest in enumerate(places, 1):
            was_killed = killed(stream, dest, at)
            then(dest)
            assert litter(dest) == [], at
            if list(dest.iterdir()):
                same(source, dest)
                whole += 1
            else:
                assert was_killed
            if not was_killed:
                break
        assert 20 < whole < at < MOST_CALLS

    user(check)


@pytest.mark.parametrize("again", range(1, 60, 4))
def test_whoever_ends_it_may_be_killed_as_well(open_path: Path, source: Source, again: int) -> None:
    dest = open_path / "dest"
    dest.mkdir()
    assert killed(packed(source), dest, AMID)
    assert 0 < len(list(dest.iterdir())) < len(list((open_path / "source").iterdir()))
    pid = os.fork()
    if pid == 0:
        with pytest.MonkeyPatch.context() as patch:
            at_call(patch, again, die)
            the_next_run_begins(dest)
            os._exit(0)
    os.waitpid(pid, 0)
    the_next_run_begins(dest)
    same(source, dest)
    assert litter(dest) == []


def test_told_to_stop_meanwhile_it_is_done_whole(
    open_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = packed(source)
    os.mkfifo(open_path / "told")
    told = os.open(open_path / "told", os.O_RDWR)

    def wait() -> None:
        (open_path / "told").write_text(".")
        signal.pause()

    def stop(feed: Feed) -> None:
        feed.close()
        os.read(told, 1)
        feed.applying.abort()

    at_call_of_placing(monkeypatch, AMID, wait)
    try:
        assert unpack(stream, open_path / "dest", stop).code == "stopped"
    finally:
        os.close(told)
    same(source, open_path / "dest")


def test_what_somebody_else_has_there_by_then_stays(open_path: Path, source: Source) -> None:
    dest = open_path / "dest"
    dest.mkdir()
    assert killed(packed(source), dest, AMID)
    left = {path.name for path in (dest / os.fsdecode(NAME) / os.fsdecode(NAME)).iterdir()}
    assert {"pipe", "open"} <= left
    write(dest, "pipe", "own")
    write(dest, "open/own", "own")
    the_next_run_begins(dest)
    assert (dest / "pipe").read_text() == "own"
    assert [path.name for path in (dest / "open").iterdir()] == ["own"]
    assert litter(dest) == []


@pytest.mark.parametrize("torn", [b"", b"\0", b"\0\0\0\1d", b"\xff" * 100])
def test_what_cannot_be_understood_names_nothing(open_path: Path, torn: bytes) -> None:
    dest = os.fsencode(open_path / "dest")
    receiving.prepare(dest, NAME)
    own = open_path / "dest" / os.fsdecode(NAME)
    write(own, os.fsdecode(NAME) + "/file", "half")
    (own / os.fsdecode(receiving.PLAN)).write_bytes(torn)
    the_next_run_begins(open_path / "dest")
    assert list((open_path / "dest").iterdir()) == []


@pytest.mark.parametrize("whose", ["another's", "open to others"])
def test_nor_what_another_user_has_written(open_path: Path, source: Source, whose: str) -> None:
    dest = open_path / "dest"
    dest.mkdir()
    assert killed(packed(source), dest, AMID)
    before = set(dest.iterdir())
    own = dest / os.fsdecode(NAME)
    if whose == "another's":
        os.chown(own, NOBODY, NOBODY)
    else:
        own.chmod(0o770)
    the_next_run_begins(dest)
    assert set(dest.iterdir()) == before - {own}


@pytest.mark.parametrize("inside", [False, True])
def test_an_empty_directory_that_came_meanwhile_is_not_replaced(
    open_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    """Whoever made it may have it open, or be about to write there."""
    dest = open_path / "dest"
    dest.mkdir()

    def take() -> None:
        (dest / "open").mkdir()
        (dest / "open").chmod(0o750)
        if inside:
            (dest / "open/own").touch()

    really = placing.put_directory

    def put(made: bytes, name: bytes, inner: int, above: int) -> None:
        if name == b"open":
            take()
        really(made, name, inner, above)

    monkeypatch.setattr(placing, "put_directory", put)
    ending = unpack(packed(source), dest)
    assert (ending.code, ending.names) == ("diverged", [b"open"])
    assert [path.name for path in dest.iterdir()] == ["open"]
    assert (dest / "open").stat().st_mode & 0o777 == 0o750


@pytest.fixture
def half(open_path: Path, source: Source) -> Path:
    """Where somebody was killed amid that."""
    dest = open_path / "dest"
    dest.mkdir()
    assert killed(packed(source), dest, AMID)
    assert {"closed"} < named(dest) < named(open_path / "source")
    return dest


def named(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()} - {os.fsdecode(NAME)}


def unnamed(dest: Path) -> set[str]:
    return named(dest / os.fsdecode(NAME) / os.fsdecode(NAME))


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_where_the_disk_fails_what_has_no_place_is_kept(
    half: Path, source: Source, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    left = unnamed(half)
    with monkeypatch.context() as patch:
        for call in ("link", "rename", "mkdir"):
            patch.setattr(os, call, failing)
        with pytest.raises(OSError, match=os.strerror(code)):
            receiving.sweep(os.fsencode(half), NAME)
    assert unnamed(half) == left
    the_next_run_begins(half)
    same(source, half)
    assert litter(half) == []


def test_what_a_disk_kept_back_gets_its_place_with_the_next_try(half: Path, source: Source) -> None:
    """Which has the same run's directory, and brings all of it once more."""
    well(unpack(packed(source), half))
    same(source, half)


def test_a_disk_that_still_fails_then_is_named(
    half: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    left = unnamed(half)
    with monkeypatch.context() as patch:
        for call in ("link", "rename"):
            patch.setattr(os, call, failing)
        with pytest.raises(Refusal) as caught:
            unpack(packed(source), half)
    assert caught.value.reason.endswith(os.strerror(errno.EIO))
    assert unnamed(half) == left


def test_one_whose_placer_is_killed_is_done_all_the_same(
    open_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is given its place by who sees that; before that it comes to nothing."""
    here = os.getpid()

    def die_there() -> None:
        if os.getpid() != here:
            die()

    with monkeypatch.context() as patch:
        at_call_of_placing(patch, AMID, die_there)
        well(unpack(packed(source), open_path / "dest"))
    same(source, open_path / "dest")
    with monkeypatch.context() as patch:
        patch.setattr(Placing, "place", lambda *_: die_there())
        assert unpack(packed(source), open_path / "other").code == "killed"
    assert list((open_path / "other").iterdir()) == []


def test_a_destination_whose_group_is_inherited(open_path: Path, source: Source) -> None:
    """What was made there to get a directory's name is one of ours all the same."""
    dest = open_path / "dest"
    dest.mkdir()
    assert killed(packed(source), dest, AMID)
    dest.chmod(0o2755)
    (dest / "open").mkdir(0o700)
    assert (dest / "open").stat().st_mode & 0o7777 == 0o2700
    the_next_run_begins(dest)
    same(source, dest)


def test_it_counts_as_work(half: Path) -> None:
    left, before = len(unnamed(half)), WORK.done
    placing.finish(os.fsencode(half), NAME)
    assert WORK.done - before >= left > 0


def test_what_has_its_place_is_not_closed_to_others_meanwhile(
    half: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    really = os.chmod

    def chmod(path: Any, mode: int, **how: Any) -> None:
        modes.append(mode)
        really(path, mode, **how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "chmod", chmod)
        the_next_run_begins(half)
    assert placing.OWN not in modes
    assert modes
    same(source, half)


def test_what_has_its_name_by_then_keeps_it(
    half: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was about to lose the other one."""
    own = half / os.fsdecode(NAME) / os.fsdecode(NAME)
    os.link(own / "pipe", half / "pipe", follow_symlinks=False)
    linked = []
    really = os.link

    def link(name: bytes, *rest: Any, **how: Any) -> None:
        linked.append(name)
        really(name, *rest, **how)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link)
        the_next_run_begins(half)
    assert b"pipe" not in linked
    same(source, half)


@pytest.mark.parametrize("what", ["another start of the machine", "long ago"])
def test_what_may_not_be_true_any_more_names_nothing(
    half: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """After a loss of power files may be empty; later on all may be meant otherwise."""
    before = named(half)
    if what == "long ago":
        then = time.time() - plans.LATEST_S - 60
        os.utime(half / os.fsdecode(NAME) / os.fsdecode(receiving.PLAN), (then, then))
    else:
        (half.parent / "boot").write_text("another\n")
        monkeypatch.setattr(plans, "BOOT", str(half.parent / "boot"))
    the_next_run_begins(half)
    assert named(half) == before
