"""Which rsync there is, its words, and what its end means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nile.agent import wire
from nile.agent.worker import rsync as rsyncs
from nile.agent.worker.rsync import Copy, Refusal, Rsync, client_argv, server_argv, understand
from nile.agent.worker.running import MOST_NAMES, MOST_WORDS, Words, ending
from tests.agent.worker.copying import NAME, installed

HEAD = b"rsync  version %s  protocol version %d\nCopyright (C) 1996-2022 by Andrew Tridgell, and others.\n"
OLD = (
    HEAD % (b"3.1.3", 31)
    + b"Capabilities:\n    64-bit files, no symtimes,\n    hardlinks, no ACLs, xattrs, iconv\n\nrsync comes\n"
)
NEW = (
    HEAD % (b"v3.4.1", 32)
    + b"Capabilities:\n    hardlinks, ACLs, no xattrs\nOptimizations:\n    no SIMD, xattrs\n"
)


def known(version: tuple[int, int, int] = (3, 2, 7)) -> Rsync:
    found = understand("/usr/bin/rsync", HEAD % (b"%d.%d.%d" % version, 31))
    assert isinstance(found, Rsync)
    return found


def program(path: Path, script: str) -> str:
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return str(path)


# What there is


def test_the_one_that_is_installed_is_found() -> None:
    found = installed()
    assert Path(found.path).is_absolute()
    assert found.version >= (3, 1, 0)
    assert found.protocol >= 31
    assert {"hardlinks", "xattrs"} <= found.has


def test_what_it_says_of_itself() -> None:
    old, new = understand("/a", OLD), understand("/b", NEW)
    assert isinstance(old, Rsync)
    assert isinstance(new, Rsync)
    assert (old.path, old.version, old.protocol) == ("/a", (3, 1, 3), 31)
    assert old.has == {"64-bit files", "hardlinks", "xattrs", "iconv", "modify-window-ns"}
    assert new.version == (3, 4, 1)
    assert new.has == {"hardlinks", "ACLs", "modify-window-ns", "mkpath", "old-args"}


@pytest.mark.parametrize(
    ("version", "parsed"), [(b"3.2.0pre2", (3, 2, 0)), (b"3.3", (3, 3, 0)), (b"3.4.2-dev", (3, 4, 2))]
)
def test_odd_versions(version: bytes, parsed: tuple[int, int, int]) -> None:
    found = understand("/a", HEAD % (version, 31))
    assert isinstance(found, Rsync)
    assert found.version == parsed


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(b"", "no-rsync", id="silent"),
        pytest.param(b"openrsync: protocol version 29\n", "no-rsync", id="openrsync"),
        pytest.param(HEAD % (b"3.0.9", 30), "old-rsync", id="old"),
    ],
)
def test_what_wont_do_is_refused_with_a_remedy(said: bytes, code: str) -> None:
    found = understand("/a", said)
    assert isinstance(found, Refusal)
    assert (found.code, found.remedy) == (code, rsyncs.REMEDY)


def test_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rsync").write_text("not a program")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = rsyncs.probe()
    assert isinstance(found, Refusal)
    assert found.code == "no-rsync"
    for path in (tmp_path / "nowhere", tmp_path / "rsync"):
        assert isinstance(rsyncs.probe(str(path)), Refusal)


def test_one_that_hangs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rsyncs, "LATEST_QUESTION_S", 0.1)
    found = rsyncs.probe(program(tmp_path / "rsync", "exec sleep 60\n"))
    assert isinstance(found, Refusal)
    assert "doesn't answer" in found.reason


def test_the_first_of_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "rsync").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    program(tmp_path / "b" / "rsync", "echo 'rsync  version 3.9.9  protocol version 40'\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/b:{os.environ['PATH']}")
    found = rsyncs.probe()
    assert isinstance(found, Rsync)
    assert (found.path, found.version) == (f"{tmp_path}/b/rsync", (3, 9, 9))


def test_nothing_of_the_user_changes_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("RSYNC_RSH", "RSYNC_PARTIAL_DIR", "RSYNC_ICONV", "RSYNC_PROTECT_ARGS"):
        monkeypatch.setenv(key, "evil")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/kept")
    env = rsyncs.environment()
    assert "evil" not in env.values()
    assert (env["LC_ALL"], env["LD_LIBRARY_PATH"]) == ("C", "/kept")
    assert not Path(env["HOME"]).exists()


# Its words


def words(copy: Copy, version: tuple[int, int, int] = (3, 2, 7), **other: object) -> list[str]:
    rest: dict[str, Any] = {"peer": version, "phases": False, **other}
    return client_argv(known(version), copy, [b"/src/"], b"/dest", ["py", "it's"], **rest)


def test_the_least_that_is_asked_for() -> None:
    assert words(Copy(NAME)) == [
        *(
            "/usr/bin/rsync",
            "-ax",
            "--no-whole-file",
            "--modify-window=-1",
            "--timeout=120",
            "--delay-updates",
        ),
        *("--partial-dir=.nile-sync-r1", "--temp-dir=/dest/.nile-sync-r1/.nile-sync-r1"),
        *(
            "--filter=-p .nile-sync-r1*/",
            "--old-args",
            "--old-args",
            "-e",
            "'py' 'it''s'",
            "--",
            "/src/",
            "nile:/dest",
        ),
    ]


def test_the_most_that_is_asked_for() -> None:
    flags: dict[str, Any] = dict.fromkeys(
        ("delete", "checksum", "whole", "numeric_ids", "hard_links", "acls", "xattrs", "sparse"), True
    )
    copy = Copy(NAME, excludes=[b"--x", b"\xff\n"], chown="u:g", bwlimit=7, stall_s=9, **flags)
    found = words(copy, phases=True)
    assert found[1] == "-axHAXScW"
    assert {"--numeric-ids", "--chown=u:g", "--bwlimit=7", "--delete-delay", "--timeout=9"} <= set(found)
    assert {"--debug=SEND1", "--outbuf=L", "--exclude=--x", "--exclude=\udcff\n"} <= set(found)
    assert "--no-whole-file" not in found
    assert "--ignore-errors" not in found


def test_older_ones_arent_asked_for_what_they_dont_know() -> None:
    assert not {"--old-args", "--modify-window=-1"} & set(words(Copy(NAME), (3, 1, 2)))
    assert "--modify-window=-1" not in words(Copy(NAME), peer=(3, 1, 2))
    assert "--old-args" in words(Copy(NAME), peer=(3, 1, 2))
    assert "--old-args" not in words(Copy(NAME), (3, 2, 3))


@pytest.mark.parametrize(
    "name", [b"", b".nile-sync-", b".nile-sync-*", b".nile-sync-a/b", b"a", b".nile-sync-a\n"]
)
def test_only_names_of_ours_are_temporary(name: bytes) -> None:
    with pytest.raises(ValueError, match="temporary"):
        Copy(name)


@pytest.mark.parametrize(
    ("source", "dest"), [(b"src", b"/d"), (b"/s", b"d"), (b"-s", b"/d"), (b"host:/s", b"/d")]
)
def test_only_absolute_paths_are_copied(source: bytes, dest: bytes) -> None:
    with pytest.raises(ValueError, match="absolute"):
        client_argv(known(), Copy(NAME), [source], dest, ["sh"], (3, 2, 7), False)


ASKED = [
    b"rsync",
    b"--server",
    b"-logDtpre.iLsfxCIvu",
    b"--temp-dir",
    b"/d/" + NAME + b"/" + NAME,
    b".",
    b"/d",
]


def test_what_is_asked_for_is_run() -> None:
    expected = ["/usr/bin/rsync", *map(os.fsdecode, ASKED[1:])]
    assert server_argv(known(), ASKED, b"/d", NAME) == expected


@pytest.mark.parametrize(
    "asked",
    [
        [],
        [b"rsync"],
        [b"sh", *ASKED[1:]],
        [b"rsync", *ASKED[2:]],
        [*ASKED[:-1], b"/e"],
        [*ASKED[:-1], b"/d/"],
        [*ASKED[:-2], b"/d"],
        [*ASKED, b"/d"],
        [*ASKED[:2], b"--sender", *ASKED[2:]],
        [*ASKED[:2], b"--daemon", *ASKED[2:]],
        [*ASKED[:2], b"-s", *ASKED[2:]],
        [*ASKED[:2], b"-logsDtpre.iLfxCIvu", *ASKED[3:]],
        [*ASKED[:2], b"--secluded-args", *ASKED[2:]],
        [*ASKED[:4], b"/tmp", *ASKED[5:]],
        [*ASKED[:5], b"--temp-dir", b"/tmp", *ASKED[5:]],
        [*ASKED[:3], *ASKED[5:]],
    ],
)
def test_what_isnt_a_receiver_into_here_is_refused(asked: list[bytes]) -> None:
    with pytest.raises(Refusal) as refused:
        server_argv(known(), asked, b"/d", NAME)
    assert refused.value.code == "refused"


LINKED = [*ASKED[:3], b"--link-dest", b"/r/1", *ASKED[3:]]


def test_files_are_linked_to_those_of_the_directory_that_is_known_here() -> None:
    argv = client_argv(known(), Copy(NAME, link_dest=b"/r/1"), [b"/s/"], b"/d", ["h"], (3, 1, 0), False)
    assert "--link-dest=/r/1" in argv
    assert server_argv(known(), LINKED, b"/d", NAME, b"/r/1") == [
        "/usr/bin/rsync",
        *map(os.fsdecode, LINKED[1:]),
    ]


@pytest.mark.parametrize(
    ("asked", "basis"),
    [
        (LINKED, b""),
        (LINKED, b"/r/2"),
        ([*ASKED[:3], b"--link-dest=/r/1", *ASKED[3:]], b"/r/1"),
        ([*ASKED[:3], b"--copy-dest", b"/r/1", *ASKED[3:]], b"/r/1"),
        ([*LINKED[:3], b"--link-dest", b"/etc", *LINKED[3:]], b"/r/1"),
        ([*LINKED[:3], b"--compare-dest", b"/etc", *LINKED[3:]], b"/r/1"),
    ],
)
def test_and_to_no_others(asked: list[bytes], basis: bytes) -> None:
    with pytest.raises(Refusal, match="to link files to"):
        server_argv(known(), asked, b"/d", NAME, basis)


# Its end

SPACE = b'rsync: [receiver] write failed on "/d/big": No space left on device (28)\n'
BARRED = b'rsync: [receiver] mkstemp "/d/.a.X" failed: Permission denied (13)\n'
READING = b'rsync: [sender] send_files failed to open "/s/a\\#012b": Permission denied (13)\n'
VANISHED = b'file has vanished: "/s/x"\n'


@pytest.mark.parametrize(
    ("status", "said", "code", "retry", "names"),
    [
        (0, b"", "", False, []),
        (23, READING, "partial", False, [b"/s/a\nb"]),
        (24, VANISHED, "vanished", False, [b"/s/x"]),
        (25, b"", "max-delete", False, []),
        (11, SPACE, "disk-full", False, [b"/d/big"]),
        (23, SPACE, "disk-full", False, [b"/d/big"]),
        (12, SPACE, "disk-full", False, [b"/d/big"]),
        (11, b'mkdir "/d" failed: Disk quota exceeded (122)', "disk-full", False, [b"/d"]),
        (23, BARRED, "not-writable", False, [b"/d/.a.X"]),
        (3, b'rsync: [Receiver] mkdir "/d" failed: Permission denied (13)', "not-writable", False, [b"/d"]),
        (11, b'rsync: mkstemp "/d/.a" failed: Read-only file system (30)', "not-writable", False, [b"/d/.a"]),
        (11, b"rsync: [sender] write error: Broken pipe (32)", "broken", True, []),
        (11, b"", "files", False, []),
        (10, b"", "broken", True, []),
        (12, b"", "broken", True, []),
        (20, b"", "killed", True, []),
        (30, b"", "timeout", True, []),
        (35, b"", "timeout", True, []),
        (255, b"", "broken", True, []),
        (1, b"", "usage", False, []),
        (2, b"", "protocol", False, []),
        (99, b"", "failed", False, []),
    ],
)
def test_what_an_end_means(status: int, said: bytes, code: str, retry: bool, names: list[bytes]) -> None:
    found = ending(status, None, said)
    assert (found.code, found.retry, found.names, found.status) == (code, retry, names, status)
    assert bool(found.reason) == (status != 0)
    assert wire.loads(wire.dumps(found.fields())) == found.fields()


def test_a_signal_is_an_end_too() -> None:
    found = ending(None, 9, b"")
    assert (found.code, found.retry, found.signal, found.status) == ("killed", True, 9, None)


def test_what_it_names_is_bounded_and_whatever_bytes_it_has() -> None:
    lines = b"".join(b'failed "/%d\\#377" (1)\n' % i for i in range(100)) + b'again "/1\\#377"\n\xff"x'
    found = ending(23, None, lines * 2)
    assert found.names == [b"/%d\xff" % i for i in range(MOST_NAMES)]
    assert "\ufffd" in found.words


def test_first_and_last_words_are_kept() -> None:
    few, many = Words(), Words()
    few.add(b"a")
    few.add(b"b" * (MOST_WORDS - 1))
    assert few.text() == b"a" + b"b" * (MOST_WORDS - 1)
    for i in range(5000):
        many.add(b"%d\n" % i)
    text = many.text()
    assert text.startswith(b"0\n1\n2\n")
    assert text.endswith(b"4998\n4999\n")
    assert b"\n...\n" in text
    assert len(text) <= MOST_WORDS + 5
