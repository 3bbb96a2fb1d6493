"""One claim of a host, wherever there is room for it: two memory directories, with room and without."""

from __future__ import annotations

import os
import posix
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, get_ident
from typing import Any

import pytest

from nile.agent import claims
from nile.agent.claims import HELD, NONE, claim

NODE: dict[str, Any] = {"host": "h1", "id": 1}
NAME = f"nile-{os.getuid()}-run-h1"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """Two directories; a directory that isn't there has no room."""
    both = tmp_path / "shm", tmp_path / "user"
    for place in both:
        place.mkdir()
    monkeypatch.setattr(claims, "MEMORY_DIRECTORIES", tuple(map(str, both)))
    yield both
    for fd in _opened:
        os.close(fd)
    _opened.clear()


_opened: list[int] = []


def take(own: Any = lambda path: None) -> tuple[str, str | None]:
    """Claim the host: (trace, where)."""
    trace, path, _, fd = claim("run", NODE, own)
    if fd >= 0:
        _opened.append(fd)
    return trace, path


def test_the_first_with_room_is_taken(places: tuple[Path, Path]) -> None:
    first, second = places
    assert take() == (NONE, str(first / NAME))
    assert take() == (HELD, str(first / NAME))
    assert list(second.iterdir()) == []


def test_one_made_where_there_was_room_is_found_when_there_is_room_elsewhere(
    places: tuple[Path, Path],
) -> None:
    first, second = places
    first.rmdir()
    assert take() == (NONE, str(second / NAME))
    first.mkdir()
    assert take() == (HELD, str(second / NAME))
    assert list(first.iterdir()) == []


def test_no_room_anywhere(places: tuple[Path, Path]) -> None:
    for place in places:
        place.rmdir()
    assert take() == (NONE, None)


def test_one_beside_which_there_is_no_room_is_an_error(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better than a second one elsewhere."""
    first, _ = places
    take()
    made = os.mkdir

    def full(path: Any, mode: int = 0o777) -> None:
        if str(path).startswith(str(first)):
            raise OSError(28, "No space left on device")
        made(path, mode)

    monkeypatch.setattr(posix, "mkdir", full)
    with pytest.raises(OSError, match="No space"):
        take()


def test_of_two_at_the_same_moment_one_gives_way(places: tuple[Path, Path]) -> None:
    """The other one found no room in the first directory, and claims between look and claim."""
    first, second = places
    other: list[tuple[str, str | None]] = []

    def between(_path: str) -> None:
        if not other:
            other.append((NONE, None))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(claims, "MEMORY_DIRECTORIES", (str(second),))
                other.append(take())

    assert take(between) == (HELD, str(second / NAME))
    assert other[1:] == [(NONE, str(second / NAME))]
    assert list(first.iterdir()) == []


def test_of_many_at_the_same_moment_one_has_it(places: tuple[Path, Path]) -> None:
    """For some there is no room in the first directory."""
    count, rounds = 6, 300
    made = os.mkdir
    with ThreadPoolExecutor(count) as pool, pytest.MonkeyPatch.context() as patch:
        for number in range(rounds):
            barrier, poor = Barrier(count), set[int]()

            def full(path: Any, mode: int = 0o777, poor: set[int] = poor) -> None:
                if str(path).startswith(str(places[0])) and get_ident() in poor:
                    raise OSError(28, "No space left on device")
                made(path, mode)

            def one(
                rank: int, number: int = number, barrier: Barrier = barrier, poor: set[int] = poor
            ) -> Any:
                if rank % 2:
                    poor.add(get_ident())
                barrier.wait()
                try:
                    trace, path, _, fd = claim(f"run{number}", NODE, lambda _: None)
                except OSError:
                    return HELD, None  # it came beside one that was just given up: its parent logs in again
                _opened.append(fd)
                return trace, path

            patch.setattr(os, "mkdir", full)
            got = list(pool.map(one, range(count)))
            assert [trace for trace, _ in got].count(NONE) == 1
