"""A recording of nothing but what is known to differ, done to copies by the real rsync."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nile.agent.worker.manifest import Terms
from nile.agent.worker.patterns import Patterns
from nile.agent.worker.scanning import scan
from nile.agent.worker.trees import MOST_PATHS_BYTES, Source, differences
from tests.agent.worker.taping import apply, clone, record
from tests.agent.worker.test_pushing import FULLY, files

ODD = ["#no comment", "; nor this", "new\nline", os.fsdecode(b"not utf-8 \xff"), " spaces ", "-n"]
LISTED = {**FULLY, "delete": False, "listed": True, "whole": True}


def looked_at(*paths: Path | bytes, slash: bool = True) -> Source:
    """The source that this is."""
    source = Source([os.fsencode(path) + b"/" * slash for path in paths], Patterns())
    source.read(checksum=False)
    return source


def named(source: Source, host: Path) -> bytes:
    """All that differs there, as a host says it and the root takes it."""
    found = scan([(os.fsencode(host), b"")], Patterns())
    paths = differences(source.manifest, found, Terms())["paths"]
    assert paths
    return source.named(paths)


def patched(tmp_path: Path) -> tuple[Path, Path]:
    """A copy, and a source that has changed in every way since."""
    many = {f"d{number % 7}/f{number}": b"%d" % number for number in range(200)}
    source = files(tmp_path / "src", {**many, **dict.fromkeys(ODD, b"old"), "links/a": b"1", "was": b"file"})
    os.link(source / "links/a", source / "links/b")
    host = clone(source, "host")
    for name in [*ODD, "d3/f3", "links/a"]:
        (source / name).write_bytes(b"the new content")
    os.link(source / "links/a", source / "links/c")
    files(source / "new" / "deep", {"x": b"x", "empty": b""})
    (source / "new" / "link").symlink_to("deep/x")
    (source / "was").unlink()
    (source / "was").symlink_to("links")
    (source / "d4").chmod(0o700)
    (source / "d5/f5").chmod(0o600)
    os.utime(source / "d6", ns=(1, 1))
    return source, host


def equal(source: Path, host: Path) -> bool:
    """Whether the manifests are."""
    terms = Terms()
    return scan([(os.fsencode(source), b"")], Patterns()).fingerprint(terms) == scan(
        [(os.fsencode(host), b"")], Patterns()
    ).fingerprint(terms)


def test_what_differs_is_enough_for_all_that_had_the_same(tmp_path: Path) -> None:
    source, host = patched(tmp_path)
    other = clone(host, "other")
    # Attributes of directories may be others on each host that has the same files.
    os.utime(other / "d1", ns=(5, 5))
    tape = record(source, host, names=named(looked_at(source), host), **LISTED)
    for copy in (host, other):
        assert apply(tape.stream, copy, **LISTED).code == ""
        assert equal(source, copy)


def test_only_what_is_named_is_in_it(tmp_path: Path) -> None:
    source, host = patched(tmp_path)
    names = looked_at(source).named(b"d3/f3")
    assert b"./d3/f3\0" in names
    assert b"f5\0" not in names
    tape = record(source, host, names=names, **LISTED)
    assert apply(tape.stream, host, **LISTED).code == ""
    assert (host / "d3/f3").read_bytes() == b"the new content"
    assert (host / "#no comment").read_bytes() == b"old"
    assert len(tape.stream) < len(record(source, clone(host, "again"), **{**LISTED, "listed": False}).stream)


def test_a_host_that_names_what_isnt_the_sources_gets_none_of_it(tmp_path: Path) -> None:
    source, _ = patched(tmp_path)
    (tmp_path / "secret").write_text("not yours")
    names = looked_at(source).named(b"../secret\0/etc/passwd\0d3/f3\0d3/../../secret\0./was")
    assert [name for name in names.split(b"\0") if not name.startswith((b"./d", b"./new", b"./links"))] == [
        b""
    ]


def test_a_name_that_is_linked_brings_the_others(tmp_path: Path) -> None:
    source, _ = patched(tmp_path)
    names = looked_at(source).named(b"links/c").split(b"\0")
    assert {b"./links/a", b"./links/b", b"./links/c"} <= set(names)


@pytest.mark.parametrize("slash", [True, False])
def test_a_directory_itself_is_named_below_the_one_that_it_is_in(tmp_path: Path, slash: bool) -> None:
    tree = files(tmp_path / "tree", {"a": b"1", "d/b": b"2"})
    source = looked_at(tree, slash=slash)
    assert source.base == os.fsencode(tree if slash else tmp_path) + b"/"
    for name in source.named(b"tree/d/b\0d/b").split(b"\0"):
        assert os.path.lexists(source.base + name)
    assert (b"./d/b" if slash else b"./tree/d/b") in source.named(b"tree/d/b\0d/b").split(b"\0")


def test_sources_of_several_directories_have_no_base(tmp_path: Path) -> None:
    files(tmp_path / "one" / "x", {"a": b"1"})
    files(tmp_path / "two" / "y", {"a": b"1"})
    assert looked_at(tmp_path / "one" / "x", tmp_path / "two" / "y", slash=False).base == b""
    assert looked_at(tmp_path / "one" / "x", tmp_path / "one" / "x" / "a", slash=False).base == b""
    assert looked_at(tmp_path / "one", tmp_path / "two", slash=False).base == os.fsencode(tmp_path) + b"/"


def test_the_root_directory_has_a_base() -> None:
    assert Source([b"/"], Patterns()).base == b"/"
    assert Source([b"/etc"], Patterns()).base == b"/"


def test_too_much_to_be_named_isnt(tmp_path: Path) -> None:
    length = 200
    count = MOST_PATHS_BYTES // (length + 1) + 1
    long = {f"{number:0{length}}": b"" for number in range(count)}
    source = looked_at(files(tmp_path / "src", long))
    host = files(tmp_path / "host", {})
    found = scan([(os.fsencode(host), b"")], Patterns())
    assert differences(source.manifest, found, Terms())["paths"] == b""
    (tmp_path / "src" / f"{0:0{length}}").unlink()
    fewer = looked_at(tmp_path / "src")
    assert len(differences(fewer.manifest, found, Terms())["paths"].split(b"\0")) == count
