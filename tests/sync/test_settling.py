"""Ending flips that were interrupted: what is decided first, and what is said should that be broken off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from nile.cascade import Errand, Publish, Tell
from nile.cascade.hosts import Contact
from nile.cascade.tree import Tree
from nile.cascade.work import Judge
from nile.events import Code, Decision, Notice, Verdict
from nile.sync import Deed, Releases, ReleasesOptions
from nile.sync.asking import LEAST, STILL_S
from nile.sync.flipping import STORE
from nile.sync.judging import SILENT_S
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree

FLIP = {"origin": "1", "to": "2", "run": "r0", "done": False, "back": False}
LOOK: dict[str, Any] = {"current": "1", "previous": "", "names": ["2", "1"], "half": [], "flip": FLIP}


class Ending:
    """A run that ends a flip on hosts, up to where it has decided that; `looks` are what they have."""

    def __init__(self, *looks: dict[str, Any], deed: Deed = Deed.FINISH) -> None:
        looks = looks or (LOOK, LOOK)
        self.tree = Tree(tree([0] * len(looks)), {})
        for host in self.tree.hosts.values():
            host.contact = Contact.UP
        self.job = Releases(ReleasesOptions(b"/dst", deed), "run", self.tree)
        self.said: list[Errand] = []
        for node_id in self.tree.hosts:
            self.do(self.job.started(node_id, 0.0))
        for ask in [each for each in self.said if isinstance(each, Tell)]:
            if look := looks[ask.node_id - 1]:
                self.do(self.job.heard(ask.node_id, {"n": ask.message["n"], **look}, 0.0))

    def do(self, errands: Iterable[Errand]) -> None:
        self.said += errands

    def stored(self, **fields: str) -> None:
        (decision,) = [each.event for each in self.said if isinstance(each, Publish)]
        assert isinstance(decision, Decision)
        assert decision.text.endswith("in /dst is to be gone through with on h[0001-0002] (2)")
        self.do(self.job.heard(ROOT_ID, {"n": decision.number, **fields}, 0.0))

    @property
    def judged(self) -> dict[int, Any]:
        return {each.node_id: each.judgement for each in self.said if isinstance(each, Judge)}

    @property
    def settling(self) -> list[Tell]:
        return [each for each in self.said if isinstance(each, Tell) and each.message["do"] == "settle"]

    @property
    def notices(self) -> list[str]:
        events = [each.event for each in self.said if isinstance(each, Publish)]
        return [each.text for each in events if isinstance(each, Notice) and not isinstance(each, Decision)]


def test_they_are_told_once_it_is_in_the_store() -> None:
    it = Ending()
    assert it.settling == []
    it.stored()
    assert [tell.node_id for tell in it.settling] == [1, 2]
    assert {tell.message["run"] for tell in it.settling} == {"r0"}


def test_where_the_store_cannot_take_it_nobody_is_told() -> None:
    it = Ending()
    it.stored(code="store", reason="the disk is full")
    judged = [each.judgement for each in it.said if isinstance(each, Judge)]
    assert it.settling == []
    assert [(each.code, each.reason, each.remedy) for each in judged] == [
        (Code.QUORUM, "the disk is full", STORE)
    ] * 2


@pytest.mark.parametrize("before", [True, False])
def test_who_ends_it_is_told_of_whom_it_is_not_known(before: bool) -> None:
    it = Ending()
    if before:
        it.do(it.job.interrupted(1.0))
    it.stored()
    if not before:
        done = {**LOOK, "current": "2", "flip": {**FLIP, "done": True}}
        it.do(it.job.heard(1, {"n": it.settling[0].message["n"], **done}, 1.0))
        it.do(it.job.interrupted(1.0))
    for host in (1, 2):
        it.do(it.job.over(host, 2.0))
    unknown = "it isn't known whether the flip is ended on h0002 (1): `nile releases /dst` says"
    assert (len(it.settling), it.notices) == ((0, []) if before else (2, [unknown]))


BUSY = {"code": "busy", "reason": "another run writes there (run 0dd)", "remedy": "wait"}


@pytest.mark.parametrize("deed", [Deed.FINISH, Deed.UNDO])
def test_two_that_end_one_flip_in_two_directions_end_it_nowhere_where_each_has_some_of_the_hosts(
    deed: Deed,
) -> None:
    it = Ending(LOOK, BUSY, LOOK, deed=deed)
    assert it.settling == []
    assert not [each for each in it.said if isinstance(each, Publish)], "nothing was decided"
    assert {judgement.code for judgement in it.judged.values()} == {Code.BUSY}
    assert it.judged[1].reason == "nothing was ended, since another run is at h0002 (1)"
    assert "wait until it has ended" in it.judged[1].remedy


def test_a_host_on_which_nothing_is_to_be_ended_is_ok_whoever_is_at_another() -> None:
    it = Ending({**LOOK, "flip": None}, BUSY, LOOK)
    assert (it.judged[1].verdict, it.judged[3].code) == (Verdict.OK, Code.BUSY)


def flip(run: str, done: bool, first: str = "", to: str = "2", current: str = "2") -> dict[str, Any]:
    about = {"origin": "1", "to": to, "run": run, "done": done, "back": False, "first": first}
    return {**LOOK, "current": current, "flip": about}


def test_one_that_was_taken_up_by_another_run_is_taken_back_wherever_either_made_it() -> None:
    """On 1 the first run had said that it is over, on 2 the second one; 3 was away in the first one."""
    it = Ending(flip("a", True), flip("b", True, "a"), flip("b", False), deed=Deed.UNDO)
    assert "taken back also where it was over: h[0001-0002] (2)" in it.notices[0]
    (decision,) = [
        each.event for each in it.said if isinstance(each, Publish) if isinstance(each.event, Decision)
    ]
    it.do(it.job.heard(ROOT_ID, {"n": decision.number}, 0.0))
    assert [(tell.node_id, tell.message["run"]) for tell in it.settling] == [(1, "a"), (2, "b"), (3, "b")]


def test_a_flip_that_was_over_before_is_none_of_it_and_that_is_said() -> None:
    """A run with a quorum left one out, and another one that brought it there was interrupted."""
    it = Ending(flip("a", True), flip("a", True), flip("b", False), deed=Deed.UNDO)
    assert it.notices[0].startswith("2 stays current on h[0001-0002] (2), by a flip of another run")
    assert {node: each.verdict for node, each in it.judged.items()} == {1: Verdict.OK, 2: Verdict.OK}


def test_runs_are_told_apart_by_where_they_led() -> None:
    it = Ending(flip("a", True, to="3", current="3"), flip("a", False), deed=Deed.UNDO)
    assert set(it.judged) == {1}


class TestSilence:
    """One that is asked what it has."""

    def wait(self, it: Ending, seconds: float, done: int | None = None) -> None:
        """So much more has it looked at each time that it says so."""
        (number,) = [each.message["n"] for each in it.said if isinstance(each, Tell) and each.node_id == 1]
        looked = 0
        for _ in range(int(seconds) // 5):
            self.t += 5.0
            if done is not None and not it.judged:
                looked += done
                it.do(it.job.heard(1, {"n": number, "alive": True, "done": looked, "more": True}, self.t))
            it.do(it.job.tick(self.t))

    def asked(self) -> Ending:
        self.t = 0.0
        return Ending({}, {**LOOK, "flip": None})

    def test_it_hangs(self) -> None:
        it = self.asked()
        self.wait(it, SILENT_S + 10.0)
        assert "has said nothing" in it.judged[1].reason

    def test_it_only_says_that_it_is_at_it(self) -> None:
        it = self.asked()
        self.wait(it, STILL_S - 60.0, done=0)
        assert not it.judged
        self.wait(it, 120.0, done=0)
        assert "doesn't get on" in it.judged[1].reason

    def test_it_has_much_to_look_at(self) -> None:
        it = self.asked()
        self.wait(it, 3 * STILL_S, done=LEAST)
        assert not it.judged

    def test_it_is_out_of_reach_and_comes_back(self) -> None:
        it = self.asked()
        it.tree[1].contact = Contact.WAITING
        self.wait(it, 10 * SILENT_S)
        assert not it.judged
        it.tree[1].contact = Contact.UP
        self.wait(it, SILENT_S - 10.0)
        assert not it.judged
        self.wait(it, 30.0)
        assert "has said nothing" in it.judged[1].reason
