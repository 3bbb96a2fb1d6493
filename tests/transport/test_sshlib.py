"""What a run imports: no program is run for it, nothing heavy is loaded, libraries are found all the same."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from pathlib import Path

import pytest

from nile.transport.sshlib import finder

SPY = """
import sys
programs, started = {"subprocess.Popen", "os.posix_spawn", "os.fork"}, []
sys.addaudithook(lambda event, args: started.append(args) if event in programs else None)
import nile.controller
print(len(started), "asyncssh" in sys.modules, *sorted(HEAVY & sys.modules.keys()))
"""
HEAVY = {"cryptography.x509", "importlib.resources", "nile.bootstrap.bundle", "rich", "zipfile"}


def test_import_runs_no_program_and_loads_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"HEAVY = {HEAVY}{SPY}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stdout.split() == ["0", "True"]


def test_find_library_is_left_as_it_was() -> None:
    assert ctypes.util.find_library.__module__ == "ctypes.util"


def never(name: str) -> str | None:
    raise AssertionError(f"looked for {name}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A loader's cache as glibc writes it: some bytes, then strings with zeros between."""
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    file = tmp_path / "ld.so.cache"
    file.write_bytes(b"glibc-ld.so.cache1.1\3\0\1\2/lib/libnowhere.so.9\0/lib/libc.so.6\0/lib/notlibm.so.6\0")
    return file


def test_finds_what_the_cache_lists_and_loads(cache: Path) -> None:
    find = finder(never, cache)
    assert find("c") == "libc.so.6"
    assert find("nowhere") is None, "listed, but it can't be loaded"
    assert find("m") is None, "the end of another name"
    assert find("oqs") is None


def test_search_decides_where_the_cache_does_not_say(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finder(never, cache.with_name("none")) is never
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    assert finder(never, cache) is never


def test_an_x509_certificate_beside_a_key_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "id_rsa-cert.pub"
    file.write_text("-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n")
    program = "import sys, pathlib; from nile.transport.keyfile import read_certificate as read\n"
    program += "print(read(pathlib.Path(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", program, file], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "None\n"
