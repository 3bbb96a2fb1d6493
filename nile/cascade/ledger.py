"""Who has seen what: from events in flight to acknowledgements and credits. Pure.

Every published event gets a number. The store reports how far it has
committed, the display how far it has shown. A host's output is acknowledged,
end to end, once it is in the store; the room that it took on the link is given
back only when it was shown too, so a slow terminal slows the hosts down
instead of filling the root's memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nile.agent.core import STREAMS
from nile.cascade.inputs import Committed
from nile.events import Decision, Event, HostOutput, HostResult

NOTHING: Mapping[int, tuple[int, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Credit:
    """Bulk bytes that a child of the root sent, still in the root's memory."""

    child_id: int
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    node_id: int
    event: Event
    credit: Credit | None


class Ledger:
    """Numbers start with 1; reports of progress are absolute numbers and never go back."""

    def __init__(self, received: Mapping[int, tuple[int, int]] = NOTHING) -> None:
        """`received`: what the store has of each node's stdout and stderr already, in bytes."""
        self._last = 0
        self._unstored: deque[_Entry] = deque()
        self._unshown: deque[_Entry] = deque()
        self._decided: list[int] = []
        self._ends = {
            (node_id, stream): end
            for node_id, ends in received.items()
            for stream, end in zip(STREAMS, ends, strict=True)
        }

    @property
    def settled(self) -> bool:
        """Is everything stored and shown?"""
        return not self._unstored and not self._unshown

    def add(self, event: Event, node_id: int, credit: Credit | None) -> int:
        """A new event; its number."""
        self._last += 1
        entry = _Entry(self._last, node_id, event, credit)
        self._unstored.append(entry)
        self._unshown.append(entry)
        return self._last

    def stored(self, number: int) -> list[Committed]:
        """Everything up to this number is in the store: what each node is to be told."""
        results: dict[int, bool] = {}
        while self._unstored and self._unstored[0].number <= number:
            entry = self._unstored.popleft()
            event = entry.event
            if isinstance(event, HostOutput):
                self._ends[entry.node_id, event.stream] = event.offset + len(event.data)
                results.setdefault(entry.node_id, False)
            elif isinstance(event, HostResult):
                results[entry.node_id] = True
            elif isinstance(event, Decision):
                self._decided.append(event.number)
        return [self._committed(node_id, result) for node_id, result in results.items()]

    def decided(self) -> list[int]:
        """Numbers of decisions that are stored since this was asked last."""
        numbers, self._decided = self._decided, []
        return numbers

    def _committed(self, node_id: int, result: bool) -> Committed:
        stdout, stderr = (self._ends.get((node_id, stream), 0) for stream in STREAMS)
        return Committed(node_id, stdout, stderr, result)

    def shown(self, number: int) -> list[Credit]:
        """Everything up to this number was shown: the room to give back."""
        sizes: dict[int, int] = {}
        while self._unshown and self._unshown[0].number <= number:
            credit = self._unshown.popleft().credit
            if credit is not None:
                sizes[credit.child_id] = sizes.get(credit.child_id, 0) + credit.size
        return [Credit(child_id, size) for child_id, size in sizes.items()]
