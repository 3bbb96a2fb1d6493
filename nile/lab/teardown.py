"""Clearing a lab away, whatever state it is in: nothing here needs state.json or a supervisor that lives."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from nile.errors import LabError
from nile.lab import cgroup
from nile.lab.procs import hold_namespaces, in_namespace, kill_all, marked, ourselves


def clear(directory: Path) -> bool:
    """End every process of the lab in `directory`, and remove its cgroups and files; True if there was any.

    Namespaces, mounts and links go with the last process in them. The caller and
    its ancestors are spared. LabError where something can't be removed.
    """
    with hold_namespaces(marked(directory), "net") as networks:
        found = kill_all(lambda: _of_lab(directory, networks), thaw=lambda: cgroup.thaw_all(directory))
    cgroup.remove_all(directory)
    existed = directory.exists()
    if existed:
        remove_tree(directory)
    return bool(found) or existed


def _of_lab(directory: Path, networks: set[int]) -> set[int]:
    """Who bears the mark, and who was sent into the lab's networks (`nile lab root`)."""
    visitors = {pid for inode in networks for pid in in_namespace("net", inode)} if networks else set()
    return marked(directory) | (visitors - ourselves())


MOST_PASSES = 100


def remove_tree(directory: Path) -> None:
    """Remove a directory and all in it, also what sessions made unwritable; LabError where that fails."""

    def pry_open(_retry: Callable[..., object], path: str, _: object) -> None:
        for place in (Path(path).parent, Path(path)):
            if place.is_dir() and not place.is_symlink():
                place.chmod(stat.S_IRWXU)

    try:
        for _ in range(MOST_PASSES):  # each one gets at least a level deeper than what was closed
            if not directory.exists():
                return
            if sys.version_info >= (3, 12):
                shutil.rmtree(directory, onexc=pry_open)
            else:
                shutil.rmtree(directory, onerror=pry_open)
        if directory.exists():
            shutil.rmtree(directory)
    except OSError as error:
        raise LabError(f"can't remove the lab's files: {error}", where=str(directory)) from error
