"""Whose turn it is when files come back from hosts, and what becomes of every host."""

from __future__ import annotations

from typing import Any

import pytest

from nile.cascade.hosts import Contact
from nile.cascade.tree import Tree
from nile.cascade.work import Reach
from nile.events import Code, HostOutput, Notice, Verdict
from nile.sync import Gather, GatherOptions
from nile.sync.asking import STILL_S
from nile.sync.gathering import (
    AT_ONE_TIME,
    MOST_AT_ONE_TIME,
    TRIES,
)
from nile.sync.judging import SILENT_S, STALLED_S
from nile.sync.turns import LEAST_BYTES, MOST_LOOKING_S, QUICK_S
from nile.topology.model import ROOT_ID
from tests.simulation.trees import tree
from tests.sync.simulated import Message, Simulated

RSYNC = {"version": [3, 2, 7], "has": ["xattrs"]}
SENT = 1000
HAS = {"entries": 100, "names": 1000, "bytes": 5000, "room": 8000}


class Hosts(Simulated):
    """Workers of a run that gathers; what goes wrong is set by name.

    `offers` is what hosts say of what they have, `breaks` (turns counted from 0 -> code, retry), `silent`
    are hosts that never answer, `unmet` turns to which no way is found.
    """

    def __init__(self, hosts: int, seed: int = 0) -> None:
        super().__init__(Tree(tree([0] * hosts), {}), seed)
        options = GatherOptions((b"/var/log/app", b"/etc/conf"), b"/got", (b"*.gz",), bwlimit_kib_s=9)
        self.job = Gather(options, "run", self.tree, lambda: b"s" * 32)
        self.collects: Message = {}
        self.offers: dict[int, Message] = {}
        self.ends: dict[int, Message] = {}
        self.breaks: dict[int, tuple[str, bool]] = {}
        self.unmet: set[int] = set()
        self.silent: set[int] = set()
        self.trickles: set[int] = set()
        """Hosts of which the root isn't told that all came."""
        self.asked: dict[int, int] = {}
        self.under_way: dict[int, int] = {}
        """The numbers of what each was asked, and the root for each."""
        self.turns: list[int] = []
        self.most = 0
        self.abandoned: list[int] = []
        self.fetched: list[Message] = []
        self._offering: dict[int, int] = {}

    def step(self) -> bool:
        self.most = max(self.most, len(self._offering))
        return super().step()

    def tick(self, t: float) -> None:
        self.t = t
        self._carry_out(self.job.tick(t))

    def _reach(self, errand: Reach) -> None:
        assert (errand.giver, errand.port) == (ROOT_ID, 4000 + errand.taker)
        if len(self.turns) - 1 in self.unmet:
            self._say(ROOT_ID, errand.number, code="dropped", reason="no way")
        else:
            super()._reach(errand)

    def _end(self, node_id: int) -> None:
        self._offering.pop(node_id, None)
        super()._end(node_id)

    def _collect(self, node: int, message: Message) -> None:
        assert (node, message["dest"]) == (ROOT_ID, b"/got")
        self._say(node, message["n"], **self.collects)

    def _offer(self, node: int, message: Message) -> None:
        assert node not in self._offering
        assert message["excludes"] == [b"*.gz"]
        self.turns.append(node)
        self.asked[node] = message["n"]
        if node in self.silent:
            return
        fields = {"port": 4000 + node, "missing": [], "unreadable": 0, "lines": [], "rsync": RSYNC}
        fields["has"] = HAS
        said = {**fields, "more": True, **self.offers.get(node, {})}
        if "code" in said:
            said = self.offers[node]
        else:
            self._offering[node] = message["n"]
        self._say(node, message["n"], **said)

    def _fetch(self, node: int, message: Message) -> None:
        assert node == ROOT_ID
        taken = message["port"] - 5000
        self.fetched.append(message)
        number = self._offering.pop(taken, None)
        if number is None or taken in self._dead:
            self._say(ROOT_ID, message["n"], code="refused", reason="nobody", retry=True, received=0)
            return
        turn = len(self.fetched) - 1
        self.under_way[taken] = message["n"]
        if taken in self.trickles:
            return
        if turn in self.breaks:
            code, retry = self.breaks[turn]
            self._say(ROOT_ID, message["n"], code=code, reason=f"so: {code}", retry=retry, received=10)
            self._say(taken, number, code="broken", reason="cut", retry=True, changed=0, lines=[])
            return
        self._say(ROOT_ID, message["n"], so_far=5, more=True)
        self._say(ROOT_ID, message["n"], received=SENT)
        self._say(taken, number, **{"changed": 0, "lines": [], **self.ends.get(taken, {})})

    def _abandon(self, node: int, message: Message) -> None:
        if node == ROOT_ID:
            self.abandoned.append(message["what"])
            return
        number = self._offering.pop(node, None)
        if number is not None:
            assert number == message["what"]
            self._say(node, number, code="stopped", reason="told to", retry=False, changed=0, lines=[])


