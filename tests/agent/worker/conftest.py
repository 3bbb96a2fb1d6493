"""Places that tests of workers share: for another user, and a file system of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NOBODY = 65534


def as_nobody(check: Callable[[], None]) -> None:
    """Run this in a child as another user; it fails with what the child says."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            check()
            os._exit(0)
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-4000:])
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    assert os.waitpid(pid, 0)[1] == 0, text


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that other users can get to; every start of pytest shuts them out of its own ones."""
    with tempfile.TemporaryDirectory(prefix="nile-test-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of its own."""
    place = tmp_path / "mounted here"
    place.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "none", place], check=True, timeout=20
    )
    yield place
    subprocess.run(["umount", "-l", place], check=True, timeout=20)
