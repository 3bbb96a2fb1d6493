"""The way up: claim a directory, start the supervisor, wait until it says that every host is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nile.errors import LabError
from nile.lab.files import write_addresses
from nile.lab.login import lab_user
from nile.lab.procs import MARK
from nile.lab.spec import BackendName, LabSpec
from nile.lab.state import LabFiles, LabState, write_state


def user_of(spec: LabSpec) -> str:
    """Whom the lab's key lets in."""
    return "root" if spec.backend is BackendName.NETNS else lab_user()[0]


def claim(files: LabFiles) -> None:
    """Make the lab's directory: whoever makes it owns the name."""
    directory = files.directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise LabError(
            f"there is a lab {directory.name!r} already",
            where=str(directory),
            remedy=f"take it down (nile lab down --name {directory.name}), or choose another --name",
        ) from None
    except OSError as error:
        raise LabError(f"can't make the lab's directory: {error.strerror}", where=str(directory)) from error


def start(files: LabFiles, state: LabState, tied: bool) -> tuple[LabState, int]:
    """Start the supervisor, wait until it says that all hosts are up, write what follows from that."""
    ready, ready_theirs = os.pipe()
    tie_theirs, tie = os.pipe() if tied else (-1, -1)
    theirs = [fd for fd in (ready_theirs, tie_theirs) if fd >= 0]
    process = _spawn(files, theirs)
    for fd in theirs:
        os.close(fd)
    try:
        addresses = _await(files, ready)
        write_addresses(files, state.spec, state.user, addresses)
        state = state.up(addresses, process.pid)
        write_state(files, state)
    except BaseException:
        process.kill()
        process.wait()
        if tie >= 0:
            os.close(tie)
        raise
    process.returncode = 0  # it outlives this object, and whoever takes the lab down collects it
    return state, tie


def _spawn(files: LabFiles, fds: list[int]) -> subprocess.Popen[bytes]:
    with files.log.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "nile.lab.supervisor", str(files.directory), *map(str, fds)],
            env={**os.environ, MARK: str(files.directory)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            pass_fds=fds,
            start_new_session=True,
        )


def _await(files: LabFiles, ready: int) -> dict[str, str]:
    """Host -> address, as the supervisor says once all are up; LabError as it says otherwise."""
    with os.fdopen(ready) as answers:
        answer = json.loads(answers.read() or "{}")
    if "addresses" not in answer:
        remedy = answer.get("remedy") or _last_line(files.log)
        raise LabError(answer.get("error", "the supervisor died"), remedy=remedy)
    addresses: dict[str, str] = answer["addresses"]
    return addresses


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it left no message"
