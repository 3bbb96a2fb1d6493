"""How two trees differ, beside what rsync would do about it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from nile.agent.worker.compare import Difference, compare
from nile.agent.worker.manifest import Entry, Manifest, Terms
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.scanning import scan
from tests.agent.worker.trees import make_all_kinds, write
from tests.agent.worker.values import manifests

ALL = Terms(checksum=True)
EQUAL = Difference([], 0, 0, [], 0, 0, [], 0, 0)
FILE = Entry(b"f", b"f", 0o644, 100, 1_600_000_000_000_000_001, 1000, 100, digest=b"d" * 32)
LINK = FILE._replace(kind=b"l", size=0, digest=b"", target=b"x")
DEVICE = FILE._replace(kind=b"c", size=0, digest=b"", device=259)


def difference(source: list[Entry], target: list[Entry], terms: Terms = ALL, most: int = 1000) -> Difference:
    return compare(Manifest(source, True), Manifest(target, True), terms, most)


@settings(deadline=None)
@given(manifests(), manifests())
def test_nothing_differs_exactly_where_the_fingerprints_are_equal(one: Manifest, other: Manifest) -> None:
    terms = Terms()
    assert compare(one, one, terms) == EQUAL
    assert compare(one, one, terms).equal
    found = compare(one, other, terms)
    if found.equal:
        assert one.fingerprint(terms) == other.fingerprint(terms)
    turned = compare(other, one, terms)
    assert (found.missing, found.missing_bytes) == (turned.extra, turned.extra_bytes)
    assert [path for path, _ in found.changed] == [path for path, _ in turned.changed]


@pytest.mark.parametrize(
    ("one", "field", "value", "what", "moved"),
    [
        (FILE, "kind", b"d", ("kind",), 100),
        (FILE, "size", 7, ("size",), 100),
        (FILE, "mode", 0o600, ("mode",), 0),
        (FILE, "uid", 7, ("owner",), 0),
        (FILE, "gid", 7, ("owner",), 0),
        (FILE, "mtime_ns", 7, ("mtime",), 100),
        (FILE, "digest", b"e" * 32, ("content",), 100),
        (LINK, "target", b"y", ("target",), 0),
        (DEVICE, "device", 260, ("device",), 0),
    ],
)
def test_what_differs_is_named(one: Entry, field: str, value: Any, what: tuple[str, ...], moved: int) -> None:
    found = difference([one], [one._replace(**{field: value})])
    touched = int(one.kind == b"f" and not moved)
    expected = EQUAL._replace(changed=[(b"f", what)], changed_count=1, changed_bytes=moved, touched=touched)
    assert found == expected
    assert not found.equal
    assert found.total_bytes == moved


def test_several_aspects_are_named_in_order() -> None:
    found = difference([FILE], [FILE._replace(size=1, mtime_ns=1, mode=1, uid=1)])
    assert found.changed == [(b"f", ("size", "mode", "owner", "mtime"))]
    assert difference([FILE], [FILE._replace(mtime_ns=1, mode=1)], Terms("none", False, False)) == EQUAL


def test_a_content_that_could_not_be_read_is_never_equal() -> None:
    unknown = FILE._replace(digest=b"")
    assert difference([unknown], [unknown]).changed == [(b"f", ("content",))]
    assert difference([unknown], [unknown], Terms()) == EQUAL
    assert difference([LINK], [LINK]) == EQUAL


def test_lists_are_bounded_and_counts_are_not() -> None:
    many = [FILE._replace(path=b"%d" % number) for number in range(1, 9)]
    found = difference(many, [], most=2)
    assert (found.missing, found.missing_count, found.missing_bytes) == ([b"1", b"2"], 8, 800)
    found = difference([], many, most=2)
    assert (found.extra, found.extra_count, found.extra_bytes) == ([b"1", b"2"], 8, 800)
    found = difference(many, [entry._replace(size=1) for entry in many], most=2)
    assert ([path for path, _ in found.changed], found.changed_count, found.changed_bytes) == (
        [b"1", b"2"],
        8,
        800,
    )


def linked(*paths: str, size: int = 100) -> list[Entry]:
    return [FILE._replace(path=path.encode(), group=min(paths).encode(), size=size) for path in paths]


def test_hard_links_are_compared_among_what_both_have() -> None:
    alone = [FILE._replace(path=path) for path in (b"a", b"b", b"c")]
    assert difference(linked("a", "b", "c"), [*linked("a", "b"), alone[2]]).changed == [(b"c", ("link",))]
    assert difference(linked("a", "b", "c"), linked("b", "c")).changed_count == 0
    assert difference(linked("b", "c"), linked("a", "b", "c")).changed_count == 0
    assert difference(linked("b", "c"), alone).changed == [(b"b", ("link",)), (b"c", ("link",))]
    assert difference(linked("b", "c"), alone, Terms(links=False)).changed_count == 0
    assert difference(linked("a", "b"), [alone[1]]).changed_count == 0


def test_bytes_of_hard_links_are_counted_once() -> None:
    assert difference(linked("a", "b", "c"), []).missing_bytes == 100
    assert difference([], linked("a", "b", "c")).extra_bytes == 100
    assert difference(linked("a", "b"), linked("a", "b", size=1)).changed_bytes == 100
    assert difference(linked("a", "b"), linked("a", size=1)).total_bytes == 100


def test_a_directory_that_would_go_counts_with_all_in_it(tmp_path: Path) -> None:
    write(tmp_path, "dest/d/e/f", "12345")
    write(tmp_path, "dest/d/g", "1")
    write(tmp_path, "src/d", "a file by now")
    found = compare(_scan(tmp_path / "src"), _scan(tmp_path / "dest"), Terms("none", False, False))
    assert found.extra == [b"d/e", b"d/e/f", b"d/g"]
    assert (found.extra_count, found.extra_bytes) == (3, 6)
    assert found.changed == [(b"d", ("kind",))]


def _scan(place: Path) -> Manifest:
    return scan([(os.fsencode(place), b"")], Patterns())


def test_it_tells_what_rsync_would_delete_and_move(tmp_path: Path) -> None:
    make_all_kinds(tmp_path / "src")
    src, dest = tmp_path / "src", tmp_path / "dest"
    options = ["-aHx", "--modify-window=-1", "--delete"]
    subprocess.run(["rsync", *options, f"{src}/", f"{dest}/"], check=True, timeout=30)
    assert compare(_scan(src), _scan(dest), Terms()) == EQUAL
    write(src, "new/one", "x" * 1000)
    (src / "plain").write_text("longer than before")
    (src / "fifo").chmod(0o644)
    write(dest, "old/one", "y")
    shutil.rmtree(src / "dir" / "below")
    found = compare(_scan(src), _scan(dest), Terms())
    dry = ["rsync", "-n", "--itemize-changes", "--stats", *options, f"{src}/", f"{dest}/"]
    said = subprocess.check_output(dry, text=True, timeout=30, env={**os.environ, "LC_ALL": "C"}).splitlines()
    deleting = sorted(line.split()[1].rstrip("/") for line in said if line.startswith("*deleting"))
    assert [os.fsdecode(path) for path in found.extra] == deleting == ["dir/below", "old", "old/one"]
    moved = next(line for line in said if line.startswith("Total transferred file size"))
    assert found.total_bytes == int(moved.split()[4].replace(",", "")) == 1018
    assert [path for path, _ in found.changed] == [b".", b"dir", b"fifo", b"plain"]
    assert found.missing == [b"new", b"new/one"]
    subprocess.run(["rsync", *options, f"{src}/", f"{dest}/"], check=True, timeout=30)
    assert compare(_scan(src), _scan(dest), Terms()) == EQUAL
