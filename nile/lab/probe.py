"""Does ssh answer? Asked of many hosts at once, by waiting for the server's first line."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from nile.lab.kernel import CLONE_NEWNET, enter

AT_ONCE = 128


def probe(addresses: Mapping[str, str], port: int, within_s: float) -> set[str]:
    """Names of the hosts that sent `SSH-` within a time in seconds; 128 hosts are asked at a time."""
    names = list(addresses)
    answered: set[str] = set()
    for start in range(0, len(names), AT_ONCE):
        some = {name: addresses[name] for name in names[start : start + AT_ONCE]}
        answered |= _probe(some, port, within_s)
    return answered


def _probe(addresses: Mapping[str, str], port: int, within_s: float) -> set[str]:
    answered: set[str] = set()
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for name, address in addresses.items():
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex((address, port))
            selector.register(sock, selectors.EVENT_READ, name)
        end = time.monotonic() + within_s
        while selector.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                sock = selector.unregister(key.fileobj).fileobj  # type: ignore[assignment]
                if _banner(sock):
                    answered.add(key.data)
    return answered


def _banner(sock: socket.socket) -> bool:
    try:
        return sock.recv(4) == b"SSH-"
    except OSError:
        return False


def from_namespace(pid: int, work: Callable[[], set[str]]) -> set[str]:
    """Do `work` in a process's network namespace: in a thread, since a namespace is a thread's own."""
    results: list[set[str]] = []
    failures: list[Exception] = []

    def body() -> None:
        try:
            enter(pid, {"net": CLONE_NEWNET})
            results.append(work())
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
