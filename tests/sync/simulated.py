"""A job whose workers are no processes: what they say arrives in an order that is drawn from a seed."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

import pytest

from nile.cascade import Attest, Vouch
from nile.cascade.hosts import Contact
from nile.cascade.tree import Tree
from nile.cascade.verdicts import Judgement
from nile.cascade.work import Errand, Job, Judge, Reach, Tell
from nile.events import Decision
from nile.topology.model import ROOT_ID

Message = dict[str, Any]


class Simulated:
    """A run of a job. What a worker does when it is told `do` is in a method `_do`.

    Messages of different workers arrive in any order, those of one in theirs.
    """

    TICKS = 10

    job: Job

    def __init__(self, tree: Tree, seed: int) -> None:
        self.tree = tree
        for host in tree.hosts.values():
            host.contact = Contact.UP
        self.judged: dict[int, Judgement] = {}
        self.published: list[Any] = []
        self.decided: list[str] = []
        self.stores: Message | None = {}
        """What is said once a decision is in the store; None: it isn't yet."""
        self.t = 0.0
        self._random = random.Random(seed)
        self._queues: dict[int, deque[Message]] = defaultdict(deque)
        self._dead: set[int] = set()

    def begin(self, late: Iterable[int] = ()) -> None:
        """It begins, and all hosts start that aren't late."""
        late = set(late)
        self._carry_out(self.job.begin(0.0))
        for host in list(self.tree.hosts.values()):
            if host.node.asked and host.id not in late:
                self.start(host.id)

    def run(self, late: Iterable[int] = ()) -> None:
        """Until nothing is left to be said."""
        self.begin(late)
        self.go_on()

    def start(self, node_id: int) -> None:
        """A host's worker runs."""
        self._carry_out(self.job.started(node_id, self.t))

    def go_on(self) -> None:
        """Until nothing is left to be said, for some seconds."""
        for _ in range(self.TICKS):
            while self.step():
                pass
            self.t += 1.0
            self._carry_out(self.job.tick(self.t))

    def step(self) -> bool:
        """One message arrives, if there is any."""
        full = [each for each, queue in self._queues.items() if queue]
        if full:
            self.t += 0.01
            node_id = self._random.choice(full)
            self._carry_out(self.job.heard(node_id, self._queues[node_id].popleft(), self.t))
        return bool(full)

    def _carry_out(self, errands: Iterable[Errand]) -> None:
        over = []
        for errand in errands:
            if isinstance(errand, Tell):
                self._tell(errand.node_id, errand.message)
            elif isinstance(errand, Reach):
                self._reach(errand)
            elif isinstance(errand, Vouch):
                self._vouch(errand)
            elif isinstance(errand, Attest):
                self._attest(errand)
            elif isinstance(errand, Judge):
                assert errand.node_id not in self.judged, "it has its verdict"
                self.judged[errand.node_id] = errand.judgement
                over.append(errand.node_id)
            else:
                self._publish(errand.event)
        for node_id in over:
            self._end(node_id)

    def _publish(self, event: Any) -> None:
        if not isinstance(event, Decision):
            self.published.append(event)
            return
        self.decided.append(event.text)
        if self.stores is not None:
            self._say(ROOT_ID, event.number, **self.stores)

    def _tell(self, node_id: int, message: Message) -> None:
        if node_id not in self._dead:
            getattr(self, "_" + message["do"].replace("-", "_"))(node_id, message)

    def _reach(self, errand: Reach) -> None:
        self._say(errand.giver, errand.number, port=errand.port + 1000)

    def _vouch(self, errand: Vouch) -> None:
        self._say(ROOT_ID, errand.number, answer=b"signed", refused="", spent=0)

    def _attest(self, errand: Attest) -> None:
        pytest.fail("nothing is to be signed")

    def _end(self, node_id: int) -> None:
        """Its worker is no more."""
        self._dead.add(node_id)
        self._queues[node_id].clear()
        self._carry_out(self.job.over(node_id, self.t))

    def _say(self, node_id: int, number: int, **fields: Any) -> None:
        self._queues[node_id].append({"n": number, **fields})
