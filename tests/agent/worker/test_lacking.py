"""A libtorrent for a Python that has none: loaded from memory or a directory, of which nothing stays."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nile.agent.worker import lacking, peering
from nile.agent.worker.loop import Loop
from nile.agent.worker.peering import Peering
from tests.agent.worker.copying import a_loop
from tests.support import wheels

Message = dict[str, Any]
LOAD = """
import hashlib, json, os, sys
sys.path.insert(0, {repository!r})
from nile.agent.worker import lacking
wheel = open({wheel!r}, "rb").read()
if {no_memory}:
    del os.memfd_create
lt = lacking.load(wheel, hashlib.sha256(wheel).digest(), {directories!r})
files = [line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if len(line.split(None, 5)) > 5]
print(json.dumps([lt.__version__, sorted({{name for name in files if "libtorrent" in name}})]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.pack(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def loop() -> Iterator[Loop]:
    with a_loop() as loop:
        yield loop


def loaded(wheel: Path, directories: list[Path], *, memory: bool = True) -> tuple[str, list[str]]:
    """The version of what a Python without libtorrent loads, and where it was when it was loaded."""
    code = LOAD.format(
        repository=str(Path(__file__).parents[3]),
        wheel=str(wheel),
        directories=[str(path) for path in directories],
        no_memory=not memory,
    )
    done = subprocess.run([sys.executable, "-BISc", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImportError(done.stderr)
    version, files = json.loads(done.stdout)
    return version, files


def test_it_is_loaded_from_memory(wheel: Path, tmp_path: Path) -> None:
    version, files = loaded(wheel, [tmp_path / "nowhere"])
    assert version.startswith("2.")
    assert [name.startswith("/memfd:") for name in files] == [True]


def test_else_from_a_directory_and_nothing_stays_there(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    version, files = loaded(wheel, [tmp_path / "nowhere", tmp_path / "place"], memory=False)
    assert version.startswith("2.")
    assert [name.startswith(str(tmp_path / "place")) for name in files] == [True]
    assert not list((tmp_path / "place").iterdir())


def test_a_directory_that_allows_no_programs_is_passed_by(wheel: Path, tmp_path: Path, mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m,noexec", str(mounted)], check=True)
    (tmp_path / "place").mkdir()
    _, files = loaded(wheel, [mounted, tmp_path / "place"], memory=False)
    assert [name.startswith(str(tmp_path / "place")) for name in files] == [True]
    with pytest.raises(ImportError, match="no program may be run"):
        loaded(wheel, [mounted], memory=False)
    assert not list(mounted.iterdir())


def test_what_isnt_what_was_sent_is_refused(wheel: Path) -> None:
    with pytest.raises(ImportError, match="isn't what was sent"):
        lacking.load(wheel.read_bytes(), hashlib.sha256(b"another").digest(), [])


def test_what_a_python_says_of_itself() -> None:
    """As pip would have it, of any Python here."""
    facts = lacking.facts()
    assert facts["version"] == list(sys.version_info[:2])
    assert facts["abi"] == f"cp{sys.version_info[0]}{sys.version_info[1]}{sys.abiflags}"
    assert facts["machine"] == os.uname().machine
    libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    assert (facts["libc"], facts["libc_version"]) == (libc[0], [int(part) for part in libc[1].split(".")])


def elf(path: Path, names: str, *, wide: bool) -> Path:
    """The head of a program of 64 or 32 bits, whose loader is the second thing that it says."""
    form = struct.Struct("<16sHHIQQQIHHHHHH" if wide else "<16sHHIIIIIHHHHHH")
    each = 56 if wide else 32
    at = form.size + 2 * each
    name = names.encode() + b"\0"
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1])
    head = form.pack(ident, 3, 62, 1, 0, form.size, 0, 0, form.size, each, 2, 0, 0, 0)
    first = struct.pack("<I", 6).ljust(each, b"\0")
    if wide:
        second = struct.pack("<IIQQQQQQ", 3, 4, at, 0, 0, len(name), len(name), 1)
    else:
        second = struct.pack("<IIIIIIII", 3, at, 0, 0, len(name), len(name), 4, 1)
    path.write_bytes(head + first + second + name + b"more")
    return path


@pytest.mark.parametrize("wide", [True, False])
def test_musl_is_known_by_the_loader_of_a_program(tmp_path: Path, wide: bool) -> None:
    loader = tmp_path / "ld-musl-x86_64.so.1"
    loader.write_text("#!/bin/sh\necho 'musl libc (x86_64)\nVersion 1.2.4\nUsage: ld' >&2\nexit 1\n")
    loader.chmod(0o755)
    program = elf(tmp_path / "python", str(loader), wide=wide)
    assert lacking.interpreter(str(program)) == str(loader)
    assert lacking._musl(str(loader)) == ("musl", [1, 2])
    assert lacking._musl("/lib64/ld-linux-x86-64.so.2") == ("", [0, 0])


def test_the_loader_of_this_python_is_found_and_none_of_what_is_no_program(tmp_path: Path) -> None:
    assert Path(lacking.interpreter(os.path.realpath("/bin/sh"))).name.startswith("ld-")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert lacking.interpreter(str(tmp_path / "script")) == lacking.interpreter("/nowhere") == ""


class Spoken:
    """A peer that is looked for among these Pythons, and all that is heard of it."""

    def __init__(self, loop: Loop, *pythons: Path | str) -> None:
        self.heard: list[Message] = []
        self.ended: list[tuple[str, str]] = []
        self._loop = loop
        self.peer = Peering(loop, [str(path) for path in pythons], self._said, self._over)

    def _said(self, message: Message) -> None:
        self.heard.append(message)
        self._loop.stop()

    def _over(self, *ending: str) -> None:
        self.ended.append((ending[0], ending[1]))
        self._loop.stop()

    def next(self) -> Message:
        """What it says next; the loop fails where that takes too long."""
        self._loop._stopped = False
        self._loop.run()
        return self.heard[-1] if self.heard else {}

    def bring(self, data: bytes, which: int = 0, **how: Any) -> None:
        for at in range(0, len(data), 32768):
            self.peer.carry(data[at : at + 32768])
        self.peer.load(which, how.get("digest", hashlib.sha256(data).digest()), how.get("directories", []))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return wheels.bare_python(tmp_path)


def test_who_has_none_says_so_and_is_brought_one(loop: Loop, wheel: Path, bare: Path) -> None:
    it = Spoken(loop, "/nowhere/python3", "/bin/false", bare)
    assert it.next() == {"lacks": [lacking.facts()]}
    assert not it.ended
    it.bring(wheel.read_bytes())
    assert it.next()["ready"].startswith("libtorrent 2.")
    it.peer.stop()
    it.next()
    assert it.ended == [("", "")]


def test_one_that_prints_when_it_starts_is_tried_and_left(loop: Loop, tmp_path: Path) -> None:
    loud = tmp_path / "loud"
    loud.write_text(f'#!/bin/sh\necho "welcome to $0"\nexec {sys.executable} "$@"\n')
    loud.chmod(0o755)
    it = Spoken(loop, loud, sys.executable)
    assert it.next()["ready"].startswith("libtorrent 2.")
    it.peer.stop()
    it.next()
    other = Spoken(loop, loud)
    other.next()
    assert other.ended == [("no-libtorrent", peering.NONE)]


def test_one_that_is_too_old_may_be_brought_another(loop: Loop, wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "libtorrent.py").write_text("__version__ = '1.2.9.0'\n")
    old = tmp_path / "old"
    old.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} -S "$@"\n')
    old.chmod(0o755)
    it = Spoken(loop, old)
    assert "lacks" in it.next()
    it.bring(wheel.read_bytes())
    assert it.next()["ready"].startswith("libtorrent 2.")
    it.peer.stop()
    it.next()


def test_one_that_was_told_to_stop_instead(loop: Loop, bare: Path) -> None:
    it = Spoken(loop, bare)
    it.next()
    it.peer.stop()
    it.next()
    assert it.ended == [("", "")]


@pytest.mark.parametrize("data", [b"no wheel", b""])
def test_what_cant_be_loaded(loop: Loop, bare: Path, data: bytes) -> None:
    it = Spoken(loop, bare)
    it.next()
    it.bring(data)
    it.next()
    ((code, reason),) = it.ended
    assert code == "no-libtorrent"
    assert "not a zip file" in reason
