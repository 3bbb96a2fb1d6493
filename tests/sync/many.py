"""Runs on so many hosts that it shows what each costs: messages arrive as they are said."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import nile.sync
from nile.cascade.work import Errand
from nile.topology.model import Plan
from tests.simulation.trees import tree
from tests.sync.simulated import Simulated

FANOUT = 12
COORDINATOR = str(Path(nile.sync.__file__).parent)


def wide(count: int, fanout: int = FANOUT) -> Plan:
    """So many hosts, each with that many below it."""
    return tree([number // fanout for number in range(count)])


class Counted(Simulated):
    """`instructions` are those of Python that the job took. A second passes with five messages a host."""

    TICKS = 2

    def __init__(self, *args: Any, **options: Any) -> None:
        self._order: deque[int] = deque()
        self.instructions = 0
        super().__init__(*args, **options)

    def step(self) -> bool:
        """The next message arrives."""
        while self._order:
            node_id = self._order.popleft()
            if queue := self._queues[node_id]:
                before, self.t = self.t, self.t + 0.2 / len(self.tree.hosts)
                self._carry_out(self.job.heard(node_id, queue.popleft(), self.t))
                if int(before) != int(self.t):
                    self._carry_out(self.job.tick(self.t))
                return True
        return False

    def _say(self, node_id: int, number: int, **fields: Any) -> None:
        super()._say(node_id, number, **fields)
        self._order.append(node_id)

    def _carry_out(self, errands: Iterable[Errand]) -> None:
        with self._counting():
            errands = list(errands)
        super()._carry_out(errands)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._entered)
        try:
            yield
        finally:
            sys.settrace(before)

    def _entered(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(COORDINATOR):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._counts

    def _counts(self, frame: FrameType, event: str, arg: object) -> Any:
        self.instructions += event == "opcode"
        return self._counts
