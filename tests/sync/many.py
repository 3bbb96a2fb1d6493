"""Runs on so many hosts that it shows what each costs: messages arrive as they are said."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from nile.cascade.work import Errand
from nile.topology.model import Plan
from tests.simulation.trees import tree
from tests.sync.simulated import Simulated

FANOUT = 20


def wide(count: int, fanout: int = FANOUT) -> Plan:
    """So many hosts, each with that many below it."""
    return tree([(number - 1) // fanout if number else 0 for number in range(count)])


class Metered(Simulated):
    """`spent_s` is the CPU time that the job has taken; a second passes with a message of each host."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._order: deque[int] = deque()
        self.spent_s = 0.0
        super().__init__(*args, **options)

    def step(self) -> bool:
        """The next message arrives."""
        while self._order:
            node_id = self._order.popleft()
            if queue := self._queues[node_id]:
                before, self.t = self.t, self.t + 1 / len(self.tree.hosts)
                self._carry_out(self.job.heard(node_id, queue.popleft(), self.t))
                if int(before) != int(self.t):
                    self._carry_out(self.job.tick(self.t))
                return True
        return False

    def _say(self, node_id: int, number: int, **fields: Any) -> None:
        super()._say(node_id, number, **fields)
        self._order.append(node_id)

    def _carry_out(self, errands: Iterable[Errand]) -> None:
        began_s = time.process_time()
        errands = list(errands)
        self.spent_s += time.process_time() - began_s
        super()._carry_out(errands)
