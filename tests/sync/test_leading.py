"""Who is signed for: the one login that a feeder was told to make, as long as it makes it, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from nile.cascade import Errand, Neighbours, Tell, Vouch
from nile.cascade.tree import Tree
from nile.sync import Paths, SyncOptions
from nile.sync.leading import Leading
from nile.sync.means import Means
from nile.sync.member import Member
from nile.sync.roster import Roster
from tests.simulation.trees import tree

REQUEST: dict[str, Any] = {"serial": 3, "binds": [b"bind"], "request": b"sign"}


class Three:
    """h1 feeds h2, and h2 feeds h3; from h1 to h2 it goes through ssh, from h2 to h3 it may not."""

    def __init__(self) -> None:
        hosts = Tree(tree([0, 0, 0]), {})
        paths = Paths(Neighbours(lambda *_: "h", lambda giver, _: {} if giver == 1 else None))
        paths.failed(1, 2, "refused", "so", by_ssh=False)
        means = Means(SyncOptions((b"/src/",), b"/dst"), "run", hosts, paths, lambda: b"s" * 32)
        self.leading = Leading(means, 1, b"", lambda *_: iter(()), lambda *_: iter(()))
        self.asking, roster = means.asking, Roster(hosts)
        self.members: list[Member] = []
        for number in (1, 2, 3):
            feeder = self.members[-1] if self.members else None
            self.members.append(Member(roster[number], feeder, number=number))
        for member in self.members[1:]:
            self.leading.prepare(member)
            list(self.leading.lead(member, 4000))

    def ask(self, feeder: int, link: int) -> list[Errand]:
        return list(self.leading.sign(self.members[feeder - 1], {**REQUEST, "link": link}))


def test_the_login_of_the_one_who_was_told() -> None:
    it = Three()
    assert [member.by_ssh for member in it.members[1:]] == [True, False]
    (vouch,) = it.ask(1, it.members[1].link)
    assert isinstance(vouch, Vouch)
    assert (vouch.taker, vouch.binds, vouch.request, vouch.budget_left) == (2, (b"bind",), b"sign", 1)
    answer = {"n": vouch.number, "answer": b"signed", "refused": "", "spent": 0}
    (told,) = it.asking.heard(0, answer, 0.0)
    assert isinstance(told, Tell)
    assert told.node_id == 1
    words = {"do": "signed", "what": 1, "link": it.members[1].link, "serial": 3, "answer": b"signed"}
    assert words.items() <= told.message.items()


def test_not_of_another() -> None:
    it = Three()
    assert it.ask(3, it.members[1].link) == []
    assert it.ask(2, it.members[1].link) == []


def test_not_one_that_nobody_was_told_to_make() -> None:
    it = Three()
    with pytest.raises(ValueError, match="no login"):
        it.ask(2, it.members[2].link)
    assert it.ask(1, 99) == []


def test_one_at_a_time_and_none_once_it_was_made() -> None:
    it = Three()
    link = it.members[1].link
    assert len(it.ask(1, link)) == 1
    with pytest.raises(ValueError, match="no login"):
        it.ask(1, link)
    it = Three()
    it.leading.found(it.members[1])
    with pytest.raises(ValueError, match="no login"):
        it.ask(1, link)


def test_what_was_decided_for_a_way_that_is_given_up_goes_nowhere() -> None:
    it = Three()
    (vouch,) = it.ask(1, it.members[1].link)
    assert isinstance(vouch, Vouch)
    it.leading.end(it.members[1])
    answer = {"n": vouch.number, "answer": b"signed", "refused": "", "spent": 1}
    assert list(it.asking.heard(0, answer, 0.0)) == []
