"""The cache of wheels of libtorrent: filled by pip when it is asked for, and read by runs.

A wheel lies there under its own name, with a file beside it in the format of sha256sum(1). What has none, or
lies in a directory to which others may write, is taken for nothing; what isn't as that says is fetched anew,
and goes to no host.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nile.errors import NileError
from nile.sync.wheels import GLIBC, MUSL, NAME, OLDEST_PYTHON, Name, Python, Wheel
from nile.topology.places import cache_directory

VERSIONS = {(3, 7): "2.0.9", (3, 8): "2.0.9"}
"""The last ones for these Pythons,"""
VERSION = "2.1.1"
"""and that for later ones."""
WITH_FLAG = (3, 7)
LIBCS = {GLIBC: ("manylinux2014", (2, 17)), MUSL: ("musllinux_1_2", (1, 2))}
"""What wheels are built for, and the libc that they need at least."""
SUM = ".sha256"
SAID = 3
"""Lines of what pip says that are shown."""
_OTHERS_MAY_WRITE = 0o022


class PeersError(NileError):
    """A wheel that can't be had, or the cache for it."""


def directory() -> Path:
    """Where they are; it need not be there."""
    return cache_directory() / "peers"


def cached() -> tuple[Wheel, ...]:
    """What is there. Raises PeersError where others may have put it there."""
    place = directory()
    try:
        seen = place.stat()
    except OSError:
        return ()
    if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & _OTHERS_MAY_WRITE:
        remedy = f"make it yours alone (chmod 700 {place}), and fetch anew what is in it"
        raise PeersError("others may write there", where=str(place), remedy=remedy)
    return tuple(_wheels(place))


def _wheels(place: Path) -> Iterator[Wheel]:
    for path in sorted(place.glob("*.whl")):
        with suppress(OSError, ValueError):
            name = Name.of(path.name)
            digest = bytes.fromhex(path.with_name(path.name + SUM).read_text().split()[0])
            yield Wheel(path.name, name, path.stat().st_size, digest, _Contents(path, digest).read)


class _Contents:
    """Of a wheel, which is looked at before any of it is used; few runs need any."""

    def __init__(self, path: Path, digest: bytes) -> None:
        self._path = path
        self._digest = digest
        self._is_whole: bool | None = None

    def read(self, at: int, size: int) -> bytes:
        """Nothing where it can't be read, or is damaged: hosts do without it then."""
        try:
            with self._path.open("rb") as file:
                if self._is_whole is None:
                    self._is_whole = hashlib.file_digest(file, "sha256").digest() == self._digest
                return os.pread(file.fileno(), size, at) if self._is_whole else b""
        except OSError:
            return b""


def asked(version: tuple[int, int], machine: str, libc: str) -> Python:
    """A Python of that kind, of which the libc is the oldest that will do; raises PeersError."""
    if version < OLDEST_PYTHON:
        remedy = "hosts with a later one beside it are served by that"
        raise PeersError(f"there is no {NAME} 2.0 for Python {_dotted(version)}", remedy=remedy)
    abi = f"cp{version[0]}{version[1]}" + "m" * (version <= WITH_FLAG)
    return Python(version, abi, machine, libc, LIBCS[libc][1])


def fetch(python: Python) -> tuple[Path, bool]:
    """Have the wheel for such a Python in the cache: where it is, and whether it was there already.

    Raises PeersError.
    """
    wanted = VERSIONS.get(python.version, VERSION)
    for wheel in cached():
        if wheel.name.version == wanted and wheel.name.fits(python) and wheel.read(0, 1):
            return directory() / wheel.file, True
    try:
        directory().mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory()) as place:
            _download(python, wanted, Path(place))
            return _keep(_checked(Path(place), python, wanted)), False
    except OSError as error:
        remedy = "see that it can be written, or set XDG_CACHE_HOME to another place"
        raise PeersError(f"can't be filled: {error}", where=str(directory()), remedy=remedy) from error


def _download(python: Python, version: str, place: Path) -> None:
    """By pip, as it is configured here (proxies, indexes, PIP_FIND_LINKS)."""
    platform = f"{LIBCS[python.libc][0]}_{python.machine}"
    which = ["--python-version", _dotted(python.version), "--implementation", "cp", "--abi", python.abi]
    how = ["--only-binary", ":all:", "--no-deps", "--no-input", "--disable-pip-version-check", "--quiet"]
    # -P: else a pip, or what pip imports, would be looked for in the current directory first.
    argv = [sys.executable, "-P", "-m", "pip", "download", *how, *which, "--platform", platform]
    ran = subprocess.run(
        [*argv, "--dest", str(place), f"{NAME}=={version}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if ran.returncode == 0:
        return
    said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
    if any("No module named pip" in line for line in said):
        remedy = (
            f"install pip for {sys.executable} (Debian: python3-pip), or run `{sys.executable} -m ensurepip`"
        )
        raise PeersError("pip isn't there, by which wheels are fetched", remedy=remedy)
    told = [line for line in said if line.startswith("ERROR")] or said
    remedy = (
        "see that pip reaches an index (PIP_INDEX_URL, PIP_PROXY), or has it in a directory (PIP_FIND_LINKS)"
    )
    raise PeersError(f"pip has no {NAME} {version} for {python}: {'; '.join(told[-SAID:])}", remedy=remedy)


def _checked(place: Path, python: Python, version: str) -> Path:
    """The one wheel that came, which is what was asked for and can be loaded; raises PeersError."""
    came = sorted(place.iterdir())
    with suppress(ValueError, OSError, zipfile.BadZipFile):
        if len(came) == 1:
            name = Name.of(came[0].name)
            with zipfile.ZipFile(came[0]) as archive:
                inside = any(each.startswith(f"{NAME}/__init__.") for each in archive.namelist())
                if name.version == version and name.fits(python) and inside and archive.testzip() is None:
                    return came[0]
    names = ", ".join(path.name for path in came) or "nothing"
    remedy = "look at pip's configuration: `pip config list`"
    raise PeersError(f"pip was asked for {NAME} {version} for {python}, and brought {names}", remedy=remedy)


def _keep(wheel: Path) -> Path:
    """Its digest is there before it is."""
    kept = directory() / wheel.name
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    line = wheel.with_name(wheel.name + SUM)
    line.write_text(f"{digest}  {wheel.name}\n")
    line.replace(kept.with_name(line.name))
    return wheel.replace(kept)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
