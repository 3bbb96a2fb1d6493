"""The cache of wheels: what pip brings is looked at before it is kept, and kept as it came."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nile.cli import commands
from nile.controller import peerwheels
from nile.controller.peerwheels import PeersError
from nile.errors import NileError, UsageError
from nile.sync.wheels import Name, Python
from tests.support import wheels

LINUX = "manylinux_2_17_x86_64.manylinux2014_x86_64"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one; pip finds what is in the directory `index`, and nothing else."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return tmp_path / "cache/nile/peers"


def made(
    place: Path, version: str = peerwheels.VERSION, tag: str = "cp311-cp311", linux: str = LINUX
) -> Path:
    """A small one, of which pip knows no better."""
    path = place / f"libtorrent-{version}-{tag}-{linux}.whl"
    info = f"libtorrent-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("libtorrent/__init__.so", "an extension")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: libtorrent\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}-{linux.split('.')[0]}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def python(version: tuple[int, int] = (3, 11), machine: str = "x86_64", libc: str = "glibc") -> Python:
    return peerwheels.asked(version, machine, libc)


def nile(*words: str) -> Result:
    return CliRunner().invoke(commands, ["swarm", "fetch-peers", *words], standalone_mode=False)


def test_what_pip_brings_is_kept_with_its_digest_and_fetched_once(tmp_path: Path, cache: Path) -> None:
    wheel = made(tmp_path / "index")
    path, known = peerwheels.fetch(python())
    assert (path, known) == (cache / wheel.name, False)
    assert cache.stat().st_mode & 0o777 == 0o700
    digest = hashlib.sha256(wheel.read_bytes())
    assert (cache / f"{wheel.name}.sha256").read_text() == f"{digest.hexdigest()}  {wheel.name}\n"
    wheel.unlink()
    assert peerwheels.fetch(python()) == (path, True)
    (kept,) = peerwheels.cached()
    assert (kept.file, kept.digest, kept.size) == (path.name, digest.digest(), path.stat().st_size)
    assert kept.read(2, 10) == path.read_bytes()[2:12]
    assert sorted(each.name for each in cache.iterdir()) == [path.name, f"{path.name}.sha256"]


@pytest.mark.parametrize("version", [(3, 7), (3, 8)])
def test_old_pythons_get_the_last_that_there_is_for_them(tmp_path: Path, version: tuple[int, int]) -> None:
    abi = f"cp3{version[1]}-cp3{version[1]}" + "m" * (version == (3, 7))
    made(tmp_path / "index", "2.0.9", abi)
    path, _ = peerwheels.fetch(python(version))
    assert Name.of(path.name).version == "2.0.9"


def test_musl_and_another_machine(tmp_path: Path) -> None:
    made(tmp_path / "index", linux="musllinux_1_2_aarch64")
    made(tmp_path / "index")
    path, _ = peerwheels.fetch(python(machine="aarch64", libc="musl"))
    assert path.name.endswith("musllinux_1_2_aarch64.whl")


def test_what_pip_doesnt_find_is_said_with_a_remedy(cache: Path) -> None:
    with pytest.raises(PeersError, match=r"pip has no libtorrent .*Python 3.11(.|\n)*PIP_FIND_LINKS"):
        peerwheels.fetch(python())
    assert list(cache.iterdir()) == []


def test_where_there_is_no_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(wheels.bare_python(tmp_path)))
    with pytest.raises(PeersError, match=r"pip isn't there(.|\n)*ensurepip"):
        peerwheels.fetch(python())


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_what_is_no_such_wheel_isnt_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    wheel = made(tmp_path / "index")

    def bring(python: Python, version: str, place: Path) -> None:
        data = wheel.read_bytes()
        if damage == "cut":
            (place / wheel.name).write_bytes(data[: len(data) // 2])
        elif damage == "other":
            made(place, "2.1.0")

    monkeypatch.setattr(peerwheels, "_download", bring)
    with pytest.raises(PeersError, match="and brought"):
        peerwheels.fetch(python())
    assert list(cache.iterdir()) == []


def test_what_has_no_digest_or_another_name_is_taken_for_nothing(cache: Path) -> None:
    cache.mkdir(mode=0o700, parents=True)
    made(cache)
    other = cache / "other.whl"
    other.write_bytes(b"")
    Path(f"{other}.sha256").write_text("00  other.whl\n")
    assert peerwheels.cached() == ()


def test_a_damaged_one_is_fetched_again_and_used_by_nobody(tmp_path: Path) -> None:
    wheel = made(tmp_path / "index")
    path, _ = peerwheels.fetch(python())
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    (damaged,) = peerwheels.cached()
    assert damaged.read(0, 10) == b""
    assert peerwheels.fetch(python()) == (path, False)
    assert path.read_bytes() == wheel.read_bytes()
    (mended,) = peerwheels.cached()
    assert mended.read(0, 10) == wheel.read_bytes()[:10]


def test_pip_and_what_it_needs_arent_looked_for_in_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "index")
    (tmp_path / "here").mkdir()
    for name in ("pip", "zipfile", "typing"):
        (tmp_path / "here" / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path / "here")
    peerwheels.fetch(python())
    assert not (tmp_path / "imported").exists()


def test_a_cache_that_others_may_write_to_is_refused(cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(PeersError, match=r"others may write there(.|\n)*chmod 700"):
        peerwheels.cached()


def test_a_cache_that_cant_be_made(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(PeersError, match="XDG_CACHE_HOME"):
        peerwheels.fetch(python())


def test_what_is_gone_meanwhile_reads_as_nothing(tmp_path: Path) -> None:
    made(tmp_path / "index")
    path, _ = peerwheels.fetch(python())
    (kept,) = peerwheels.cached()
    path.unlink()
    assert kept.read(0, 10) == b""


def test_the_command(tmp_path: Path, cache: Path) -> None:
    wheel = made(tmp_path / "index")
    some = nile("--python", "3.11", "--python", "3.12", "--machine", "x86_64")
    assert some.output == f"{cache / wheel.name}\n"
    assert isinstance(some.exception, PeersError)
    assert "Python 3.12" in str(some.exception)
    again = nile("--python", "3.11", "--machine", "x86_64")
    assert (again.output, again.return_value) == (f"{cache / wheel.name} (was there)\n", 0)
    listed = nile("--list")
    assert listed.output.split()[0] == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert listed.output.split()[-1] == wheel.name


def test_an_empty_list_says_so(cache: Path) -> None:
    assert nile("--list").output == f"nile: nothing is in {cache}\n"


@pytest.mark.parametrize("words", [("--python", "3"), ("--python", "2.7"), ("--machine", "x86 64")])
def test_what_makes_no_sense(words: tuple[str, str]) -> None:
    assert isinstance(nile(*words).exception, UsageError)


def test_a_python_for_which_there_is_none() -> None:
    found = nile("--python", "3.6").exception
    assert isinstance(found, NileError)
    assert "no libtorrent 2.0 for Python 3.6" in str(found)


def test_the_others_that_were_asked_for_are_fetched_all_the_same(tmp_path: Path, cache: Path) -> None:
    wheel = made(tmp_path / "index")
    some = nile("--python", "3.6", "--python", "3.11", "--machine", "x86_64")
    assert some.output == f"{cache / wheel.name}\n"
    assert isinstance(some.exception, PeersError)
    assert "for Python 3.6" in str(some.exception)