def verdicts(it: Hosts) -> set[Verdict]:
    return {judgement.verdict for judgement in it.judged.values()}


@pytest.mark.parametrize("seed", range(10))
def test_everybody_gets_a_turn_and_a_few_at_one_time(seed: int) -> None:
    it = Hosts(30, seed)
    it.run()
    assert sorted(it.turns) == list(range(1, 31))
    assert verdicts(it) == {Verdict.OK}
    assert 1 < it.most <= AT_ONE_TIME
    (notice,) = [event for event in it.published if isinstance(event, Notice)]
    assert notice.text.startswith("29.3 KiB received from 30 hosts in ")


def test_the_root_is_told_what_there_is_and_where_it_goes() -> None:
    it = Hosts(1)
    it.offers[1] = {"missing": [b"/etc/conf"], "unreadable": 2, "lines": [b"app/key: no", b"app/x: no"]}
    it.ends[1] = {"changed": 1, "lines": [b"app/log"]}
    it.run()
    (fetch,) = it.fetched
    assert fetch["paths"] == [b"/var/log/app"]
    assert fetch["has"] == HAS
    assert (fetch["host"], fetch["peer"], fetch["bwlimit"]) == (it.tree[1].name.encode(), [3, 2, 7], 9)
    judgement = it.judged[1]
    assert (judgement.verdict, judgement.code) == (Verdict.FAILED, Code.SOURCE)
    assert judgement.reason == "/etc/conf isn't there; app/key: no, and 1 more; the rest was brought"
    (output,) = [event for event in it.published if isinstance(event, HostOutput)]
    assert output.data.splitlines() == [
        b"missing /etc/conf",
        b"unreadable app/key: no",
        b"unreadable app/x: no",
        b"changed app/log",
    ]


def test_files_that_changed_are_no_failure_and_are_said() -> None:
    it = Hosts(2)
    it.ends[2] = {"changed": 3, "lines": [b"a", b"b", b"c"]}
    it.run()
    assert verdicts(it) == {Verdict.OK}
    (notice,) = [event for event in it.published if isinstance(event, Notice)]
    assert notice.text.endswith("into /got; 3 files changed meanwhile, and came as read")


def test_files_that_vanish_meanwhile_are_no_failure() -> None:
    it = Hosts(1)
    it.breaks[0] = ("vanished", False)
    it.run()
    assert verdicts(it) == {Verdict.OK}


@pytest.mark.parametrize("seed", range(10))
def test_what_breaks_is_tried_again_but_not_for_ever(seed: int) -> None:
    it = Hosts(3, seed)
    it.breaks = {0: ("broken", True), 2: ("killed", True)}
    it.unmet = {3}
    it.run()
    assert verdicts(it) == {Verdict.OK}
    hopeless = Hosts(1, seed)
    hopeless.breaks = dict.fromkeys(range(100), ("broken", True))
    hopeless.run()
    assert len(hopeless.fetched) == TRIES
    assert (hopeless.judged[1].verdict, hopeless.judged[1].code) == (Verdict.FAILED, Code.COPY)


def test_a_full_disk_is_not_tried_again() -> None:
    it = Hosts(1)
    it.breaks = {0: ("disk-full", False)}
    it.run()
    assert (len(it.fetched), it.judged[1].code) == (1, Code.DISK_FULL)


def test_a_host_that_has_nothing_of_it_fails_alone() -> None:
    it = Hosts(2)
    it.offers[1] = {"code": "source", "reason": "/var/log/app isn't there, and 1 more"}
    it.run()
    assert it.judged[2].verdict is Verdict.OK
    assert it.judged[1].verdict is Verdict.FAILED


