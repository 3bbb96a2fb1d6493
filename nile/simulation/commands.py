"""Simulated commands: scripts of steps, and the processes and pipes that they make on a host.

A script is a generator: it yields steps, gets the bytes that a `Read` asked
for, and returns its exit status.

    def script() -> Script:
        yield Write("stdout", b"hello\\n")
        yield Sleep(1.5)
        return 0
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from nile.simulation.clock import Clock

PIPE_SIZE = 65536


@dataclass(frozen=True, slots=True)
class Sleep:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Write:
    """Write to `stdout` or `stderr`; waits where the pipe is full."""

    stream: str
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Read:
    """Read at most `size` bytes of standard input; b"" at its end."""

    size: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave a process behind: for so long, or for ever."""

    name: str
    seconds: float | None = None
    ignores_term: bool = False


@dataclass(frozen=True, slots=True)
class IgnoreTerm:
    """From now on SIGTERM does nothing."""


Step = Sleep | Write | Read | Leave | IgnoreTerm
Script = Generator[Step, bytes, int]
TERM, KILL = 15, 9


class Process:
    """A process of a run on a simulated host."""

    def __init__(self, pid: int, name: str, ignores_term: bool = False) -> None:
        self.pid = pid
        self.name = name
        self.ignores_term = ignores_term
        self.alive = True

    def die(self) -> None:
        """By itself, or by a signal."""
        self.alive = False


class Command(Process):
    """The command itself. `ended(status, signal)` is called once; `readable(stream)` when there is output."""

    def __init__(
        self,
        pid: int,
        script: Script,
        clock: Clock,
        leave: Callable[[Leave], None],
        readable: Callable[[str], None],
        ended: Callable[[int | None, int | None], None],
    ) -> None:
        super().__init__(pid, "command")
        self._script = script
        self._clock = clock
        self._leave = leave
        self._readable = readable
        self._ended = ended
        self._writing: Write | None = None
        self._reading: Read | None = None
        self.pipes = {"stdout": bytearray(), "stderr": bytearray()}
        self._printed: dict[str, list[memoryview]] = {"stdout": [], "stderr": []}
        self.input = bytearray()
        self.input_ended = False
        self.consumed = bytearray()
        self.on_input_room: Callable[[], None] = lambda: None
        self.status: tuple[int | None, int | None] | None = None
        self.ended_at = 0.0

    def begin(self) -> None:
        """Run until the first step that waits."""
        self._next(None)

    def signal(self, signum: int) -> None:
        """A signal was sent."""
        if self.alive and (signum == KILL or not self.ignores_term):
            self._script.close()
            self._end(None, signum)

    def _end(self, status: int | None, signum: int | None) -> None:
        self.alive = False
        self.ended_at = self._clock.now
        self.status = (status, signum)
        self._ended(status, signum)

    def take_output(self, stream: str, size: int) -> bytes:
        """Read its output from the other end of the pipe."""
        pipe = self.pipes[stream]
        data = bytes(memoryview(pipe)[:size])
        del pipe[:size]
        if self.alive and self._writing is not None and self._writing.stream == stream:
            self._clock.after(0.0, self._write_on)
        return data

    def give_input(self, data: bytes) -> int:
        """Write to its standard input; how many bytes the pipe took."""
        size = max(0, PIPE_SIZE - len(self.input))
        self.input += data[:size]
        self._read_on()
        return min(size, len(data))

    def end_input(self) -> None:
        """Its standard input is at the end."""
        self.input_ended = True
        self._read_on()

    def printed(self, stream: str) -> bytes:
        """All that it wrote to a stream."""
        return b"".join(self._printed[stream])

    def _next(self, answer: bytes | None) -> None:
        while self.alive:
            try:
                step = next(self._script) if answer is None else self._script.send(answer)
            except StopIteration as stop:
                self._end(stop.value, None)
                return
            answer = None
            if self._must_wait(step):
                return

    def _must_wait(self, step: Step) -> bool:
        match step:
            case Sleep(seconds):
                self._clock.after(seconds, self._next, None)
                return True
            case Write():
                self._writing = step
                return not self._write()
            case Read():
                self._reading = step
                self._clock.after(0.0, self._read_on)
                return True
            case Leave():
                self._leave(step)
            case IgnoreTerm():
                self.ignores_term = True
        return False

    def _write(self) -> bool:
        """Write as much as the pipe takes; is all written?"""
        assert self._writing is not None
        stream, data = self._writing.stream, self._writing.data
        taken = memoryview(data)[: max(0, PIPE_SIZE - len(self.pipes[stream]))]
        self.pipes[stream] += taken
        self._printed[stream].append(taken)
        self._writing = Write(stream, memoryview(data)[len(taken) :]) if len(data) > len(taken) else None
        if data:
            self._readable(stream)
        return self._writing is None

    def _write_on(self) -> None:
        if self.alive and self._writing is not None and self._write():
            self._next(None)

    def _read_on(self) -> None:
        if not self.alive or self._reading is None or not (self.input or self.input_ended):
            return
        size, self._reading = self._reading.size, None
        data = bytes(self.input[:size])
        del self.input[:size]
        self.consumed += data
        self._clock.after(0.0, self._next, data)
        self.on_input_room()
