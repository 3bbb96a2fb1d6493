"""Swarms on hosts that are directories here: real workers, the real libtorrent, the real rsync."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nile.bootstrap.authority import Authority
from nile.cascade import Neighbours
from nile.events import Code, Verdict
from nile.sync import Method, Paths, Sync, SyncOptions
from tests.agent.worker.trees import make_all_kinds
from tests.cluster.test_sync import tree
from tests.sync.local import DEST, Local, Message

HOSTS = (1, 2, 3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with all that a tree can have, and something large."""
    top = tmp_path / "source"
    make_all_kinds(top)
    (top / "big").write_bytes(os.urandom(2_000_000))
    return top


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "hosts"
    made.mkdir()
    return made


def run(place: Path, source: Path, dies: Any = None, **options: Any) -> Local:
    """Copy by a swarm."""
    what = {"sources": (os.fsencode(source) + b"/",), "dest": DEST, "method": Method.SWARM, **options}
    return Local(
        place,
        len(HOSTS),
        lambda hosts: Sync(
            SyncOptions(**what),
            "r1",
            hosts,
            Paths(Neighbours(lambda *_: "127.0.0.1")),
            lambda: os.urandom(32),
            lambda: b"",
            authority=Authority,
        ),
        dies=dies or (lambda node_id, message: False),
    )


def all_have(it: Local, place: Path, source: Path, hosts: tuple[int, ...] = HOSTS) -> None:
    assert {node_id: each.verdict for node_id, each in it.judged.items()} == dict.fromkeys(HOSTS, Verdict.OK)
    for host in hosts:
        assert tree(place / str(host)) == tree(source)


def test_a_first_delivery(place: Path, source: Path) -> None:
    it = run(place, source)
    all_have(it, place, source)
    said = " ".join(it.notices)
    assert "the swarm served 3 of 3 hosts" in said
    assert "left out" not in said


def test_a_patch_is_all_that_travels(place: Path, source: Path) -> None:
    for host in HOSTS:
        subprocess.run(["cp", "-a", str(source), str(place / str(host))], check=True)
    (source / "big").write_bytes(os.urandom(300_000))
    it = run(place, source, delete=True, max_delete=0)
    all_have(it, place, source)
    text = next(text for text in it.notices if "the swarm served" in text)
    assert "KiB sent" in text


def test_what_the_source_doesnt_have_goes(place: Path, source: Path) -> None:
    (place / "2").mkdir()
    (place / "2" / "old").write_text("old")
    (place / "2" / "big").mkdir()
    it = run(place, source, delete=True, max_delete=5)
    all_have(it, place, source)


def test_a_release(place: Path, source: Path) -> None:
    for host in HOSTS:
        (place / str(host)).mkdir()
    it = run(place, source, release="1", delete=True, max_delete=10**6)
    assert {each.verdict for each in it.judged.values()} == {Verdict.OK}
    for host in HOSTS:
        current = place / str(host) / "current"
        assert tree(current.resolve()) == tree(source)
        assert not list((place / str(host)).rglob(".nile-sync-*"))


def test_a_source_that_changes(place: Path, source: Path) -> None:
    def change(node_id: int, message: Message) -> bool:
        if message["do"] == "torrent":
            (source / "big").write_bytes(b"another")
        return False

    it = run(place, source, change)
    assert {each.code for each in it.judged.values()} == {Code.SOURCE_CHANGED}
    assert all(not list((place / str(host)).iterdir()) for host in HOSTS if (place / str(host)).exists())


def test_the_root_dies_in_the_middle(place: Path, source: Path) -> None:
    it = run(place, source, lambda node_id, message: message["do"] == "unpeer")
    assert it.judged == {}
    assert not list(place.rglob(".nile-sync-*"))
