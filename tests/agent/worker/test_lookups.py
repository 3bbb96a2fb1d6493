"""Many names: what is found of each, and what isn't."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from nile.agent import processes
from nile.agent.worker import lookups
from nile.agent.worker.lookups import EACH, LookUps, is_address, is_ours
from nile.agent.worker.loop import Loop
from tests.agent.worker.copying import a_loop

NOWHERE = "nowhere.invalid"


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


def look_up(loop: Loop, names: list[str]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}

    def found(name: str, addresses: list[str]) -> None:
        assert name not in known
        known[name] = addresses
        if len(known) == len(set(names)):
            loop.stop()

    it = LookUps(loop, names, found)
    before = it.left
    loop.run()
    assert (before, it.left) == (True, False)
    return known


def test_each_is_found_once_and_one_that_leads_nowhere_has_none(loop: Loop) -> None:
    found = look_up(loop, ["localhost", "192.0.2.1", NOWHERE, "fd00::1", "localhost", "-x"])
    assert found.pop("localhost")[0] in ("127.0.0.1", "::1")
    assert found == {"192.0.2.1": ["192.0.2.1"], "fd00::1": ["fd00::1"], NOWHERE: [], "-x": []}


def test_there_may_be_more_than_one_process_takes(loop: Loop) -> None:
    numbers = range(1, 3 * EACH)
    names = [f"127.{number}" for number in numbers]  # which need no name server
    assert look_up(loop, names) == {f"127.{number}": [f"127.0.0.{number}"] for number in numbers}


def test_where_no_process_can_be_started_nothing_is_found(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(processes, "spawn", none)
    assert look_up(loop, ["localhost", NOWHERE]) == {"localhost": [], NOWHERE: []}


def test_one_that_is_closed_says_nothing(loop: Loop) -> None:
    it = LookUps(loop, ["192.0.2.1", "localhost"], lambda *_: pytest.fail("it says something"))
    it.close()

    def found(*_: object) -> None:
        other.close()
        loop.stop()

    other = LookUps(loop, ["localhost", NOWHERE], found)
    loop.run()
    assert not other.left


def test_no_process_outlives_it(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups, "_LOOK_UP", "import time; print(flush=True); time.sleep(600)")
    it = LookUps(loop, ["localhost"], lambda *_: pytest.fail("it says something"))
    loop.at(loop.now() + 0.1, it.close)
    pids: list[int] = []
    child = loop.child

    def begun(pid: int, ended: Callable[[int | None, int | None], None]) -> None:
        def over(status: int | None, number: int | None) -> None:
            ended(status, number)
            pids.append(pid)
            loop.stop()

        child(pid, over)

    monkeypatch.setattr(loop, "child", begun)
    loop.run()
    assert pids, "it was waited for in vain"


def test_addresses_and_which_of_them_are_ours() -> None:
    assert [is_address(each) for each in ("10.0.0.1", "::1", "10.1", "localhost", "a\0b")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert is_ours("127.0.0.1")
    assert not is_ours("192.0.2.1")
