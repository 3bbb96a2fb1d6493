"""What of a source changed since its manifest was taken: whatever was written, however soon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nile.agent.worker import scanning
from nile.agent.worker.manifest import Entry, Manifest
from nile.agent.worker.messages import CantError
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.scanning import changed_since, scan
from nile.agent.worker.trees import Source
from nile.agent.worker.working import WORK
from tests.agent.worker.trees import by_path, top, write

NONE = Patterns()


@pytest.fixture
def taken(tmp_path: Path) -> tuple[Path, Manifest]:
    root = tmp_path / "t"
    for name in ("d/f", "d/g", "h"):
        write(root, name, "content")
    (root / "l").symlink_to("h")
    return root, scan(top(root), NONE, source=True)


def test_what_stays_as_it_was_is_no_change(taken: tuple[Path, Manifest]) -> None:
    root, manifest = taken
    (root / "h").read_text()
    assert changed_since(manifest, top(root), NONE) == []


def test_an_edit_that_keeps_size_and_time_is_a_change(taken: tuple[Path, Manifest]) -> None:
    root, manifest = taken
    times = (root / "h").stat()
    with (root / "h").open("r+") as file:
        file.write("CONTENT")
    os.utime(root / "h", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert changed_since(manifest, top(root), NONE) == [b"h"]


def test_what_appears_vanishes_or_is_replaced_is_a_change(taken: tuple[Path, Manifest]) -> None:
    root, manifest = taken
    (root / "d" / "g").unlink()
    write(root, "d/new")
    (root / "l").unlink()
    (root / "l").symlink_to("x")
    assert changed_since(manifest, top(root), NONE) == [b".", b"d", b"d/g", b"d/new", b"l"]
    assert changed_since(manifest, top(root), Patterns([b"new"])) == [b".", b"d", b"d/g", b"l"]


def test_what_is_left_out_may_change(tmp_path: Path) -> None:
    write(tmp_path, "d/f.o", "content")
    manifest = scan(top(tmp_path), Patterns([b"*.o"]), source=True)
    (tmp_path / "d" / "f.o").write_text("other")
    assert changed_since(manifest, top(tmp_path), Patterns([b"*.o"])) == []


def test_a_source_that_was_written_to_a_moment_ago_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes within one tick of the kernel's clock leave the same time: the second one has to be seen."""
    write(tmp_path, "f", "1")
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            (tmp_path / "f").write_text("22")
            (tmp_path / "gone").unlink()
        time_sleep(seconds)

    write(tmp_path, "gone")
    time_sleep = time.sleep
    monkeypatch.setattr(time, "sleep", sleep)
    manifest = scan(top(tmp_path), NONE, source=True)
    assert by_path(manifest)[b"f"].size == 2
    assert manifest.unreadable == [(b"gone", "No such file or directory")]
    assert slept in ([scanning.TICK_S], [scanning.TICK_S] * 2)
    slept.clear()
    time_sleep(3 * scanning.TICK_S)
    assert changed_since(manifest, top(tmp_path), NONE) == []
    scan(top(tmp_path), NONE, source=True)
    assert slept == []


def test_a_manifest_from_elsewhere_tells_no_changes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="marks"):
        changed_since(Manifest([Entry(b"a", b"f", 0, 0, 0, 0, 0)]), top(tmp_path), NONE)


def test_a_source_that_no_host_would_take_is_refused_before_all_of_it_was_looked_at(tmp_path: Path) -> None:
    for number in range(10):
        for name in "abcd":
            write(tmp_path, f"{number}/{name}", "")
    source = Source([os.fsencode(tmp_path)], NONE)
    source.read(checksum=False, most=51)  # and the directories
    before = WORK.done
    with pytest.raises(CantError, match="more than 10 files and directories") as raised:
        source.read(checksum=False, most=10)
    assert "--repos" in raised.value.fields["remedy"]
    assert WORK.done - before < 60  # each is listed, and then looked at
