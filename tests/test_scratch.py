"""Where tests have their files: decided by what there is, and gone afterwards."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.scratch import GIB, Found, available_b, is_fit, limits_b, looked_at, make

ROOMY = Found(free_b=4 * GIB, available_b=8 * GIB)


def test_memory_is_taken_where_it_has_room() -> None:
    assert is_fit(ROOMY)
    assert is_fit(replace(ROOMY, limit_b=8 * GIB))


@pytest.mark.parametrize(
    "lacks",
    [
        {"free_b": 4 * GIB - 1},
        {"available_b": 8 * GIB - 1},
        {"limit_b": 8 * GIB - 1},
        {"executable": False},
        {"attributes": False},
    ],
)
def test_and_not_where_anything_is_lacking(lacks: dict[str, Any]) -> None:
    assert not is_fit(replace(ROOMY, **lacks))


def test_what_is_available_is_what_the_kernel_says() -> None:
    assert available_b("MemTotal:  24684084 kB\nMemAvailable:    2048 kB\n") == 2 << 20
    assert available_b("MemTotal:  24684084 kB\n") == 0, "an old kernel: nobody knows"


def test_limits_are_those_of_all_groups_above(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/memory.max").write_text("max\n")
    (tmp_path / "a/memory.max").write_text("5000\n")
    (tmp_path / "memory.max").write_text("7000\n")
    assert list(limits_b(tmp_path, "0::/a/b\n")) == [5000, 7000]
    assert list(limits_b(tmp_path / "a/b", "0::/\n")) == []


def test_limits_of_the_first_version_are_its_memory_controllers(tmp_path: Path) -> None:
    (tmp_path / "memory/a").mkdir(parents=True)
    (tmp_path / "memory/a/memory.limit_in_bytes").write_text("5000\n")
    assert list(limits_b(tmp_path, "3:cpu,cpuacct:/a\n2:memory:/a\n0::/a\n")) == [5000]


def test_it_is_looked_at(tmp_path: Path) -> None:
    seen = looked_at(tmp_path)
    assert seen.free_b > 0
    assert seen.available_b > 0
    assert seen.executable
    assert list(tmp_path.iterdir()) == []


def test_the_directory_is_for_any_user_and_its_name_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.scratch.is_fit", lambda found: True)
    made = make(tmp_path)
    assert made is not None
    assert made.stat().st_mode & 0o7777 == 0o1777
    assert len(made.name) <= 10
    assert os.listdir(tmp_path) == [made.name]  # noqa: PTH208


def test_without_a_place_in_memory_there_is_none(tmp_path: Path) -> None:
    assert make(tmp_path / "not there") is None
