"""Ports at which a peer of a swarm may listen."""

import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

NO_PORT = "no port of %d to %d is free"


def free_port(ports: "Sequence[int]", tried: int) -> int:
    """One that nobody has, of those from the first to the last one, if there are any; 0 if there is none.

    Each process begins elsewhere, for there may be several on one machine, and further on after it `tried`.
    """
    first, last = ports or (0, 0)
    count = last - first + 1
    for number in range(count):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("", first + (os.getpid() + tried + number) % count))
            except OSError:
                continue
            return int(one.getsockname()[1])
    return 0
