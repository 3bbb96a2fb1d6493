"""`--outdir`: a file for each host and stream."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nile.errors import UsageError
from nile.events import HostOutput, HostResult, Verdict
from nile.report.outdir import MOST_OPEN, OutDir, file_name


def read(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_each_host_has_its_files(tmp_path: Path) -> None:
    (tmp_path / "n1.out").write_text("of a former run, and longer")
    out = OutDir(tmp_path)
    out.handle(HostOutput("n1", "stdout", 0, b"one "))
    out.handle(HostOutput("n2", "stderr", 0, b"oops\n"))
    out.handle(HostOutput("n1", "stdout", 4, b"two\n"))
    for host, verdict in (("n1", Verdict.OK), ("n2", Verdict.FAILED), ("n3", Verdict.UNREACHABLE)):
        out.handle(HostResult(host, verdict))
    out.finish()
    assert read(tmp_path) == {"n1.out": b"one two\n", "n2.out": b"", "n2.err": b"oops\n"}


def test_only_so_many_files_are_open_at_a_time(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    out = OutDir(tmp_path / "new" / "one")
    hosts = [f"n{number}" for number in range(3 * MOST_OPEN)]
    for offset in (0, 1):
        for host in hosts:
            out.handle(HostOutput(host, "stdout", offset, b"x"))
            assert len(os.listdir("/proc/self/fd")) <= before + MOST_OPEN  # noqa: PTH208
    out.finish()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert set(read(tmp_path / "new" / "one").values()) == {b"xx"}


def test_what_cant_be_written_is_kept_in_mind_and_ends_nothing(tmp_path: Path) -> None:
    out = OutDir(tmp_path)
    (tmp_path / "n1.out").mkdir()
    out.handle(HostOutput("n1", "stdout", 0, b"x"))
    out.handle(HostOutput("n2", "stdout", 0, b"x"))
    out.finish()
    assert isinstance(out.failure, IsADirectoryError)
    assert not (tmp_path / "n2.out").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "n1.out").symlink_to("target")
    out = OutDir(tmp_path)
    out.handle(HostOutput("n1", "stdout", 0, b"x"))
    assert out.failure is not None
    assert (tmp_path / "target").read_text() == "mine"


def test_a_directory_that_cant_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"--outdir .*/file"):
        OutDir(tmp_path / "file")


def test_names() -> None:
    assert file_name("n1.example.org") == "n1.example.org"
    assert file_name("fe80::1%eth0") == "fe80::1%eth0"
    assert file_name("../n/1") == "%2e./n/1".replace("/", "%2f")
    one, other = (file_name("n" * 240 + end) for end in "ab")
    assert one != other
    assert max(len(one), len(other)) < 240
