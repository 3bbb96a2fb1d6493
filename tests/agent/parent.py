"""A parent for a real agent: a shell runs the first stage, and this speaks with what comes of it."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nile.agent import wire
from nile.agent.handshake import Bundle, Handshake, command_line
from nile.agent.link import Link
from nile.agent.wire import Frame
from nile.bootstrap import agent_bundle
from nile.cascade.inputs import frame_name
from tests.lab.helpers import eventually
from tests.support.plans import make_plan

DEADLINE_S = 20.0
MEMORY = Path("/dev/shm")
BY_AGE = sorted(
    Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python3"),
    key=lambda path: [int(each) for each in path.parents[1].name.split(".")],
) or [Path(sys.executable)]
"""Of pyenv, the oldest first; where there are none, the one that runs the tests."""
PYTHONS = sorted(BY_AGE)


def wait_until(condition: Callable[[], object], what: str = "it", deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition, looking again and again; fails after the deadline."""
    eventually(condition, what, deadline_s)


def host_environment(directory: Path, python: Path | None = None) -> dict[str, str]:
    """What a login gives. With `python` it is the first `python3` in the PATH."""
    path = "/usr/bin:/bin"
    if python is not None:
        programs = directory / "python"
        programs.mkdir(exist_ok=True)
        link = programs / "python3"
        if not link.is_symlink():
            link.symlink_to(python)
        path = f"{programs}:{path}"
    return {"PATH": path, "HOME": str(directory), "SHELL": "/bin/sh", "USER": "nile", "LANG": "C"}


class Parent:
    """One login by a local shell; use as a context manager, which ends it."""

    def __init__(
        self,
        environment: Mapping[str, str],
        shell: Sequence[str] = ("/bin/sh", "-c"),
        *,
        relay: bool = False,
        bundle: Bundle | None = None,
        cwd: Path | None = None,
        umask: int = 0o22,
        prefix: str = "",
    ) -> None:
        nonce = "n" + secrets.token_hex(8)
        self._handshake = Handshake(nonce, bundle or agent_bundle(), relay)
        line = prefix + command_line(nonce)
        self.process = subprocess.Popen(
            [*shell, line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd=cwd or environment["HOME"],
            umask=umask,
            start_new_session=True,
        )
        self._link: Link | None = None
        self._runs: set[str] = set()
        self._epoch = 0
        self.frames: list[Frame] = []
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self.hang_up()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        finally:
            assert self.process.stdout is not None
            assert self.process.stderr is not None
            self.process.stdout.close()
            self.process.stderr.close()
            for run in self._runs:
                for path in claims_of(run):
                    shutil.rmtree(path, ignore_errors=True)  # a warden may be at it

    def end(self) -> None:
        """Tell the agent to end, and to leave no trace of the run."""
        if self._link is not None and not self.ended:
            self.send(Frame(wire.END, body=wire.dumps({})))

    def hang_up(self) -> None:
        """End its standard input: it has lost its parent."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    @property
    def python(self) -> str:
        """The version of the Python that the first stage found."""
        return self._handshake.python

    @property
    def agent_pid(self) -> int:
        """The agent, by its own word."""
        pid = self.wait_for(wire.HELLO).fields()["pid"]
        assert isinstance(pid, int)
        return pid

    @property
    def warden_pid(self) -> int:
        """The process above the agent."""
        return parent_of(self.agent_pid)

    def send(self, frame: Frame) -> None:
        """A frame downward."""
        assert self._link is not None, "no hello yet"
        self._link.send(frame)
        self._write()

    def start(self, command: str, **how: Any) -> None:
        """Wait for its hello and have it run a command."""
        self.wait_for(wire.HELLO)
        plan = make_plan(command, **how)
        self._runs.add(plan.fields()["shared"]["run"])
        self._epoch = plan.epoch
        self.send(plan)

    def run(self, command: str, **how: Any) -> dict[str, Any]:
        """Run a command to its end: the fields of its RESULT."""
        self.start(command, **how)
        return self.result()

    def result(self) -> dict[str, Any]:
        """How the command ended."""
        fields: dict[str, Any] = self.wait_for(wire.RESULT).fields()
        self.wait(lambda: all(len(self.output(name)) >= fields[name] for name in ("stdout", "stderr")))
        return fields

    def output(self, stream: str = "stdout") -> bytes:
        """What it printed so far; offsets have to be contiguous.

        What an agent says before it has heard that it was attached anew is void.
        """
        data = b""
        for frame in self.frames:
            if frame.type == wire.OUTPUT and frame.epoch >= self._epoch:
                number, offset, piece = wire.unpack_output(frame.body)
                if number == ("stdout", "stderr").index(stream):
                    assert offset == len(data)
                    data += piece
        return data

    def acknowledge(self) -> None:
        """Move its windows on, as the root does once the store has it."""
        offsets = {name: len(self.output(name)) for name in ("stdout", "stderr")}
        self.send(Frame(wire.ACK, 0, 1, (), wire.dumps(offsets)))

    def wait_for(self, kind: int, deadline_s: float = DEADLINE_S) -> Frame:
        """The first frame of that type."""
        self.wait(lambda: any(frame.type == kind for frame in self.frames), frame_name(kind), deadline_s)
        return next(frame for frame in self.frames if frame.type == kind)

    def wait(self, condition: Callable[[], bool], what: str = "it", deadline_s: float = DEADLINE_S) -> None:
        """Read until a condition holds; fails at the deadline, or when the session ends before."""
        until = time.monotonic() + deadline_s
        while not condition():
            assert not self.ended, f"the session ended before {what}: {self.errors()!r}"
            assert time.monotonic() < until, f"no {what} in {deadline_s} s"
            self.read(0.05)

    def wait_closed(self, deadline_s: float = DEADLINE_S) -> None:
        """Read until the session's standard output ends."""
        until = time.monotonic() + deadline_s
        while not self.ended:
            assert time.monotonic() < until, f"the session didn't end in {deadline_s} s"
            self.read(0.05)

    def errors(self) -> bytes:
        """What the session printed on standard error, once it ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read() if self.ended else b""

    def read(self, wait_s: float) -> None:
        """Take what has come."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], wait_s)[0]:
            return
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            self.ended = True
        elif self._link is not None:
            self._receive(data)
        else:
            self._shake(data)

    def _shake(self, data: bytes) -> None:
        answer = self._handshake.feed(data)
        if answer is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.write(answer)
        self.process.stdin.flush()
        self._link = Link(wire.MAX_FRAME_UP, time.monotonic())
        self._receive(self._handshake.rest)

    def _receive(self, data: bytes) -> None:
        assert self._link is not None
        for frame in self._link.receive(data, time.monotonic()):
            self.frames.append(frame)
            if frame.type in wire.BULK:
                self._link.take(len(frame.body))
        self._write()

    def _write(self) -> None:
        assert self._link is not None
        assert self.process.stdin is not None
        while self._link.pending():
            try:
                self.process.stdin.write(self._link.pull(time.monotonic()))
                self.process.stdin.flush()
            except (BrokenPipeError, ValueError):
                return


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid: int) -> bool:
    """Is there such a process, and is it no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def marked(mark: str) -> list[int]:
    """Living processes that bear this word in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if mark.encode() in environment and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def claims_of(run: str) -> list[Path]:
    """Directories of the claims of a run on this machine, whoever holds them, or nobody any more."""
    return [path for path in MEMORY.iterdir() if path.name.startswith(f"nile-{os.getuid()}-{run}-")]
