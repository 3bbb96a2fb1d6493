"""Freezing by cgroup: version 2 where it is mounted, else version 1's freezer."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nile.errors import LabError

FREEZE_S = 10.0


def _mounts() -> Iterator[tuple[str, str, str]]:
    """(type, mount point, options) of every mount."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split(" ")
        yield kind, point, options


def roots() -> list[Path]:
    """Mount points of the hierarchies that can freeze, the preferred one first."""
    mounts = list(_mounts())
    unified = [Path(point) for kind, point, _ in mounts if kind == "cgroup2"]
    freezers = [
        Path(point) for kind, point, options in mounts if kind == "cgroup" and "freezer" in options.split(",")
    ]
    return [path for path in dict.fromkeys(unified + freezers) if os.access(path, os.W_OK)]


def group_name(directory: Path) -> str:
    """The cgroup of the lab in a directory; follows from the directory alone."""
    return f"nile-lab-{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Freezer:
    """The cgroups of one lab, one per host, in one hierarchy."""

    base: Path

    @classmethod
    def find(cls, directory: Path) -> Freezer | None:
        """The freezer for a lab; None where no hierarchy is usable (then SIGSTOP has to serve)."""
        found = roots()
        return cls(found[0] / group_name(directory)) if found else None

    def create(self, host: str) -> None:
        """Make a host's cgroup."""
        (self.base / host).mkdir(parents=True, exist_ok=True)

    def join(self, host: str) -> None:
        """Put the calling process, and all that it will fork, into a host's cgroup."""
        (self.base / host / "cgroup.procs").write_text("0")

    def set(self, host: str, frozen: bool) -> None:
        """Freeze or thaw, and wait until it is so; LabError where it doesn't come to be."""
        own = self.base / host
        if (own / "cgroup.freeze").exists():
            (own / "cgroup.freeze").write_text("1" if frozen else "0")
        else:
            (own / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        end = time.monotonic() + FREEZE_S
        while self.frozen(host) != frozen:
            if time.monotonic() > end:
                raise LabError(f"{host} can't be {'frozen' if frozen else 'thawed'}", where=str(own))
            time.sleep(0.002)

    def frozen(self, host: str) -> bool:
        """Whether every process of a host stands still."""
        own = self.base / host
        if (own / "cgroup.events").exists():
            return "frozen 1" in (own / "cgroup.events").read_text()
        return (own / "freezer.state").read_text().strip() == "FROZEN"


def thaw_all(directory: Path) -> None:
    """Thaw whatever is frozen of a lab: version 1 holds frozen processes back even from dying."""
    for root in roots():
        for state in (root / group_name(directory)).glob("*/freezer.state"):
            with contextlib.suppress(OSError):
                state.write_text("THAWED")


def remove_all(directory: Path, within_s: float = 5.0) -> None:
    """Remove a lab's cgroups, waiting for the last process to be gone from them; LabError else."""
    end = time.monotonic() + within_s
    for root in roots():
        base = root / group_name(directory)
        while base.exists():
            for path in (*base.glob("*/"), base):
                with contextlib.suppress(OSError):
                    path.rmdir()
            if base.exists() and time.monotonic() > end:
                raise LabError("a cgroup of the lab can't be removed", where=str(base))
            if base.exists():
                time.sleep(0.01)
