"""Ending flips that were interrupted: what is decided first, and what is said should that be broken off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from nile.cascade import Errand, Publish, Tell
from nile.cascade.tree import Tree
from nile.cascade.work import Judge
from nile.events import Code, Decision, Notice
from nile.sync import Deed, Releases, ReleasesOptions
from nile.sync.flipping import STORE
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree

FLIP = {"origin": "1", "to": "2", "run": "r0", "done": False, "back": False}
LOOK: dict[str, Any] = {"current": "1", "previous": "", "names": ["2", "1"], "half": [], "flip": FLIP}


class Ending:
    """A run that goes through with a flip on two hosts, up to where it has decided that."""

    def __init__(self) -> None:
        self.job = Releases(ReleasesOptions(b"/dst", Deed.FINISH), "run", Tree(tree([0, 0]), {}))
        self.said: list[Errand] = []
        for host in (1, 2):
            self.do(self.job.started(host, 0.0))
        for look in [each for each in self.said if isinstance(each, Tell)]:
            self.do(self.job.heard(look.node_id, {"n": look.message["n"], **LOOK}, 0.0))

    def do(self, errands: Iterable[Errand]) -> None:
        self.said += errands

    def stored(self, **fields: str) -> None:
        (decision,) = [each.event for each in self.said if isinstance(each, Publish)]
        assert isinstance(decision, Decision)
        assert decision.text.endswith("in /dst is to be gone through with on h[0001-0002] (2)")
        self.do(self.job.heard(ROOT_ID, {"n": decision.number, **fields}, 0.0))

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
