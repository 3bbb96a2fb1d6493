"""The addresses of many names, looked up in other processes: a slow name server holds nothing else up."""

import os
import select
import signal
import socket
import sys
from collections import deque

from nile.agent import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Deque, Dict, List, Optional, Sequence

    from nile.agent.worker.loop import Loop

AT_ONE_TIME = 2  # processes
EACH = 64  # names for one of these
MOST_ADDRESSES = 4  # of one host
_LOOK_UP = """if 1:
    import socket, sys, threading
    def go_on():
        while names:
            try:
                name = names.pop()
            except IndexError:
                return
            try:
                found = {entry[4][0] for entry in socket.getaddrinfo(name, 0, 0, socket.SOCK_STREAM)}
            except (OSError, UnicodeError):
                found = ()
            sys.stdout.write(" ".join([name, *found]) + "\\n")
            sys.stdout.flush()
    names = sys.argv[:0:-1]
    for _ in range(8):
        threading.Thread(target=go_on).start()
"""


class LookUps:
    """`found(name, addresses)` for each of the names, in any order, never from within the constructor."""

    def __init__(
        self, loop: "Loop", names: "Sequence[str]", found: "Callable[[str, List[str]], None]"
    ) -> None:
        self._loop = loop
        self._found = found
        self._numbers: "List[str]" = []  # which needn't be asked of anybody
        self._names: "Deque[str]" = deque()
        self._asked: "Dict[int, List[str]]" = {}  # by descriptor, of whom there was no word yet
        self._said: "Dict[int, bytes]" = {}
        self._pids: "Dict[int, int]" = {}  # of those that haven't ended
        for name in dict.fromkeys(names):
            (self._numbers if is_address(name) else self._names).append(name)
        self._timer = loop.at(loop.now(), self._begin)

    @property
    def left(self) -> bool:
        """Is there still something to be found?"""
        return bool(self._numbers or self._names or any(self._asked.values()))

    def close(self) -> None:
        """Don't call `found`."""
        self._loop.forget(self._timer)
        self._numbers.clear()
        self._names.clear()
        for fd in list(self._asked):
            self._end(fd)

    def _begin(self) -> None:
        while self._numbers:
            name = self._numbers.pop()
            self._found(name, [name])
        self._ask()

    def _ask(self) -> None:
        while self._names and len(self._asked) < AT_ONE_TIME:
            names = [self._names.popleft() for _ in range(min(EACH, len(self._names)))]
            try:
                fd = self._start(names)
            except OSError:
                for name in names:
                    self._found(name, [])
            else:
                self._asked[fd], self._said[fd] = names, b""
                self._loop.watch(fd, select.POLLIN, self._reader(fd))

    def _start(self, names: "List[str]") -> int:
        """A process that looks them up: where it says what it found. Raises OSError."""
        fd, write = os.pipe()
        os.set_blocking(fd, False)
        null = os.open(os.devnull, os.O_RDWR)
        argv = [sys.executable, "-I", "-S", "-c", _LOOK_UP] + names
        try:
            pid = processes.spawn(argv, dict(os.environ), [null, write, null])
        except OSError:
            os.close(fd)
            raise
        finally:
            os.close(null)
            os.close(write)
        self._pids[fd] = pid

        def ended(_status: "Optional[int]", _signal: "Optional[int]") -> None:
            if self._pids.get(fd) == pid:  # that descriptor may be another one's by now
                del self._pids[fd]

        self._loop.child(pid, ended)
        return fd

    def _reader(self, fd: int) -> "Callable[[int], None]":
        return lambda _: self._read(fd)

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return
        *lines, self._said[fd] = (self._said[fd] + data).split(b"\n")
        for line in lines:
            name, *addresses = line.decode("utf-8", "replace").split(" ")
            if name in self._asked[fd]:
                self._asked[fd].remove(name)
                self._found(name, addresses[:MOST_ADDRESSES])
                if fd not in self._asked:
                    return  # it was closed there
        if not data:
            for name in self._end(fd):
                self._found(name, [])
            self._ask()

    def _end(self, fd: int) -> "List[str]":
        self._loop.unwatch(fd)
        os.close(fd)
        del self._said[fd]
        pid = self._pids.pop(fd, 0)
        if pid:
            os.kill(pid, signal.SIGKILL)  # a name server may take its time
        return self._asked.pop(fd)


def is_address(name: str) -> bool:
    """Is it one, and no name?"""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name)
        except (OSError, ValueError):
            continue
        return True
    return False


def is_ours(address: str) -> bool:
    """Is it one of this machine? Nothing is sent to find that out."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        try:
            tried.connect((address, 9))
            found: str = tried.getsockname()[0]
        except OSError:
            return False
    return found == address
