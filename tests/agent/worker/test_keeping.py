"""A host that has it all already and serves that: a real peer, which writes to none of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nile.agent.worker.guarded import Guarded
from nile.agent.worker.messages import CantError
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.scanning import changed_since
from tests.agent.worker.conftest import NOBODY
from tests.agent.worker.copying import a_loop
from tests.agent.worker.test_swarming import SEED, nobody_is_known, same
from tests.agent.worker.test_swarming_private import Private

__all__ = ["nobody_is_known"]  # a fixture
PATHS = [b"big", b"deep/small", b"other"]


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Private]:
    top = tmp_path / "source"
    (top / "deep").mkdir(parents=True)
    (top / "big").write_bytes(os.urandom(2_000_001))
    (top / "deep/small").write_bytes(b"small")
    (top / "other").write_bytes(os.urandom(100_000))
    (tmp_path / "hosts").mkdir()
    with a_loop() as loop:
        made = Private(loop, top, tmp_path / "hosts")
        yield made
        made.end()
        assert not list((tmp_path / "hosts").glob("*/.nile-sync-*"))


def has_it(swarm: Private, host: int) -> Path:
    """A host gets a copy before."""
    shutil.copytree(swarm.top, swarm.dest(host))
    return swarm.dest(host)


def test_it_serves_all_but_the_archive_and_nothing_there_is_touched(swarm: Private) -> None:
    has_it(swarm, 1)
    found = swarm.found(1)
    seed = swarm.seed(limit=50_000)  # it would take it most of a minute
    swarm.join(1, seed, tls=swarm.tls(), keep=True)
    swarm.join(2, swarm.port(11), seed, tls=swarm.tls())
    swarm.until(lambda: swarm.has(12, "complete"))
    same(swarm.top, swarm.dest(2), PATHS)
    swarm.until(lambda: swarm.progress(11)["sent"] > 1_500_000)
    swarm.hosts[1].unpeer({"n": 7, "what": 11})
    assert "code" not in swarm.last(11)
    assert swarm.progress(11)["got"] < 100_000, "it needs the archive alone"
    assert changed_since(found, [(os.fsencode(swarm.dest(1)), b"")], Patterns()) == [b"."], "where it was"


def test_one_that_needs_the_seed_no_more_serves_the_archive_too(swarm: Private) -> None:
    has_it(swarm, 1)
    seed = swarm.seed()
    swarm.join(1, seed, tls=swarm.tls(), keep=True)
    swarm.until(lambda: swarm.progress(11).get("at", 0) == swarm.progress(11).get("whole", 1))
    swarm.root.unpeer({"n": 7, "what": SEED})
    swarm.last(SEED)
    swarm.join(2, swarm.port(11), tls=swarm.tls())
    swarm.until(lambda: swarm.has(12, "complete"))
    same(swarm.top, swarm.dest(2), PATHS)


@pytest.mark.parametrize("language", [None, "C", "C.UTF-8"])
def test_names_are_bytes_whatever_the_language_is(
    swarm: Private, monkeypatch: pytest.MonkeyPatch, language: str | None
) -> None:
    """Without one, as over ssh, Python takes one of UTF-8 for letters alone."""
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    if language is not None:
        monkeypatch.setenv("LANG", language)
    odd = [b"odd \xff", "été".encode()]
    for path in odd:
        (swarm.top / os.fsdecode(path)).write_bytes(path)
    swarm.source.read(False)
    has_it(swarm, 1)
    seed = swarm.seed()
    swarm.join(1, seed, tls=swarm.tls(), keep=True)
    swarm.join(2, swarm.port(11), seed, tls=swarm.tls())
    swarm.until(lambda: swarm.has(12, "complete"))
    same(swarm.top, swarm.dest(2), [*PATHS, *odd])


def test_it_serves_what_was_looked_at_whoever_owns_the_directory(swarm: Private) -> None:
    """Its owner has a link there later, to what is as large and his to read no more than anybody's."""
    deep = has_it(swarm, 1) / "deep"
    os.chown(deep, NOBODY, NOBODY)
    secret = swarm.place / "secret"
    secret.write_bytes(b"shadow"[: len(b"small")])
    seed = swarm.seed()
    swarm.join(1, seed, tls=swarm.tls(), keep=True)
    swarm.until(lambda: swarm.progress(11).get("at", 0) == swarm.progress(11).get("whole", 1))
    (deep / "small").unlink()
    (deep / "small").symlink_to(secret)
    swarm.root.unpeer({"n": 7, "what": SEED})
    swarm.last(SEED)
    swarm.join(2, swarm.port(11), tls=swarm.tls())
    swarm.until(lambda: swarm.has(12, "complete"))
    same(swarm.top, swarm.dest(2), PATHS)
    secret.unlink()


