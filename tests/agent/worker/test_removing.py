"""Trees that are removed: all of them, nothing beside them, and each entry counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nile.agent.worker import target
from nile.agent.worker.delivery import Delivery
from nile.agent.worker.lock import Lock
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.releases import Releases
from nile.agent.worker.removing import remove_tree
from nile.agent.worker.working import WORK

MANY = 250


def filled(place: Path) -> Path:
    """So many files in it, some further down."""
    (place / "deep/er").mkdir(parents=True)
    for number in range(MANY):
        (place / ("deep/er" if number % 2 else ".") / str(number)).touch()
    return place


def test_nothing_that_a_link_leads_to_is_removed(tmp_path: Path) -> None:
    kept, doomed = filled(tmp_path / "kept"), filled(tmp_path / "doomed")
    (doomed / "deep/link").symlink_to(kept)
    (doomed / "dangling").symlink_to("nowhere")
    os.mkfifo(doomed / "pipe")
    (tmp_path / os.fsdecode(b"doomed/\xff")).mkdir()
    remove_tree(os.fsencode(doomed))
    assert not doomed.exists()
    assert len(list(kept.rglob("*"))) == MANY + 2
    (tmp_path / "link").symlink_to(kept)
    with pytest.raises(OSError, match="link"):
        remove_tree(os.fsencode(tmp_path / "link"))
    assert len(list(kept.rglob("*"))) == MANY + 2


def test_what_cannot_be_removed_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doomed = filled(tmp_path / "doomed")
    unlink = os.unlink

    def fails(name: str, *, dir_fd: int) -> None:
        if name == "1":
            raise PermissionError(1, "Operation not permitted", name)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", fails)
    with pytest.raises(PermissionError) as raised:
        remove_tree(os.fsencode(doomed))
    assert raised.value.filename == os.fsencode(doomed / "deep/er/1")


def prune(dest: Path) -> None:
    for name in "12":
        filled(dest / "releases" / name)
    Releases(os.fsencode(dest)).prune(1)
    assert len(list((dest / "releases").iterdir())) == 1


def clean(dest: Path) -> None:
    filled(dest / ".nile-sync-r0")
    lock = Lock(os.fsencode(dest))
    lock.acquire()
    target.clean(lock)
    lock.release()
    assert list(dest.iterdir()) == []


def take_up(dest: Path) -> None:
    filled(dest / "releases/.nile-making-1/junk")
    delivery = Delivery(os.fsencode(dest), b".nile-sync-r", "1")
    assert delivery.take() is None
    delivery.make_ready(Patterns([b"/junk"]))
    delivery.abandon()
    assert list(dest.rglob("junk")) == []


@pytest.mark.parametrize("remove", [prune, clean, take_up])
def test_each_entry_counts_as_work(tmp_path: Path, remove: Callable[[Path], None]) -> None:
    """Else a worker that removes a large tree from a slow disk would be taken for one that hangs."""
    before = WORK.done
    remove(tmp_path)
    assert WORK.done - before >= MANY
