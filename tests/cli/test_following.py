"""What a run that is followed says, and leaves, beside its events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from nile.cascade import Outstanding
from nile.cli.background import Leaving
from nile.cli.following import Show, finish
from nile.control import Control
from nile.errors import StoreError, UsageError
from nile.options import Pacing
from nile.store import Store
from tests.report.screens import Caught

PLAIN = {"quiet": True, "as_json": False, "gather": False, "largest_rc": False}


class Engine:
    """Runs nothing."""

    def __init__(self) -> None:
        self.begun = 0

    def events(self, idle_s: float, grace_s: float) -> Iterator[Any]:
        self.begun += 1
        return iter(())

    def interrupt(self, grace_s: float) -> None:
        pytest.fail("nobody ends it")

    def conclude(self) -> None:
        pytest.fail("nobody ends it")

    def limit(self, _: object) -> None:
        pytest.fail("it is no swarm")

    def outstanding(self) -> list[Outstanding]:
        return []

    def steer(self, pacing: Pacing) -> str:
        pytest.fail("nobody steers it")


class Followed:
    """A run whose socket is in `directory`."""

    def __init__(self, store: Store, directory: Path, **given: Any) -> None:
        self.engine, self.caught = Engine(), Caught()
        self.given = {**PLAIN, **given}
        self.show = Show(self.caught.screen, store, "ab12", self.given)
        self._control = Control(directory, "ab12")

    def follow(self) -> None:
        self.show.follow(cast(Any, self.engine), self._control, 1.0)


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    with Store(state) as store:
        yield store


@pytest.fixture
def open_to_all(tmp_path: Path) -> Path:
    """A directory in which there can be no control socket."""
    directory = tmp_path / "control"
    directory.mkdir()
    directory.chmod(0o755)
    return directory


def test_that_nobody_can_ask_it_from_elsewhere_is_said(store: Store, open_to_all: Path) -> None:
    it = Followed(store, open_to_all)
    it.follow()
    text = f"nile: no other terminal can look at this run, or end it: {open_to_all}: others may enter it\n"
    assert it.caught.err.decode() == text
    assert it.engine.begun == 1


def test_nothing_is_said_where_they_can(store: Store, tmp_path: Path) -> None:
    it = Followed(store, tmp_path / "control")
    it.follow()
    assert it.caught.err == b""


def test_one_that_is_to_go_on_by_itself_then_doesnt_begin(store: Store, open_to_all: Path) -> None:
    it = Followed(store, open_to_all, leaving=Leaving(-1, lambda _: Path()))
    with pytest.raises(UsageError, match=r"no other terminal could end it: .*others may enter it"):
        it.follow()
    assert it.engine.begun == 0


@pytest.mark.parametrize("failure", [None, StoreError("the disk is full")])
def test_what_it_showed_is_kept_where_the_store_hasnt_all_of_it(
    store: Store, tmp_path: Path, failure: StoreError | None
) -> None:
    leaving = Leaving(-1, lambda _: Path())
    leaving.into = tmp_path / "log"
    leaving.into.write_text("it went on")
    it = Followed(store, tmp_path / "control", leaving=leaving)
    finish(it.caught.screen, it.show, failure, it.given)
    assert leaving.into.exists() is (failure is not None)


def test_what_never_left_has_nothing_to_forget(store: Store, tmp_path: Path) -> None:
    it = Followed(store, tmp_path / "control", leaving=Leaving(-1, lambda _: Path()))
    assert finish(it.caught.screen, it.show, None, it.given) == 0
