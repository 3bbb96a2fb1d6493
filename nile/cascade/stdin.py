"""The broadcast of standard input: as fast as the slowest command reads it.

Nothing is read before every asked host runs its command or is out of the
game, so that no host misses the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable

from nile.agent import wire
from nile.agent.wire import Frame
from nile.cascade.actions import Action, ReadStdin, Send

WINDOW = 256 * 1024
EVERYTHING = 1 << 62
"""What a host says that it has taken when its command reads no more."""


class StdinBroadcast:
    """`sent` and what hosts have taken are absolute offsets in bytes; `asked` are the ids of asked hosts."""

    def __init__(self, wanted: bool, asked: Iterable[int]) -> None:
        self._open = wanted
        self._asked = False
        self._sent = 0
        self._pending = set(asked) if wanted else set()
        self._taken: dict[int, int] = {}
        self._floor = 0
        self._at_floor = 0
        """Hosts that have taken no more than that: while there are any, the floor stays."""

    def started(self, host_id: int) -> None:
        """Its command runs."""
        if host_id in self._pending:
            self._pending.discard(host_id)
            self._taken[host_id] = 0
            self._at_floor += self._floor == 0

    def over(self, host_id: int) -> None:
        """It has its verdict, and holds nobody up."""
        self._pending.discard(host_id)
        taken = self._taken.pop(host_id, None)
        self._at_floor -= taken is not None and taken <= self._floor

    def taken(self, host_id: int, offset: int) -> None:
        """Its command has read so far; never back."""
        before = self._taken.get(host_id)
        if before is not None and offset > before:
            self._taken[host_id] = offset
            self._at_floor -= before <= self._floor < offset

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

    def more(self) -> list[Action]:
        """Ask for more where there is room and everybody listens."""
        if not self._open or self._asked or self._pending:
            return []
        if self._at_floor <= 0:
            self._floor = min(self._taken.values(), default=EVERYTHING)
            self._at_floor = sum(taken <= self._floor for taken in self._taken.values())
        room = WINDOW - (self._sent - min(self._floor, self._sent))
        if room < wire.CHUNK:
            return []
        self._asked = True
        return [ReadStdin(min(room, 2 * wire.CHUNK))]
