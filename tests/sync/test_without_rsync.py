"""First deliveries to hosts that are directories here, by real workers: some have no rsync."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nile.bootstrap.identity import make_identity
from nile.cascade import Neighbours
from nile.cascade.tree import Tree
from nile.events import Code
from nile.sync import Method, Paths, Sync, SyncOptions
from tests.agent.parent import BY_AGE
from tests.agent.worker.copying import tree
from tests.agent.worker.trees import make_all_kinds
from tests.sync.local import DEST, Local, Message

RUN = iter(range(1000))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """All that a tree can have, and a file that is more than one message, and more than is withheld."""
    make_all_kinds(tmp_path / "source")
    (tmp_path / "source/big").write_bytes(os.urandom(1 << 20))
    os.setxattr(tmp_path / "source/plain", "user.colour", b"blue")
    return tmp_path / "source"


def nothing(_: int, message: Message) -> bool:
    return False


def sync(
    place: Path,
    source: Path,
    count: int,
    bare: set[int],
    dies: Callable[[int, Message], bool] = nothing,
    python: str = sys.executable,
    **options: Any,
) -> Local:
    what = SyncOptions((os.fsencode(f"{source}/"),), DEST, **{"method": Method.AUTO, **options})
    run = f"run{next(RUN)}"

    def job(hosts: Tree) -> Sync:
        return Sync(
            what, run, hosts, Paths(Neighbours(lambda *_: "127.0.0.1")), lambda: os.urandom(32), make_identity
        )

    return Local(place, count, job, (), dies, bare, python)


def codes(it: Local) -> dict[int, Code | None]:
    return {host: judgement.code for host, judgement in it.judged.items()}


def once(do: str, act: Callable[[], object]) -> Callable[[int, Message], bool]:
    """`act()` when the first one is told that."""
    todo = [act]

    def told(_: int, message: Message) -> bool:
        if message["do"] == do and todo:
            todo.pop()()
        return False

    return told


def copies(place: Path, hosts: int) -> list[dict[bytes, tuple[object, ...]]]:
    return [tree(place / str(host)) for host in range(1, hosts + 1)]


@pytest.mark.parametrize("plain", [False, True])
def test_all_get_the_same_one_way_or_the_other(tmp_path: Path, source: Path, plain: bool) -> None:
    it = sync(tmp_path, source, 5, {1, 3, 5}, plain=plain)
    assert set(codes(it).values()) == {None}
    assert copies(tmp_path, 5) == [tree(source)] * 5
    assert it.notices[0] == "an archive for 5 that have nothing, 3 of them without rsync"
    again = sync(tmp_path, source, 5, {1, 3, 5})
    assert set(codes(again).values()) == {None}, "who needs nothing needs no rsync"
    (source / "plain").write_text("patched")
    patched = sync(tmp_path, source, 5, {1, 3, 5})
    assert codes(patched) == {1: Code.NO_RSYNC, 2: None, 3: Code.NO_RSYNC, 4: None, 5: Code.NO_RSYNC}


@pytest.mark.parametrize("python", [BY_AGE[0], BY_AGE[-1]], ids=["oldest", "newest"])
def test_on_the_oldest_python_and_on_the_latest(tmp_path: Path, source: Path, python: Path) -> None:
    it = sync(tmp_path, source, 2, {1, 2}, python=str(python), checksum=True)
    assert set(codes(it).values()) == {None}
    assert copies(tmp_path, 2) == [tree(source)] * 2


def test_a_release_is_one(tmp_path: Path, source: Path) -> None:
    it = sync(tmp_path, source, 1, {1}, release="one", delete=True, max_delete=0)
    assert codes(it) == {1: None}
    assert tree((tmp_path / "1/current").resolve()) == tree(source)


def test_owners_and_excludes_are_obeyed(tmp_path: Path, source: Path) -> None:
    it = sync(tmp_path, source, 1, {1}, chown="1:2", excludes=(b"/dir", b"b*"))
    assert codes(it) == {1: None}
    there = tmp_path / "1"
    assert {(seen.st_uid, seen.st_gid) for seen in map(Path.lstat, there.iterdir())} == {(1, 2)}
    assert not (there / "dir").exists()
    assert not (there / "big").exists()
    assert (there / "again").read_text() == "content"


def test_a_source_that_changes_harms_nobody(tmp_path: Path, source: Path) -> None:
    it = sync(tmp_path, source, 2, {1, 2}, once("record", lambda: (source / "plain").write_text("other")))
    assert set(codes(it).values()) == {Code.SOURCE_CHANGED}
    for host in (1, 2):
        assert [*(tmp_path / str(host)).rglob("*")] == []


def test_what_came_there_meanwhile_stays(tmp_path: Path, source: Path) -> None:
    it = sync(tmp_path, source, 2, {1, 2}, once("record", lambda: (tmp_path / "2/plain").write_text("own")))
    assert codes(it) == {1: None, 2: Code.COPY}
    assert "something has that name by now (plain)" in it.judged[2].reason
    assert it.judged[2].remedy == "install rsync (3.1 or later) there"
    assert [path.name for path in (tmp_path / "2").rglob("*")] == ["plain"]
    assert (tmp_path / "2/plain").read_text() == "own"


def test_a_root_that_dies_leaves_nothing_on_hosts(tmp_path: Path, source: Path) -> None:
    sync(tmp_path, source, 2, {1, 2}, lambda _, message: message["do"] == "approve")
    for host in (1, 2):
        assert [*(tmp_path / str(host)).rglob("*")] == []
    assert codes(sync(tmp_path, source, 2, {1, 2})) == {1: None, 2: None}


def test_nobody_joins_who_has_no_secret(tmp_path: Path, source: Path) -> None:
    """Whoever finds the port of a host that waits is turned away; the host gets its archive."""

    def intrude(_: int, message: Message) -> bool:
        if message["do"] == "serve":
            with socket.create_connection((message["address"], message["port"]), 5) as other:
                other.sendall(b"H" + bytes(200))
        return False

    it = sync(tmp_path, source, 1, {1}, intrude)
    assert codes(it) == {1: None}
    assert tree(tmp_path / "1") == tree(source)
