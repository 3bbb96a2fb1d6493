"""What is left out is what rsync leaves out: a tree of awkward names, many patterns, and the real rsync."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nile.agent.worker.patterns import Patterns

FILES = [
    b"a",
    b"b",
    b"ab",
    b"a.o",
    b"a-b",
    b"-",
    b"]",
    b"[",
    b"!",
    b"*",
    b"\\",
    b"a\\b",
    b"a\nb",
    b"\xff",
    b"A1",
]
DIRECTORIES = [b"d", b"ba", b"a b", b"b*", b"d.o"]


def _fill(directory: bytes, depth: int) -> None:
    for name in FILES:
        Path(os.fsdecode(directory + b"/" + name)).touch()
    for name in DIRECTORIES[: 5 - 2 * depth] if depth else DIRECTORIES:
        os.mkdir(directory + b"/" + name)  # noqa: PTH102 - bytes
        if depth < 2:
            _fill(directory + b"/" + name, depth + 1)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = os.fsencode(tmp_path_factory.mktemp("patterns"))
    _fill(root, 0)
    return root


def rsync_takes(tree: bytes, patterns: list[bytes]) -> set[bytes]:
    """What rsync would copy of it: paths, those of directories too."""
    argv = [b"rsync", b"-an", b"--out-format=%n", *(b"--exclude=" + pattern for pattern in patterns)]
    argv += [tree + b"/", tree + b"-never"]
    done = subprocess.run(
        argv, capture_output=True, timeout=30, check=True, env={**os.environ, "LC_ALL": "C"}
    )
    lines = [
        re.sub(rb"\\#(\d{3})", lambda m: bytes([int(m[1], 8)]), line) for line in done.stdout.splitlines()
    ]
    return {line.removesuffix(b"/") for line in lines} - {b"."}


def nile_takes(tree: bytes, patterns: list[bytes]) -> set[bytes]:
    own = Patterns(patterns)
    taken = set()
    left = [b""]
    while left:
        below = left.pop()
        for entry in os.scandir(tree + b"/" + below):
            path = below + entry.name
            if not own.excludes(path, entry.is_dir()):
                taken.add(path)
                if entry.is_dir():
                    left.append(path + b"/")
    return taken


BRACKETS = rb"""
[ab] [!a] [^a] []] [!]] [a-d] [a-] [-a] [!!] [*] [**] [/] [[a] [[-] [a:] [[:] [[:a] [d-a] [a-a-d]
[\]a] [a\-b] [\\] [\a-\d] [[:alpha:]] [![:alnum:]] [[:digit:][:punct:]] [[:space:]] [[:cntrl:]] [[:upper:]-z]
""".split()
PIECES = rb"* ** *** ? / /*** /**/ a b d o . ab ba \ \* \b \\ \/ ! ] A - +".split()
pieces = st.sampled_from([*PIECES, b" ", b"\n", b"\xff"]) | st.sampled_from([*BRACKETS, b"[\xfe-\xff]"])
patterns = st.lists(pieces, min_size=1, max_size=6).map(b"".join)


def _good(pattern: bytes) -> bool:
    try:
        Patterns([pattern])
    except ValueError:
        return False
    return True


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(patterns.filter(_good), min_size=1, max_size=2))
@example([b"d"])
@example([b"d/"])
@example([b"/d"])
@example([b"/a"])
@example([b"d/a"])
@example([b"/d/a"])
@example([b"d/d/"])
@example([b"*.o"])
@example([b"d*/"])
@example([b"*/"])
@example([b"d/*/a"])
@example([b"/d/**/a"])
@example([b"**/a"])
@example([b"/**/a"])
@example([b"d/**"])
@example([b"d/***"])
@example([b"/d/***"])
@example([b"a/***"])
@example([b"d/***/"])
@example([b"d**a"])
@example([b"d**"])
@example([b"***"])
@example([b"a\\b"])
@example([b"a\\b*"])
@example([b"a\\\\b*"])
@example([b"\\*"])
@example([b"b\\*/[a]"])
@example([b"d//a"])
@example([b"d//"])
@example([b"./a"])
@example([b"."])
@example([b"a?b"])
@example([b"d?a"])
@example([b"/d*a"])
@example([b"/d?a"])
@example([b"[[:a]"])
@example([b"[!x]"])
@example([b"d[/]a"])
@example([b"d[!x]a"])
@example([b"A[[:digit:]]"])
@example([b"!a"])
@example([b"-"])
@example([b"+"])
@example([b"a", b"d"])
def test_the_same_is_left_out_as_by_rsync(tree: bytes, chosen: list[bytes]) -> None:
    assert nile_takes(tree, chosen) == rsync_takes(tree, chosen)


def test_nothing_is_left_out_without_patterns(tree: bytes) -> None:
    assert nile_takes(tree, []) == rsync_takes(tree, [])
    assert len(nile_takes(tree, [])) > 200


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (b"", "excludes nothing"),
        (b"/", "excludes nothing"),
        (b"//", "excludes nothing"),
        (b"+ a", "filter rule"),
        (b"- a", "filter rule"),
        (b"!", "filter rule"),
        (b"a\0b", "NUL"),
        (b"a" * 4096, "4095 bytes"),
        (b"a[b", r"\[ without its \]"),
        (b"[]", r"\[ without its \]"),
        (b"[a\\", r"\[ without its \]"),
        (b"[[:alpha:", r"\[ without its \]"),
        (b"[[:letter:]]", "class of characters"),
        (b"[[::]]", "class of characters"),
        (b"*\\", "backslash"),
    ],
)
def test_a_pattern_that_is_no_good_is_refused(pattern: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Patterns([b"fine", pattern])


def test_what_is_refused_would_have_left_out_nothing_in_rsync_or_is_a_rule(tree: bytes) -> None:
    everything = rsync_takes(tree, [])
    for pattern in (
        b"",
        b"/",
        b"//",
        b"a[b",
        b"[]",
        b"[a\\",
        b"[[:alpha:",
        b"[[:letter:]]",
        b"[[::]]",
        b"*\\",
        b"+ a",
    ):
        assert rsync_takes(tree, [pattern]) == everything, pattern
