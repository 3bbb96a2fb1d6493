"""The addresses of a name, looked up in a process of its own: a slow name server holds nothing else up.

And a socket that listens at one of ours, or at all of them.
"""

import _socket as socket
import errno
import os
import select
import sys

from nile.agent import processes
from nile.agent.worker.sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Tuple

    from nile.agent.worker.loop import Loop

EVERYWHERE = ""
LOOPBACK = "127.0.0.1"
_LOOK_UP = """if 1:
    import socket, sys
    try:
        found = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), 0, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        print("-", getattr(error, "strerror", None) or error)
    else:
        for family, _, _, _, place in found:
            print(int(family), *place)
"""


class LookUp:
    """The addresses of a name: `found([(family, place)], reason)`, never from within the constructor."""

    def __init__(self, loop: "Loop", name: str, port: int, found: "Callable[[List[Any], str], None]") -> None:
        self._loop = loop
        self._found = found
        self._said = b""
        self._fd = -1
        self._timer = -1
        try:
            # As bytes: what is text goes through a codec for names, which takes 5 ms and more to load.
            numeric = name.encode("ascii")
            known = socket.getaddrinfo(numeric, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            self._ask(name, port)
        else:
            places = [(entry[0], entry[4]) for entry in known]
            self._timer = loop.at(loop.now(), lambda: found(places, ""))

    def close(self) -> None:
        """Don't call `found`."""
        self._loop.forget(self._timer)
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _ask(self, name: str, port: int) -> None:
        self._fd, write = os.pipe()
        os.set_blocking(self._fd, False)
        null = os.open(os.devnull, os.O_RDWR)
        argv = [sys.executable, "-I", "-S", "-c", _LOOK_UP, name, str(port)]
        try:
            pid = processes.spawn(argv, dict(os.environ), [null, write, null])
        finally:
            os.close(null)
            os.close(write)
        self._loop.child(pid, lambda _status, _signal: None)
        self._loop.watch(self._fd, select.POLLIN, self._read)

    def _read(self, _: int) -> None:
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return
        if data:
            self._said += data
            return
        self.close()
        lines = [line.split(" ") for line in self._said.decode("utf-8", "replace").splitlines()]
        places = [(int(line[0]), _place(line[1:])) for line in lines if line[0] != "-"]
        self._found(places, "" if places else " ".join(lines[0][1:] if lines else ["it has no address"]))


def _place(words: "List[str]") -> "Tuple[Any, ...]":
    """A socket's address of the words printed: the name, then numbers."""
    return (words[0],) + tuple(int(word) for word in words[1:])


def listening(address: str, port: int = 0) -> Socket:
    """A socket at this port (0: any) of it, or of EVERYWHERE. It doesn't block. Raises OSError."""
    try:
        return _bound(address or "::", port)
    except OSError as error:
        if address != EVERYWHERE or error.errno == errno.EADDRINUSE:
            raise
        return _bound("0.0.0.0", port)  # here is no IPv6


def _bound(address: str, port: int) -> Socket:
    listening = Socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        if port:  # connections that were to it may linger
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((address, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening
