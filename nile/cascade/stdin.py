"""The broadcast of standard input: as fast as the slowest command reads it.

Nothing is read before every asked host runs its command or is out of the
game, so that no host misses the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade.actions import Action, ReadStdin, Send
from nile.cascade.hosts import Host, State

WINDOW = 256 * 1024
EVERYTHING = 1 << 62
"""What a host says that it has taken when its command reads no more."""


class StdinBroadcast:
    """`sent` and what hosts have taken are absolute offsets in bytes."""

    def __init__(self, wanted: bool) -> None:
        self._open = wanted
        self._asked = False
        self._sent = 0

    def data(self, data: bytes) -> list[Action]:
        """Bytes were read: send them to all, chunk by chunk."""
        self._asked = False
        self._sent += len(data)
        chunks = (data[at : at + wire.CHUNK] for at in range(0, len(data), wire.CHUNK))
        return [Send(Frame(wire.STDIN, body=chunk)) for chunk in chunks]

    def end(self) -> list[Action]:
        """There is no more to come."""
        if not self._open:
            return []
        self._open = False
        return [Send(Frame(wire.STDIN))]

    def more(self, hosts: Iterable[Host]) -> list[Action]:
        """Ask for more where there is room and everybody listens."""
        if not self._open or self._asked:
            return []
        waiting = [host for host in hosts if host.node.asked and host.state is not State.OVER]
        if any(host.state is not State.RUNNING for host in waiting):
            return []
        taken = min((host.input_taken for host in waiting), default=EVERYTHING)
        room = WINDOW - (self._sent - min(taken, self._sent))
        if room < wire.CHUNK:
            return []
        self._asked = True
        return [ReadStdin(min(room, 2 * wire.CHUNK))]
