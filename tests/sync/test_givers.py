"""Copies of which nothing comes: who hangs is failed, and whoever has to do with it goes on with others."""

from __future__ import annotations

import pytest

from nile.cascade.hosts import Contact
from nile.events import Code, Verdict
from nile.sync import Method
from nile.sync.asking import LEAST, STILL_S
from nile.sync.giving import ANSWER_S
from nile.sync.judging import SILENT_S, STALLED_S
from nile.sync.targets import Step
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.simulated import Message
from tests.sync.workers import SIZE, Workers

BOUND_S = STALLED_S + ANSWER_S + 30.0


class Stuck(Workers):
    """Of copies that `stuck` nodes give nothing comes; who is `hung` doesn't say either that they have ended.

    Host 1 has what the source has, and the others hang below it.
    """

    def __init__(self, stuck: set[int], hung: set[int], hosts: int = 4, had: str = "new") -> None:
        super().__init__(tree([0] + [1] * (hosts - 1)), {1: had}, method=Method.RSYNC)
        self.stuck, self.hung = stuck, hung
        self.under_way: dict[int, int] = {}
        """Who is given something by one that is stuck, and the number of what was asked."""

    def _push(self, node_id: int, message: Message) -> None:
        if node_id in self.stuck:
            self.copies.append((node_id, message["to"]))
            self.under_way[message["to"]] = message["n"]
        else:
            super()._push(node_id, message)

    def _abandon(self, node_id: int, message: Message) -> None:
        if node_id in self.hung:
            return
        if message["what"] in self.under_way.values():
            self._say(node_id, message["what"], code="stopped", reason="told to", retry=False, sent=0)
        else:
            super()._abandon(node_id, message)

    def wait(self, seconds: float, alive: int | None = None, each: int = 0) -> None:
        """Nothing more happens for so long, but that one says that it is at it, and how far."""
        end, done = self.t + seconds, 0
        while self.t < end:
            if alive is not None and alive not in self._dead:
                done += each
                self._say(alive, 1, alive=True, done=done, more=True)
            while self.step():
                pass
            self.t += 5.0
            self._carry_out(self.sync.tick(self.t))
        while self.step():
            pass

    @property
    def ok(self) -> set[int]:
        return {node for node, judgement in self.judged.items() if judgement.verdict is Verdict.OK}


@pytest.mark.parametrize("takers_say", [True, False])
def test_a_giver_that_hangs_is_failed_and_its_takers_are_served_by_another(takers_say: bool) -> None:
    it = Stuck({1}, {1})
    it.run()
    assert sorted(it.copies) == [(1, 2), (1, 3), (1, 4)]
    if takers_say:  # rsync hears nothing more, and ends there
        it.wait(120.0)
        for taker in (2, 3, 4):
            it._say(taker, it._receiving.pop(taker), code="timeout", reason="nothing came", retry=True)
    it.wait(BOUND_S)
    it.go_on()
    assert it.judged[1].code is Code.AGENT
    assert "its worker hangs: it was to copy to" in it.judged[1].reason
    assert it.ok == {2, 3, 4}
    assert sorted(it.copies[3:]) == [(ROOT_ID, 2), (ROOT_ID, 3), (ROOT_ID, 4)]


def test_whoever_has_everything_needs_no_other_giver() -> None:
    it = Stuck({1}, {1}, hosts=2)
    it.run()
    it.has[2] = "new"
    it._say(2, it._receiving.pop(2))
    it.wait(BOUND_S + SILENT_S)
    assert (it.ok, it.judged[1].code) == ({2}, Code.AGENT)
    assert it.copies == [(1, 2)]


def test_a_taker_that_hangs_is_failed_and_its_giver_goes_on() -> None:
    it = Stuck({1}, {4})
    it.run()
    it.stuck = set()
    it.has |= dict.fromkeys((2, 3), "new")
    for taker in (2, 3):
        it._say(1, it.under_way.pop(taker), sent=SIZE)
        it._say(taker, it._receiving.pop(taker))
    it.wait(BOUND_S)
    it.go_on()
    assert it.judged[4].code is Code.AGENT
    assert "nothing was heard of the copy to it" in it.judged[4].reason
    assert it.ok == {1, 2, 3}


def test_where_nobody_hangs_another_giver_is_tried() -> None:
    it = Stuck({1}, set())
    it.run()
    it.wait(BOUND_S)
    it.go_on()
    assert it.ok == {1, 2, 3, 4}
    assert sorted(it.copies[3:]) == [(ROOT_ID, 2), (ROOT_ID, 3), (ROOT_ID, 4)]


def test_a_root_that_hangs_fails_those_alone_that_only_it_can_serve() -> None:
    it = Stuck({ROOT_ID}, {ROOT_ID}, hosts=2)
    it.run()
    assert it.ok == {1, 2}  # nobody needed it
    it = Stuck({ROOT_ID}, {ROOT_ID}, had="old")
    it.run()
    assert it.copies == [(ROOT_ID, 1)]
    it.wait(BOUND_S)
    it.go_on()
    assert not it.ok
    assert {judgement.code for judgement in it.judged.values()} == {Code.SOURCE}
    assert "the root hangs" in it.judged[4].reason


def test_who_is_out_of_reach_cant_say_that_it_ended() -> None:
    it = Stuck({1}, {4})
    it.run()
    it.wait(STALLED_S + 10.0)
    assert it.sync._targets[4].doubted_s is not None
    it.tree[4].contact = Contact.WAITING
    it.wait(10 * ANSWER_S)
    assert 4 not in it.judged
    it.tree[4].contact = Contact.UP
    it.wait(ANSWER_S - 10.0)
    assert 4 not in it.judged
    it.wait(30.0)
    assert it.judged[4].code is Code.AGENT


def test_the_time_in_which_a_giver_looks_at_its_files_is_not_its_takers() -> None:
    """For as many as it has that may take long; and meanwhile it moves nothing for anybody."""
    it = Stuck({1}, set())
    it.run()
    it.wait(5 * STALLED_S, alive=1, each=LEAST)
    assert not it.judged
    assert it.sync._targets.count(Step.COPYING) == 3
    it.has |= dict.fromkeys((2, 3, 4), "new")
    for taker in (2, 3, 4):
        it._say(1, it.under_way[taker], sent=SIZE)
        it._say(taker, it._receiving.pop(taker))
    it.go_on()
    assert it.ok == {1, 2, 3, 4}


@pytest.mark.parametrize("hung", [True, False])
def test_one_that_looks_and_does_not_get_on_hangs_itself(hung: bool) -> None:
    """What it says doesn't show that it gets on: its takers have another giver then."""
    it = Stuck({1}, {1} if hung else set())
    it.run()
    it.wait(STILL_S + BOUND_S, alive=1, each=0)
    it.go_on()
    assert it.ok == {2, 3, 4} | ({1} - it.hung)
    assert (1 in it.judged and it.judged[1].code is Code.AGENT) is hung


def test_bytes_that_come_show_that_its_look_is_over() -> None:
    """It looks at few files, but long after it began to give."""
    it = Stuck({1}, set(), hosts=2)
    it.source = {"size": 10**9}
    it.run()
    for step in range(1, 200):
        it._say(1, it.under_way[2], sent_so_far=step * 10**5, more=True)
        it.wait(5.0)
    assert it.t > STILL_S
    it.wait(STALLED_S + 100.0, alive=1, each=1)
    assert not it.judged
