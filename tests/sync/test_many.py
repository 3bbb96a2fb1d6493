"""What a run costs the root grows as its hosts do, not as the square of their number."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nile.cascade.tree import Tree
from nile.events import Verdict
from nile.sync import Deed, Method, Purpose, Releases, ReleasesOptions
from nile.topology.model import ROOT_ID
from tests.sync.many import FANOUT, Counted, wide
from tests.sync.simulated import Message
from tests.sync.test_flipping import Hosts as Delivered
from tests.sync.test_gathering import Hosts as Gathered
from tests.sync.workers import Workers

FEW = 40
MOST = 4.1
"""So many times as much may four times as many hosts cost; where each looks at all others it is up to 16."""


class Copied(Counted, Workers):
    """A run that copies."""


class Flipped(Counted, Delivered):
    """One that delivers a release, which all of them make current."""

    def _seal(self, node_id: int, message: Message) -> None:
        self._act(node_id, message, "seal")

    def _flip(self, node_id: int, message: Message) -> None:
        self._act(node_id, message, "flip", after="stage")


class Brought(Counted, Gathered):
    """One that gathers."""


class RolledBack(Counted):
    """One that makes the release before current."""

    def __init__(self, count: int) -> None:
        super().__init__(Tree(wide(count), {}), 0)
        self.job = Releases(ReleasesOptions(b"/dst", Deed.FLIP), "run", self.tree)

    def _look(self, node_id: int, message: Message) -> None:
        self._say(node_id, message["n"], current="2", previous="1", names=["2", "1"], half=[], flip=None)

    _stage = _flip = _confirm = _look


def ran(it: Counted, verdict: Verdict = Verdict.OK) -> Counted:
    """To its end, which is the same for all hosts."""
    it.run()
    assert [each.verdict for each in it.judged.values()] == [verdict] * len(it.tree.hosts)
    return it


def stream(count: int, heads: int = 1) -> Counted:
    """All say how far they are, and every other one that it is held up."""
    it = Copied(wide(count), {}, method=Method.STREAM, chains=heads)
    it.chain.holds = True
    it.begin()
    it.go_on()
    for seconds in range(3):
        for seat in it.chain.seats:
            progress = {"at": seconds, "received": seconds, "applier_s": 0.0, "successor_s": 0.8 * seconds}
            it._say(seat.node, seat.number, progress=progress, more=True)
            if seat.node % 2:
                it.chain.tell(seat.node, seat.number, "held", "applier" if seconds else "successor")
        it.go_on()
    it.chain.holds = False
    it.chain.flow()
    it.go_on()
    assert set(it.has.values()) == {"new"}
    return it


def chains(count: int) -> Counted:
    return stream(count, heads=3)


def cascade(count: int) -> Counted:
    """Some that serve others die meanwhile."""
    it = Copied(wide(count), {})
    it.begin()
    for node_id in range(1, count // FANOUT):
        for _ in range(FANOUT):
            it.step()
        it.die(node_id)
    it.go_on()
    assert set(it.judged) == set(it.has) - {ROOT_ID}
    return it


def more(count: int) -> Counted:
    """All have to be asked what differs: it is more than the source has."""
    it = Copied(wide(count), {}, method=Method.STREAM)
    it.keeps = set(it.has)
    return ran(it)


def rsync(count: int) -> Counted:
    return ran(Copied(wide(count), {}))


def flat(count: int) -> Counted:
    """All hang below the root."""
    return ran(Copied(wide(count, fanout=count), {}, method=Method.RSYNC_TCP))


def verify(count: int) -> Counted:
    """No two of them have the same."""
    had = {node_id: f"{node_id}" for node_id in range(1, count + 1)}
    return ran(Copied(wide(count), had, purpose=Purpose.VERIFY), Verdict.FAILED)


def flip(count: int) -> Counted:
    return ran(Flipped([number // FANOUT for number in range(count)], {}))


def gather(count: int) -> Counted:
    return ran(Brought(count))


def rollback(count: int) -> Counted:
    return ran(RolledBack(count))


RUNS = [stream, chains, rsync, flat, cascade, more, verify, flip, gather, rollback]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_what_a_host_costs_does_not_depend_on_how_many_there_are(run: Callable[[int], Counted]) -> None:
    assert run(4 * FEW).instructions < MOST * run(FEW).instructions
