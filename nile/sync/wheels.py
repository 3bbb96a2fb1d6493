"""Wheels of libtorrent that the root has, and which of them a Python of a host can load. Pure.

What a wheel's name says is that of PEP 427, its tags those of PEP 425; for Linux PEP 600
(manylinux_X_Y: the GNU libc of that version, or a later one) and PEP 656 (the same for musl).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nile.sync.targets import count

NAME = "libtorrent"
OLDEST = (2, 0)
"""Of libtorrent's versions."""
OLDEST_PYTHON = (3, 7)
"""For which there is such a wheel."""
GLIBC, MUSL = "glibc", "musl"
_LIBC = {"manylinux": GLIBC, "musllinux": MUSL}
_FORMER = {
    "manylinux1": "manylinux_2_5",
    "manylinux2010": "manylinux_2_12",
    "manylinux2014": "manylinux_2_17",
}
_PLATFORM = re.compile(r"(manylinux|musllinux)_(\d{1,3})_(\d{1,3})_(\w{1,20})")
_WORD = re.compile(r"\w{1,20}", re.ASCII)
_CPYTHON = re.compile(r"cp(\d)(\d{1,2})")


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter of a host, as far as a wheel has to fit it."""

    version: tuple[int, int]
    abi: str
    """As cp311; "" where it isn't CPython."""
    machine: str
    libc: str
    libc_version: tuple[int, int]

    def __str__(self) -> str:
        libc = f"{self.libc} {_dotted(self.libc_version)}" if self.libc else "another libc"
        return f"Python {_dotted(self.version)} ({self.machine}, {libc})"

    @property
    def words(self) -> tuple[str, str]:
        """Its version and its machine."""
        return _dotted(self.version), self.machine

    @classmethod
    def of(cls, said: object) -> Python:
        """From a worker's words; raises KeyError, TypeError or ValueError."""
        if not isinstance(said, Mapping):
            raise TypeError("a Python that is none")
        libc = said["libc"]
        if libc not in ("", GLIBC, MUSL):
            raise ValueError("no libc that is known")
        abi = _word(said["abi"]) if said["abi"] else ""
        return cls(_pair(said["version"]), abi, _word(said["machine"]), libc, _pair(said["libc_version"]))


@dataclass(frozen=True, slots=True)
class Name:
    """What the name of a wheel says."""

    version: str
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> Name:
        """Raises ValueError where it is no name of a wheel of libtorrent."""
        parts = name.removesuffix(".whl").split("-")
        if not name.endswith(".whl") or len(parts) not in (5, 6) or parts[0] != NAME:
            raise ValueError(f"{name} is no wheel of {NAME}")
        pythons, abis, platforms = (tuple(part.split(".")) for part in parts[-3:])
        return cls(parts[1], pythons, abis, platforms)

    def fits(self, python: Python) -> bool:
        """Can that one load it?"""
        return self._is_for(python) and any(_runs_on(platform, python) for platform in self.platforms)

    def _is_for(self, python: Python) -> bool:
        major, minor = python.version
        if python.abi and python.abi in self.abis:
            return f"cp{major}{minor}" in self.pythons
        if "abi3" not in self.abis or python.abi != f"cp{major}{minor}":
            return False
        oldest = [_CPYTHON.fullmatch(each) for each in self.pythons]
        return any(int(each[1]) == major and int(each[2]) <= minor for each in oldest if each)

    @property
    def rank(self) -> tuple[int, ...]:
        """By which the latest version is found."""
        return tuple(int(part) for part in re.findall(r"\d{1,9}", self.version))


@dataclass(frozen=True, slots=True)
class Wheel:
    """One that the root has."""

    file: str
    name: Name
    size: int
    digest: bytes
    """SHA-256."""
    read: Callable[[int, int], bytes] = field(compare=False)
    """So many bytes from there on; raises OSError."""


def choose(pythons: Sequence[Python], wheels: Iterable[Wheel]) -> tuple[int, Wheel] | None:
    """The latest version that any of these can load, and which of them can; None if there is none."""
    fitting = [
        (at, wheel)
        for wheel in wheels
        if wheel.name.rank >= OLDEST
        for at, python in enumerate(pythons)
        if wheel.name.fits(python)
    ]
    return max(fitting, key=lambda each: (each[1].name.rank, -each[0]), default=None)


def _runs_on(platform: str, python: Python) -> bool:
    for former, now in _FORMER.items():
        platform = (
            platform.replace(former + "_", now + "_") if platform.startswith(former + "_") else platform
        )
    found = _PLATFORM.fullmatch(platform)
    if found is None or _LIBC[found[1]] != python.libc or found[4] != python.machine:
        return False
    needed, has = (int(found[2]), int(found[3])), python.libc_version
    return needed[0] == has[0] and needed[1] <= has[1]


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _word(value: Any) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError("a word that is none")
    return value


def _pair(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError("a version that is none")
    major, minor = (min(count(number), 999) for number in value)
    return major, minor
