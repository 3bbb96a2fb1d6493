"""Text in a file that is on no disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nile.agent.worker import memory


def test_where_the_system_has_such_files() -> None:
    path = memory.in_memory("a key")
    assert Path(path).read_text() == "a key"
    assert str(Path(path).readlink()).startswith("/memfd:")
    os.close(int(path.rpartition("/")[2]))


def test_before_python_3_8_it_is_on_a_memory_file_system_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(memory, "DIRECTORIES", (str(tmp_path / "nowhere"), str(tmp_path)))
    path = memory.in_memory("a key")
    assert Path(path).read_text() == "a key"
    assert Path(path).stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []
    os.close(int(path.rpartition("/")[2]))


def test_or_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(memory, "DIRECTORIES", (str(tmp_path / "nowhere"),))
    with pytest.raises(OSError, match="no memory file system"):
        memory.in_memory("a key")