def test_a_host_that_says_nothing_fails_alone_and_its_turn_goes_to_others() -> None:
    it = Hosts(AT_ONE_TIME + 2)
    it.silent = set(range(1, AT_ONE_TIME + 1))
    it.run()
    assert not it.judged
    it.tick(100.0)
    it.go_on()
    assert {node for node, each in it.judged.items() if each.code is Code.AGENT} == it.silent
    assert it.judged[AT_ONE_TIME + 1].verdict is Verdict.OK


def test_one_that_is_out_of_reach_can_say_nothing() -> None:
    it = Hosts(1)
    it.silent = {1}
    it.run()
    it.tree[1].contact = Contact.WAITING
    it.tick(2 * STILL_S)
    assert not it.judged
    it.tree[1].contact = Contact.UP
    it.tick(it.t + SILENT_S - 1.0)
    assert not it.judged
    it.tick(it.t + 2.0)
    assert it.judged[1].code is Code.AGENT


def test_one_that_is_lost_in_its_turn_is_taken_from_no_more() -> None:
    it = Hosts(1)
    it._carry_out(it.job.begin(0.0))
    it._carry_out(it.job.started(1, 0.0))
    while not it.fetched:
        it.step()
    it._end(1)
    assert it.abandoned == [it.fetched[0]["n"]]
    it.go_on()
    assert not it.judged


def test_a_directory_that_can_not_be_had_stops_all() -> None:
    it = Hosts(3)
    it.collects = {"code": "busy", "reason": "another run writes there", "remedy": "wait"}
    it.run()
    assert {each.code for each in it.judged.values()} == {Code.BUSY}
    assert len(it.judged) == 3
    assert not it.turns


def test_a_root_that_is_lost_stops_all() -> None:
    it = Hosts(2)
    it._carry_out(it.job.begin(0.0))
    it._carry_out(it.job.root_lost("it was killed", 0.0))
    it._carry_out(it.job.started(1, 0.0))
    assert it.judged[1].reason == "the root can't go on: it was killed"


@pytest.mark.parametrize(
    "lie",
    [
        {"missing": [b"/etc/shadow"]},
        {"missing": [b"/var/log/app", b"/etc/conf"]},
        {"lines": [b"x"] * 101},
        {"lines": ["x"]},
        {"lines": [b"two\nlines"]},
        {"unreadable": -1},
        {"rsync": None},
        {"port": "1"},
        {"has": {**HAS, "entries": -1}},
        {"has": {"entries": 1}},
        {"has": 7},
    ],
)
def test_a_host_that_lies_is_not_believed(lie: Message) -> None:
    it = Hosts(1)
    it.offers[1] = lie
    it._carry_out(it.job.begin(0.0))
    it._carry_out(it.job.started(1, 0.0))
    while any(queue for node, queue in it._queues.items() if node == ROOT_ID):
        it._carry_out(it.job.heard(ROOT_ID, it._queues[ROOT_ID].popleft(), 0.0))
    with pytest.raises((KeyError, ValueError, TypeError)):
        it._carry_out(it.job.heard(1, it._queues[1].popleft(), 0.0))
    it._carry_out(it.job.lied(1, "nonsense", it.t))
    assert it.judged[1].code is Code.AGENT


