"""What a command writes: its two pipes, read as far as there is room for it."""

import os
import select

from nile.agent import wire
from nile.agent.core import STREAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Sequence

    from nile.agent.loop import Agent

AFTER_EXIT_MOST = 4 << 20  # what a stream may still give once its command ended


class Streams:
    """Standard output and standard error; `fds` are where they can be read, closed in the end."""

    def __init__(self, agent: "Agent", fds: "Sequence[int]") -> None:
        self._agent = agent
        self._fds: "Dict[str, int]" = dict(zip(STREAMS, fds))  # noqa: B905  (strict came with 3.10)
        self._after_exit: "Dict[str, int]" = {}
        for name, fd in self._fds.items():
            os.set_blocking(fd, False)
            self.reading(name, True)

    def reading(self, name: str, wanted: bool) -> None:
        """Read that stream, or let it wait."""
        fd = self._fds.get(name)
        if fd is None:
            return
        if not wanted:
            self._agent.unwatch(fd)
        elif name in self._after_exit:
            self._read_all(name)
        else:
            self._agent.watch(fd, select.POLLIN, lambda _: self._read(name))

    def drain(self) -> None:
        """The command ended: whatever is in a pipe now is all that there is."""
        for name in list(self._fds):
            self._after_exit[name] = AFTER_EXIT_MOST
            self._read_all(name)

    def _read_all(self, name: str) -> None:
        """Until it is empty or its window is full; the rest comes as the window moves."""
        while name in self._fds and self._agent.core.room(name):
            self._read(name)

    def _read(self, name: str) -> None:
        core = self._agent.core
        data = b""
        try:
            data = os.read(self._fds[name], min(wire.CHUNK, core.room(name)))
        except BlockingIOError:
            if name not in self._after_exit:
                return
        except OSError:
            pass
        # Where one that was left behind writes without end, that must not hold up the verdict.
        if name in self._after_exit:
            self._after_exit[name] -= len(data)
            data = data if self._after_exit[name] > 0 else b""
        if data:
            self._agent.perform(core.output(name, data))
            return
        self._agent.drop(self._fds.pop(name))
        self._agent.perform(core.drained(name))