def test_a_file_that_is_a_link_by_now_is_served_by_nobody(swarm: Private) -> None:
    deep = has_it(swarm, 1) / "deep"
    os.chown(deep, NOBODY, NOBODY)
    (deep / "small").unlink()
    (deep / "small").symlink_to("/etc/shadow")
    swarm.make()
    with pytest.raises(OSError, match="symbolic links"):
        swarm.begin(1, tls=swarm.tls(), keep=True)


@contextmanager
def guarded(top: Path) -> Iterator[Guarded]:
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        made = Guarded(fd)
        yield made
        made.close()
    finally:
        os.close(fd)


@pytest.mark.parametrize("whose", ["ours", "another's", "open to all", "below another's"])
def test_a_file_goes_by_its_name_only_where_nobody_else_may_change_that(tmp_path: Path, whose: str) -> None:
    below = tmp_path / "top/a/b"
    below.mkdir(parents=True)
    (below / "file").write_text("content")
    if whose == "open to all":
        below.chmod(0o1777)
    elif whose != "ours":
        os.chown(below if whose == "another's" else below.parent, NOBODY, NOBODY)
    with guarded(tmp_path / "top") as it:
        name = it.name(b"a/b/file")
        below.parent.rename(tmp_path / "elsewhere")
        below.mkdir(parents=True)
        (below / "file").write_text("another")
        assert Path(os.fsdecode(name)).read_text() == ("another" if whose == "ours" else "content")
        assert name.endswith(b"/a/b/file") is (whose == "ours")


def test_no_more_are_held_open_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nile.agent.worker.guarded.MOST_OPEN", 2)
    (tmp_path / "top/a").mkdir(parents=True)
    (tmp_path / "top/a").chmod(0o777)
    for number in range(3):
        (tmp_path / f"top/a/{number}").touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with guarded(tmp_path / "top") as it:
        it.name(b"a/0")
        it.name(b"a/1")
        with pytest.raises(CantError, match="others may change 'a'"):
            it.name(b"a/2")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("how", ["other bytes", "gone", "a byte of the last piece"])
def test_one_whose_copy_differs_says_so_and_changes_nothing(swarm: Private, how: str) -> None:
    big = has_it(swarm, 1) / "big"
    if how == "gone":
        big.unlink()
    else:
        data = bytearray(big.read_bytes())
        data[7 if how == "other bytes" else -1] ^= 1
        big.write_bytes(data)
    before = big.read_bytes() if big.exists() else None
    swarm.make()
    swarm.begin(1, tls=swarm.tls(), keep=True)
    last = swarm.last(11)
    assert (last["code"], "isn't as the source" in last["reason"]) == ("differs", True)
    assert not any("port" in each for each in swarm.said[11])
    assert (big.read_bytes() if big.exists() else None) == before


@pytest.mark.parametrize(("mode", "owner"), [(0o1777, 0), (0o1770, 0), (0o755, NOBODY)])
def test_not_even_right_below_the_top(tmp_path: Path, mode: int, owner: int) -> None:
    """In a sticky directory a file is its owner's to replace."""
    top = tmp_path / "top"
    top.mkdir()
    top.chmod(mode)
    os.chown(top, owner, owner)
    file = top / "file"
    file.write_text("content")
    with guarded(top) as it:
        name = it.name(b"file")
        file.unlink()
        file.symlink_to("/etc/shadow")
        assert Path(os.fsdecode(name)).read_text() == "content"
        with pytest.raises(OSError, match="symbolic links"):
            it.name(b"file")