class TestSlow:
    """Hosts that say that they are at it, and take their time."""

    def say(self, it: Hosts, node: int, **fields: Any) -> None:
        it._carry_out(it.job.heard(node, fields, it.t))

    def offering(self) -> tuple[Hosts, int]:
        """Of all turns one is that of a host which only looks at what it has; and the number of that."""
        it = Hosts(AT_ONE_TIME + 1)
        it.silent = {1}
        it.run()
        assert set(it.judged) == set(range(2, AT_ONE_TIME + 2))
        return it, it.asked[1]

    def test_one_that_only_says_that_it_looks_is_given_up(self) -> None:
        it, number = self.offering()
        began_s = it.t
        while 1 not in it.judged:
            self.say(it, 1, n=number, alive=True, done=7, more=True)
            it.tick(it.t + 5.0)
        assert it.judged[1].code is Code.AGENT
        assert "doesn't get on" in it.judged[1].reason
        assert it.t - began_s <= STILL_S + 10.0

    def test_one_that_looks_at_more_and_more_has_its_time(self) -> None:
        it, number = self.offering()
        for done in range(0, 100_000, 25):
            self.say(it, 1, n=number, alive=True, done=done, more=True)
            it.tick(it.t + 5.0)
        assert 1 not in it.judged

    def trickling(self, hosts: int = 1) -> Hosts:
        it = Hosts(hosts)
        it.trickles = set(range(1, hosts + 1))
        it.run()
        return it

    def test_one_that_sends_next_to_nothing_is_given_up_whatever_it_says(self) -> None:
        it = self.trickling()
        began_s, moved = it.t, 0
        while 1 not in it.judged:
            moved += 100
            self.say(it, ROOT_ID, n=it.under_way[1], so_far=moved, more=True)
            self.say(it, 1, n=it.asked[1], alive=True, done=moved, more=True)
            it.tick(it.t + 5.0)
        assert it.judged[1].code is Code.AGENT
        assert it.t - began_s <= STALLED_S + 20.0

    def brought(self) -> Hosts:
        """For twice as long as anybody may stand still files came, and the host had nothing to say."""
        it = self.trickling()
        for moved in range(0, int(2 * STILL_S) * LEAST_BYTES, 20 * LEAST_BYTES):
            self.say(it, ROOT_ID, n=it.under_way[1], so_far=moved, more=True)
            it.tick(it.t + 20.0)
        self.say(it, ROOT_ID, n=it.under_way[1], received=SENT)
        return it

    def test_one_that_brings_for_long_has_its_time_afterwards_too(self) -> None:
        it = self.brought()
        for _ in range(10):
            it.tick(it.t + 5.0)
        assert not it.judged
        self.say(it, 1, n=it.asked[1], changed=0, lines=[])
        assert it.judged[1].verdict is Verdict.OK

    def test_but_not_for_ever(self) -> None:
        it = self.brought()
        began_s = it.t
        while 1 not in it.judged:
            self.say(it, 1, n=it.asked[1], alive=True, done=0, more=True)
            it.tick(it.t + 5.0)
        assert "doesn't get on" in it.judged[1].reason
        assert it.t - began_s <= STILL_S + 10.0

    def test_a_slow_line_is_none(self) -> None:
        it = self.trickling()
        for moved in range(0, 200 * LEAST_BYTES, LEAST_BYTES):
            self.say(it, ROOT_ID, n=it.under_way[1], so_far=moved, more=True)
            it.tick(it.t + STALLED_S - 10.0)
        assert not it.judged

    # A log that has hardly grown: the root reads and writes all of it, and the host has said it all.
    @pytest.mark.parametrize("what", [("entries", 10**6, 10**12), ("bytes", 10**10, 10**15)])
    def test_the_root_may_look_for_long_at_what_it_has_but_not_for_ever(
        self, what: tuple[str, int, int]
    ) -> None:
        """At many files, and at the bytes of large ones."""
        name, many, more = what
        it = Hosts(2)
        it.trickles = {1, 2}
        it.offers = {1: {"has": {**HAS, name: many}}, 2: {"has": {**HAS, name: more}}}
        it.run()
        it.tick(STALLED_S + 900.0)
        assert not it.judged
        it.tick(STALLED_S + 1100.0)
        assert set(it.judged) == {1}
        it.tick(STALLED_S + MOST_LOOKING_S + 100.0)
        assert set(it.judged) == {1, 2}

    def test_hosts_that_are_slow_keep_no_turn_from_others(self) -> None:
        it = Hosts(2 * AT_ONE_TIME)
        it.trickles = set(range(1, AT_ONE_TIME + 1))
        it.run()
        assert not it.judged
        it.tick(it.t + QUICK_S)
        it.go_on()
        assert set(it.judged) == set(range(AT_ONE_TIME + 1, 2 * AT_ONE_TIME + 1))

    def test_but_not_more_than_the_root_can_bear_have_one(self) -> None:
        it = self.trickling(2 * MOST_AT_ONE_TIME)
        for _ in range(3 * MOST_AT_ONE_TIME // AT_ONE_TIME):
            for number in it.under_way.values():
                self.say(it, ROOT_ID, n=number, so_far=int(it.t) * 1000, more=True)
            it.tick(it.t + QUICK_S + 1.0)
            while it.step():
                pass
        assert not it.judged
        assert len(it.under_way) == MOST_AT_ONE_TIME
