"""What a worker does with releases when it is told to, and what it answers."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker.naming import LATEST_S
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.releases import Refused
from nile.agent.worker.releasing import Releasing
from nile.agent.worker.removing import remove_tree
from tests.agent.worker.conftest import as_nobody


def asked(releasing: Releasing, do: str, **fields: Any) -> dict[str, Any]:
    return releasing.do({"do": do, **fields})


def delivered(dest: Path, name: str) -> Releasing:
    releasing = Releasing()
    place = releasing.deliver(os.fsencode(dest), b".nile-sync-r", name)
    assert place.take() is None
    place.make_ready(Patterns())
    return releasing


def flip(releasing: Releasing, name: str = "1") -> dict[str, Any]:
    answers = [
        asked(releasing, "seal"),
        asked(releasing, "stage", to=name, run="r", back=False),
        asked(releasing, "flip"),
        asked(releasing, "confirm", keep=None),
    ]
    assert all("code" not in answer for answer in answers), answers
    return answers[-1]


def test_a_delivery_to_its_end(tmp_path: Path) -> None:
    said = flip(delivered(tmp_path, "1"))
    assert (said["current"], said["previous"], said["names"], said["half"]) == ("1", "", ["1"], [])
    made = {"origin": "", "to": "1", "before": "", "run": "r", "done": True, "back": False, "first": ""}
    assert said["flip"] == made
    assert "code" not in asked(Releasing(), "look", dest=os.fsencode(tmp_path), hold=True)  # it is free again


def test_who_stood_still_does_not_flip_by_an_old_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releasing = delivered(tmp_path, "1")
    asked(releasing, "seal")
    asked(releasing, "stage", to="1", run="r", back=False)
    clock = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda number: clock(number) + LATEST_S + 1)
    assert asked(releasing, "flip")["code"] == "release"
    assert not (tmp_path / "current").is_symlink()
    assert (tmp_path / "releases/.nile-flip").exists()


def test_one_run_at_a_time(tmp_path: Path) -> None:
    releasing = delivered(tmp_path, "1")
    asked(releasing, "seal")
    look: dict[str, Any] = {"dest": os.fsencode(tmp_path)}
    said = asked(Releasing(), "look", hold=True, **look)
    assert said["code"] == "busy"
    assert "another run writes there" in said["reason"]
    assert asked(Releasing(), "look", hold=False, **look)["names"] == ["1"]


@pytest.mark.cluster
def test_who_may_not_write_there_is_told(open_path: Path) -> None:
    flip(delivered(open_path, "1"))

    def check() -> None:
        other = Releasing()
        assert asked(other, "look", dest=os.fsencode(open_path), hold=True)["current"] == "1"
        said = asked(other, "settle", how="undo", run="r")
        assert said["code"] == "not-writable"
        assert str(open_path) in said["reason"]

    as_nobody(check)


def test_where_nile_made_nothing_current_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "releases/v1.0").mkdir(parents=True)
    other = Releasing()
    assert asked(other, "look", dest=os.fsencode(tmp_path), hold=True)["names"] == ["v1.0"]
    said = asked(other, "prune", keep=0)
    assert said["code"] == "release"
    assert (tmp_path / "releases/v1.0").is_dir()


def test_one_that_cannot_be_removed_keeps_no_flip_from_being_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "123":
        flip(delivered(tmp_path, name), name)
    releasing = delivered(tmp_path, "4")
    for do, fields in (("seal", {}), ("stage", {"to": "4", "run": "r", "back": False}), ("flip", {})):
        assert "code" not in asked(releasing, do, **fields)

    def fails(path: bytes) -> None:
        if path.endswith(b"-1"):
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        remove_tree(path)

    monkeypatch.setattr("nile.agent.worker.releases.remove_tree", fails)
    said = asked(releasing, "confirm", keep=0)
    assert "code" not in said
    assert said["left"].endswith(".nile-gone-1: Operation not permitted")
    assert said["flip"]["done"] is True
    assert said["names"] == ["4", "3"]  # the other one that isn't kept is gone
    other = Releasing()
    assert asked(other, "look", dest=os.fsencode(tmp_path), hold=True)["current"] == "4"
    assert asked(other, "prune", keep=0)["code"] == "not-writable"  # that is all that was asked for
    monkeypatch.undo()
    assert "code" not in asked(other, "prune", keep=0)
    assert sorted(path.name for path in (tmp_path / "releases").iterdir()) == [
        ".nile-flip",
        ".nile-made",
        "3",
        "4",
    ]


@pytest.mark.parametrize("which", ["releases", "releases/.nile-making-1"])
def test_nothing_is_delivered_through_a_link(tmp_path: Path, which: str) -> None:
    dest, elsewhere = tmp_path / "dest", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (dest / which).parent.mkdir(parents=True)
    (dest / which).symlink_to(elsewhere)
    place = Releasing().deliver(os.fsencode(dest), b".nile-sync-r", "1")
    with pytest.raises(Refused, match="symbolic link"):
        place.take()
    assert list(elsewhere.iterdir()) == []
